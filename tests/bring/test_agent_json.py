"""An exported agent is fed by somebody who has its file and its JSON, and nothing of this package."""

from __future__ import annotations

import json
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch as th
from gymnasium import spaces
from sb3_contrib import MaskablePPO

from cesma_sb3.config.registry import load_experiment
from cesma_sb3.deploy.export import export
from cesma_sb3.envs.pettingzoo import import_parallel_env
from cesma_sb3.errors import ConfigError
from cesma_sb3.policies import TeamPolicy, team_files
from cesma_sb3.spaces.agent_slices import AgentSlice
from cesma_sb3.spaces.team_spaces import TeamSpaces
from cesma_sb3.training.run_folder import RunFolder
from tests.bring.test_declared_teams import ENV

BOX = spaces.Box(-1.0, 1.0, (2, 2), np.float64)
NESTED = spaces.Dict(
    OrderedDict(
        z=spaces.Tuple([spaces.Discrete(3, start=-1), BOX]),
        flags=spaces.MultiBinary([2, 3]),
        nothing=spaces.Tuple([]),
        a=spaces.MultiDiscrete(np.array([[2, 3], [4, 2]])),
    )
)
MASK = spaces.MultiBinary(5)
SPACES = {
    "image": (spaces.Box(0, 255, (4, 4, 3), np.uint8), spaces.Discrete(5, start=2)),
    "nested": (NESTED, spaces.MultiDiscrete(np.array([[2], [3]]))),
    "category": (spaces.Discrete(6, start=3), spaces.MultiBinary((2, 2))),
    "one key": (spaces.Dict({"obs": spaces.Discrete(4), "action_mask": MASK}), spaces.Discrete(5)),
    "several keys": (
        spaces.Dict({"state": BOX, "obs": NESTED, "action_mask": MASK}),
        spaces.MultiDiscrete([2, 3]),
    ),
    "nested under one key": (spaces.Dict({"observation": NESTED, "action_mask": MASK}), spaces.Discrete(5)),
    "numbers": (BOX, spaces.Box(np.array([-3.0, 0.0], np.float32), np.array([9.0, np.inf], np.float32))),
    "whole numbers": (spaces.Tuple([BOX, BOX]), spaces.Box(-7, 7, (2, 1), np.int16)),
}


def exported(
    team: TeamSpaces, path: Path, experiment: Any = None, format: Any = "onnx"
) -> tuple[TeamPolicy, Path]:
    """Untrained students, with large weights so that they do not all do the same, and their files."""
    th.manual_seed(0)
    policy = TeamPolicy(
        *(team.observation_space, team.action_space, lambda _: 0.0),
        team=team,
        hidden_sizes=(16,),
        critic_visibility="own",
    )
    for weight in policy.action_net.parameters():
        weight.data *= 9.0
    run = RunFolder.create(experiment or load_experiment("spread-3"), path)
    run.write_folder("students", team_files(policy))
    run.finish({})
    return policy, export(run.path, format=format)


def fed(about: dict[str, Any], observation: Any, info: dict[str, Any]) -> dict[str, np.ndarray]:
    """The inputs of an agent's file, by what its JSON says."""
    flat = np.zeros(about["observation"]["size"], np.float32)
    for leaf in about["observation"]["flattening"]:
        value = observation
        for step in leaf["path"]:
            value = value[step]
        numbers = np.asarray(value).reshape(-1)
        if "categories" in leaf:
            rows = zip(numbers, leaf["categories"], leaf["first"], strict=True)
            numbers = np.concatenate([np.eye(n)[number - first] for number, n, first in rows])
        flat[leaf["start"] : leaf["stop"]] = numbers
    inputs = {"observation": flat[None]}
    if about["mask"]:
        given = (observation if about["mask"]["from"] == "observation" else info)[about["mask"]["key"]]
        inputs["mask"] = np.asarray(given, dtype=bool)[None]
    return inputs


def done(about: dict[str, Any], inputs: dict[str, np.ndarray], folder: Path) -> Any:
    """The action of the environment, by the agent's file and its JSON."""
    session = onnxruntime.InferenceSession(str(folder / about["file"]))
    (packed,) = session.run(None, {name: inputs[name] for name in about["inputs"]})[0]
    columns, space = about["action"]["columns"], about["action"]["space"]
    values = np.array([value + column.get("first", 0) for value, column in zip(packed, columns, strict=True)])
    if space["kind"] == "Discrete":
        return int(values[0])
    shape = {
        "Box": space.get("shape"),
        "MultiBinary": space.get("n"),
        "MultiDiscrete": np.shape(space.get("nvec")),
    }
    whole = "int" in space.get("dtype", "int")
    return (np.rint(values) if whole else values).reshape(shape[space["kind"]])


