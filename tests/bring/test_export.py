"""One file for each agent: the same actions, in a process that does not have this package."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch as th
from click.testing import CliRunner
from gymnasium import spaces
from stable_baselines3 import PPO

import cesma_sb3
from cesma_sb3.cli import cesma
from cesma_sb3.config.registry import load_experiment
from cesma_sb3.deploy.export import export
from cesma_sb3.envs import make_vec_env
from cesma_sb3.errors import ConfigError, MissingExtraError, StorageError, UnknownNameError
from cesma_sb3.policies import TeamPolicy, team_files
from cesma_sb3.spaces.team_spaces import TeamSpaces
from cesma_sb3.training.run_folder import RunFolder

FEED_FORWARD = {"network": "feed-forward", "hidden_sizes": (16, 16)}
KINDS = {
    "feed-forward": ("spread", {}, FEED_FORWARD),
    "shared": ("spread", {}, {**FEED_FORWARD, "share_parameters": True}),
    "entities": ("spread", {}, {"network": "entities", "hidden_sizes": (8, 8), "use_agent_id": True}),
    "nearest": ("spread", {}, {"network": "entities", "hidden_sizes": (8, 8), "n_neighbours": 1}),
    "continuous": ("spread", {"continuous_actions": True}, FEED_FORWARD),
    "messages": ("navigation-comm", {}, FEED_FORWARD),
    "ring": (
        "navigation-comm",
        {"n_agents": 3},
        {**FEED_FORWARD, "share_parameters": True, "topology": "ring"},
    ),
    "pictures": ("tests.envs_for_tests:PictureGame", {}, {"network": "cnn", "hidden_sizes": (8,)}),
    "mixed": ("tests.envs_for_tests:MixedEnv", {}, FEED_FORWARD),
    "masks": ("tests.envs_for_tests:MortalEnv", {}, {"network": "recurrent", "hidden_sizes": (8,)}),
    "memory": ("spread", {}, {"network": "recurrent", "hidden_sizes": (8,), "share_parameters": True}),
}
# What a robot has: the file, and onnxruntime; neither this package nor PyTorch can be imported there.
ROBOT = """
import json, pathlib, sys

class Absent:
    def find_spec(self, name, *args):
        if name.split(".")[0] in ("cesma_sb3", "torch", "stable_baselines3"):
            raise ModuleNotFoundError(name)

sys.meta_path.insert(0, Absent())
import numpy as np
import onnxruntime
for about in sorted(pathlib.Path(sys.argv[1]).glob("*.json")):
    told = json.loads(about.read_text())
    session = onnxruntime.InferenceSession(str(about.parent / told["file"]))
    seen = dict(np.load(about.with_suffix(".npz")))
    actions, state = [], None
    for step in range(len(seen["observation"])):
        inputs = {name: seen[name][step] for name in ("observation", "mask") if name in told["inputs"]}
        if told["state"]:
            first = np.full((4, told["state"]["size"]), told["state"]["begins_with"], np.float32)
            inputs["state"] = first if state is None else state
        action, *rest = session.run(None, inputs)
        state = rest[0] if rest else None
        actions.append(action)
    np.save(about.with_suffix(".npy"), np.stack(actions))
try:
    import cesma_sb3
except ModuleNotFoundError:
    sys.exit()