@pytest.mark.parametrize(
    ("kind", "masks_in_infos"), [*((kind, False) for kind in SPACES), ("nested", True), ("category", True)]
)
def test_the_json_is_enough_to_feed_an_agent(kind, masks_in_infos, tmp_path):
    seen, does = SPACES[kind]
    names = ["0", "robot"]
    team = TeamSpaces(
        names, dict.fromkeys(names, seen), dict.fromkeys(names, does), masks_in_infos=masks_in_infos
    )
    policy, folder = exported(team, tmp_path / "run")
    about = json.loads((folder / "robot.json").read_text())
    assert (about["mask"] is not None) == team.has_masks == ("mask" in about["inputs"])
    seen.seed(1)
    rng, found = np.random.default_rng(0), set()
    for _ in range(20):
        observation, flags = seen.sample(), np.zeros(team.only("robot").mask_size, bool)
        for column in team.only("robot").column_masks:
            flags[column.start : column.stop][rng.integers(column.stop - column.start or 1) :][:1] = True
        if about["mask"] and about["mask"]["from"] == "observation":
            observation["action_mask"] = flags
        info = {"action_mask": flags} if masks_in_infos else {}
        action, _ = policy.agent("robot").predict(
            observation, deterministic=True, action_masks=info.get("action_mask")
        )
        ours = done(about, fed(about, observation, info), folder)
        np.testing.assert_allclose(ours, action, rtol=1e-4, atol=1e-5)
        assert does.contains(action)
        found.add(str(action))
    assert len(found) > 1


def test_a_declared_agent_is_fed_from_the_joint_observation(tmp_path):
    shares = {
        "right": {"observation": "0:3", "action": "0"},
        "left": {"observation": "4, 1, 3:4", "action": "1"},
    }
    told = {"env.id": ENV, "env.kwargs": {"masked": True}, "env.team": shares}
    experiment = load_experiment("spread-3", told)
    env = import_parallel_env(
        ENV, {"masked": True}, team={name: AgentSlice(**share) for name, share in shares.items()}
    )
    policy, folder = exported(TeamSpaces.from_parallel_env(env), tmp_path / "run", experiment)
    whole, together = np.zeros(2, int), np.zeros(2, int)
    for seed in range(9):
        observations, infos = env.reset(seed=seed)
        bare, _ = env.env.reset(seed=seed)
        flags = env.env.action_masks()
        for name in shares:
            about = json.loads((folder / f"{name}.json").read_text())
            joint = about["joint"]
            inputs = {
                "observation": bare[joint["observation"]["places"]][None],
                "mask": flags[joint["mask"]["places"]][None],
            }
            assert len(bare) == joint["observation"]["size"]
            assert len(flags) == joint["mask"]["size"]
            whole[joint["action"]["places"]] = done(about, inputs, folder)
            mask = infos[name]["action_mask"]
            together[joint["action"]["places"]] = policy.agent(name).predict(
                observations[name], deterministic=True, action_masks=mask
            )[0]
        np.testing.assert_array_equal(whole, together)
    assert about["joint"]["observation"] == {"share": "4, 1, 3:4", "places": [4, 1, 3], "size": 5}


def test_other_agents_have_nothing_of_a_joint_environment_and_name_the_wrappers(tmp_path):
    wrappers = [{"name": "frame_stack_v1", "stack_size": 2}]
    experiment = load_experiment("spread-3", {"env.wrappers": wrappers})
    box = {"a": spaces.Box(0.0, 1.0, (2,))}
    _, folder = exported(TeamSpaces(["a"], box, {"a": spaces.Discrete(2)}), tmp_path / "run", experiment)
    about = json.loads((folder / "a.json").read_text())
    assert (about["joint"], about["wrappers"], about["cesma_agent"]) == (None, wrappers, 3)


@pytest.mark.parametrize("masks_in_infos", [False, True])
def test_masked_agents_are_sb3_contribs(masks_in_infos, tmp_path):
    bare = spaces.Box(-1.0, 1.0, (3,), np.float32)
    mask = spaces.MultiBinary(5)
    seen = {"a": bare if masks_in_infos else spaces.Dict({"obs": bare, "action_mask": mask})}
    team = TeamSpaces(["a"], seen, {"a": spaces.MultiDiscrete([2, 3])}, masks_in_infos=masks_in_infos)
    policy, folder = exported(team, tmp_path / "run", format="sb3")
    theirs = MaskablePPO.load(folder / "a.zip")
    rng = np.random.default_rng(0)
    for _ in range(20):
        own, flags = rng.normal(size=3).astype(np.float32), np.ones(5, bool)
        flags[[rng.integers(2), 2 + rng.integers(3)]] = False
        ours, _ = policy.agent("a").predict(own, deterministic=True, action_masks=flags)
        np.testing.assert_array_equal(theirs.predict(own, deterministic=True, action_masks=flags)[0], ours)


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("image", "an image as observation"),
        ("nested", "a structured observation"),
        ("switches", r"switches \(MultiBinary\)"),
        ("from one", "an action that is not counted from 0"),
    ],
)
def test_what_sb3_does_otherwise_is_not_written_for_it(kind, told, tmp_path):
    more = {"switches": (BOX, spaces.MultiBinary(2)), "from one": (BOX, spaces.Discrete(2, start=1))}
    image = (spaces.Box(0, 255, (40, 40, 3), np.uint8), spaces.Discrete(2))
    seen, does = {**SPACES, **more, "image": image}[kind]
    with pytest.raises(ConfigError, match=f"format sb3: a has {told}"):
        exported(TeamSpaces(["a"], {"a": seen}, {"a": does}), tmp_path / "run", format="sb3")