sys.exit("this package is there")
"""


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


def run_of(kind, path, **more) -> tuple[TeamPolicy, Path]:
    """A finished run with untrained students: what they do is all that counts."""
    name, kwargs, network = KINDS[kind]
    venv = make_vec_env(name, kwargs=kwargs)
    th.manual_seed(1)
    team = venv.team
    policy = TeamPolicy(
        team.observation_space, team.action_space, lambda _: 0.0, team=team, **network, **more
    )
    run = RunFolder.create(load_experiment("spread-3"), path)
    run.write_folder("students", team_files(policy))
    run.finish({})
    return policy, run.path


def inputs_of(policy, rng, steps=3, batch=4):
    """Observations and masks of each agent, [steps, batch, ...]."""
    team = policy.team
    observations = rng.normal(size=(steps, batch, team.observation_size)).astype(np.float32)
    masks = rng.random((steps, batch, team.mask_size)) < 0.5
    for flags in team.column_masks:
        if flags.stop > flags.start:
            masks[..., flags.start] |= ~masks[..., flags].any(axis=-1)
    return observations, masks


def wanted(policy, observations, masks):
    """What the team does, step by step."""
    state, actions = None, []
    for step, seen in enumerate(observations):
        starts = np.full(len(seen), step == 0)
        flags = masks[step] if policy.team.has_masks else None
        action, state = policy.predict(seen, state, starts, deterministic=True, action_masks=flags)
        actions.append(action)
    return np.stack(actions)


def test_an_agent_runs_where_this_package_is_not(kind, tmp_path):
    policy, run_dir = run_of(kind, tmp_path / "run")
    folder = export(run_dir, out=tmp_path / "robots")
    observations, masks = inputs_of(policy, np.random.default_rng(0))
    for index, agent in enumerate(policy.team.agents):
        own = {"observation": observations[..., policy.team.observation_slices[index]]}
        own["mask"] = masks[..., policy.team.mask_slices[index]]
        np.savez(folder / f"{agent}.npz", **own)
    command = [sys.executable, "-I", "-c", ROBOT, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    together = wanted(policy, observations, masks)
    for agent, columns in zip(policy.team.agents, policy.team.action_columns, strict=True):
        alone = np.load(folder / f"{agent}.npy")
        np.testing.assert_allclose(alone, together[..., columns], atol=1e-5)


def test_torchscript_does_the_same(kind, tmp_path):
    policy, run_dir = run_of(kind, tmp_path / "run")
    folder = export(run_dir, format="torchscript")
    assert folder == run_dir / "export" / "torchscript"
    observations, masks = inputs_of(policy, np.random.default_rng(0), steps=1)
    together = wanted(policy, observations, masks)[0]
    for index, agent in enumerate(policy.team.agents):
        told = json.loads((folder / f"{agent}.json").read_text())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            module = th.jit.load(folder / told["file"])
        given = {
            "observation": observations[0][:, policy.team.observation_slices[index]],
            "mask": masks[0][:, policy.team.mask_slices[index]],
            "state": np.zeros((4, (told["state"] or {"size": 0})["size"]), np.float32),
        }
        action, *_ = module(*(th.as_tensor(given[name]) for name in told["inputs"]))
        np.testing.assert_allclose(action, together[:, policy.team.action_columns[index]], atol=1e-5)


@pytest.mark.parametrize("kind", ["feed-forward", "shared", "continuous"])
def test_sb3_does_the_same(kind, tmp_path):
    policy, run_dir = run_of(kind, tmp_path / "run")
    folder = export(run_dir, format="sb3")
    observations, _ = inputs_of(policy, np.random.default_rng(0), steps=1)
    for agent, own in policy.team.split_observations(observations[0]).items():
        theirs = PPO.load(folder / f"{agent}.zip")
        actions, _ = theirs.predict(own, deterministic=True)
        for row, action in zip(own, actions, strict=True):
            np.testing.assert_allclose(
                policy.agent(agent).predict(row, deterministic=True)[0], action, atol=1e-5
            )


def test_what_is_said_of_an_agent(tmp_path):
    _, run_dir = run_of("messages", tmp_path / "run")
    told = json.loads((export(run_dir) / "agent_0.json").read_text())
    parts = told["observation"]["parts"]
    assert [part["start"] for part in parts[1:]] == [part["stop"] for part in parts[:-1]]
    assert parts[-1]["stop"] == told["observation"]["size"]
    assert told["messages"]["received"]
    assert told["messages"]["sent"]
    assert [column["categories"] for column in told["action"]["columns"]] == [5, 10]
    assert (told["mask"], told["state"], told["inputs"]) == (None, None, ["observation"])


def test_it_is_written_anew_or_not_at_all(tmp_path):
    _, run_dir = run_of("feed-forward", tmp_path / "run")
    assert export(run_dir) == export(run_dir)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").touch()
    with pytest.raises(ConfigError, match="full: holds something already; expected a new or an empty"):
        export(run_dir, out=tmp_path / "full")
    with pytest.raises(UnknownNameError, match="unknown format 'onix'; did you mean 'onnx"):
        export(run_dir, format="onix")
    with pytest.raises(StorageError, match="no such folder"):
        export(tmp_path / "none")


@pytest.mark.parametrize("kind", ["entities", "mixed"])
def test_what_sb3_does_not_know_is_told(kind, tmp_path):
    _, run_dir = run_of(kind, tmp_path / "run")
    with pytest.raises(ConfigError, match=r"format sb3: .* that SB3's policies do not know; expected feed-"):
        export(run_dir, format="sb3")
    assert not (run_dir / "export").exists()


def test_an_ensemble_is_refused(tmp_path):
    tiny = {
        "evaluation": {"n_final_episodes": 8, "n_eval_episodes": 8, "eval_freq": 200},
        "students.hidden_sizes": [8, 8],
    }
    dagger = {
        "dagger.algorithm": "smile",
        "dagger.total_timesteps": 400,
        "dagger.algorithm_kwargs.n_iterations": 2,
    }
    run = cesma_sb3.run("spread-3-scripted", out=tmp_path / "run", **tiny, **dagger)
    with pytest.raises(ConfigError, match=r"its students are an ensemble of . teams .*smile"):
        export(run.run_dir)


def test_the_command(tmp_path):
    _, run_dir = run_of("feed-forward", tmp_path / "run")
    done = CliRunner().invoke(
        cesma, ["export", str(run_dir), "--format", "sb3", "--out", str(tmp_path / "out")]
    )
    assert done.exit_code == 0, done.output
    names = {Path(line).name for line in done.stdout.split()}
    assert names == {f"agent_{i}.{suffix}" for i in range(3) for suffix in ("zip", "json")}


def test_without_onnx_the_extra_is_named(tmp_path, monkeypatch):
    _, run_dir = run_of("feed-forward", tmp_path / "run")
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(
        MissingExtraError, match=r"^format onnx needs the extra \[onnx\]: .*; try: pip install '"
    ):
        export(run_dir)
    assert not (run_dir / "export").exists()
    assert (export(run_dir, format="torchscript") / "agent_0.pt").exists()


@pytest.mark.parametrize("format", ["onnx", "torchscript"])
@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
@pytest.mark.filterwarnings("ignore:.*torch.jit.load")
def test_an_agent_with_nothing_to_choose_is_exported_too(format, tmp_path):
    nothing, box = (spaces.Box(0.0, 1.0, (n,), np.float32) for n in (0, 2))
    team = TeamSpaces(["idle", "busy"], {"idle": box, "busy": box}, {"idle": nothing, "busy": box})
    spec = {"team": team, **FEED_FORWARD}
    policy = TeamPolicy(team.observation_space, team.action_space, lambda _: 0.0, **spec)
    run = RunFolder.create(load_experiment("spread-3"), tmp_path / "run")
    run.write_folder("students", team_files(policy))
    run.finish({})
    folder = export(run.path, format=format)
    seen = np.ones((3, 2), np.float32)
    for agent, size in (("idle", 0), ("busy", 2)):
        if format == "onnx":
            session = onnxruntime.InferenceSession(str(folder / f"{agent}.onnx"))
            (action,) = session.run(None, {"observation": seen})
        else:
            (action,) = th.jit.load(folder / f"{agent}.pt")(th.as_tensor(seen))
        assert action.shape == (3, size)


@pytest.mark.parametrize("format", ["onnx", "torchscript"])
@pytest.mark.parametrize("kind", ["feed-forward", "continuous", "messages", "memory"])
def test_an_agent_of_a_team_that_draws_does_so_by_noise_that_it_is_fed(kind, format, tmp_path):
    policy, run_dir = run_of(kind, tmp_path / "run", acts_deterministically=False)
    folder, team, rng = export(run_dir, format=format), policy.team, np.random.default_rng(0)
    agent, columns = team.agents[0], team.action_columns[0]
    told = json.loads((folder / f"{agent}.json").read_text())
    assert (told["deterministic"], told["inputs"][-1]) == (False, "noise")
    one = rng.normal(size=team.observation_size).astype(np.float32)
    seen = np.tile(one, (3_000, 1))
    inputs = {"observation": seen[:, team.observation_slices[0]]}
    if told["state"]:
        inputs["state"] = np.zeros((3_000, told["state"]["size"]), np.float32)
    noise = rng.normal(size=(3_000, told["noise"]["size"])).astype(np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        act = runner(folder / told["file"])
        drawn, likeliest = act({**inputs, "noise": noise}), act({**inputs, "noise": 0.0 * noise})
    np.testing.assert_allclose(likeliest, wanted(policy, seen[None], None)[0][:, columns], atol=1e-5)
    th.manual_seed(0)
    by_itself = policy.actor(np.random.default_rng(1))(seen)[:, columns]
    for column in range(drawn.shape[1]):
        mine, theirs = drawn[:, column], by_itself[:, column]
        assert mine.mean() == pytest.approx(theirs.mean(), abs=0.15)
        assert mine.std() == pytest.approx(theirs.std(), abs=0.1)
    says = [part["kind"] == "message" for part in told["action"]["columns"]]
    assert [np.ptp(each) == 0 for each in drawn.T] == says  # messages are not drawn


def runner(file):
    """What runs a file: arrays by the names of its inputs, in order, to actions."""
    if file.suffix == ".pt":
        program = th.jit.load(file)
        return lambda inputs: program(*map(th.as_tensor, inputs.values()))[0].numpy()
    session = pytest.importorskip("onnxruntime").InferenceSession(str(file))
    return lambda inputs: session.run(None, inputs)[0]
