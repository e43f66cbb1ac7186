"""Runs that train one side of a game: against random, scripted and saved others, in a folder of its own."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import cesma_sb3
from cesma_sb3.config.registry import load_experiment
from cesma_sb3.config.schema import EnvConfig
from cesma_sb3.envs.rollouts import reset_actor
from cesma_sb3.errors import CesmaError, ConfigError, StorageError, UntrustedError
from cesma_sb3.experts.scripted.tag import FleeingPrey
from cesma_sb3.policies import MixturePolicy, TeamPolicy, save_team
from cesma_sb3.spaces.team_spaces import TeamSpaces
from cesma_sb3.training.checkpoint import StageCheckpoints
from cesma_sb3.training.evaluator import joint_env
from cesma_sb3.training.others import SavedTeamActor, declared_side
from cesma_sb3.training.run_folder import RunFolder
from cesma_sb3.training.trust import code_of
from tests.envs_for_tests import MatchingGame, MortalEnv
from tests.faults.interrupted import Cut

GAME = {"id": "tests.envs_for_tests:MatchingGame", "kwargs": {"n_agents": 3}}
TINY: dict[str, Any] = {
    "name": "one-side",
    "students": {"hidden_sizes": [8]},
    "expert": {
        "algorithm": "PPO",
        "action_view": "joint",
        "n_envs": 4,
        "total_timesteps": 64,
        "kwargs": {"n_steps": 8, "batch_size": 32, "n_epochs": 1},
        "policy_kwargs": {"net_arch": [8]},
    },
    "dagger": {"total_timesteps": 64, "n_envs": 4, "batch_size": 8},
    "evaluation": {"n_final_episodes": 8, "n_eval_episodes": 4, "eval_freq": 64, "n_envs": 4},
}


def own_cues(observations: Any) -> Any:
    """Everybody plays the own cue, whoever they are: [B, 3 N] to [B, N]."""
    return observations.reshape(len(observations), -1, 3).argmax(axis=-1)


def cut_after(save: Any) -> Any:
    """A `save` of checkpoints after which a run is cut off."""

    def save_and_cut(self: Any, *args: Any, **kwargs: Any) -> None:
        save(self, *args, **kwargs)
        raise Cut

    return save_and_cut


def run(out: Path, agents: list[str], others: str, **more: Any) -> Any:
    file = out.with_suffix(".yaml")
    file.write_text(json.dumps({**TINY, "env": {**GAME, "agents": agents, "others": others}}))
    return cesma_sb3.run(file, out=out, **more)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two players beside one that is right."""
    out = tmp_path_factory.mktemp("one-side") / "first"
    run(out, ["player_0", "player_1"], f"{__name__}:own_cues")
    return out


def test_a_run_beside_scripted_others(first):
    report = json.loads((first / "report.json").read_text())
    assert RunFolder.open(first).agents == ("player_0", "player_1")
    assert report["return"]["random"] > 4  # that of the third, in four steps, is 4
    assert report["reward"].endswith(f"shared; player_0, player_1 against {__name__}:own_cues")


def test_a_run_beside_the_team_of_another_run_is_whole_by_itself(first, tmp_path):
    """It keeps the team that plays the others, and gives its report again without the other run."""
    original = shutil.copytree(first, tmp_path / "original")
    out = tmp_path / "second"
    report = run(out, ["player_2"], "original").report  # relative to the file that names it
    shutil.rmtree(original)
    assert (out / "others" / "team.safetensors").is_file()
    assert "others: others\n" in (out / "config.yaml").read_text()
    again = cesma_sb3.evaluate_run(out)
    assert again["return"] == report["return"]
    against = cesma_sb3.evaluate_run(out, overrides={"env.others": f"{__name__}:own_cues"}, trust=True)
    assert against["return"]["students"] != report["return"]["students"]
    moved = cesma_sb3.evaluate_run(out, overrides={"env.others": str(first)})
    assert moved["return"] == report["return"]


def test_an_interrupted_run_is_resumed_with_its_own_copy(first, tmp_path):
    original = shutil.copytree(first, tmp_path / "original")
    file, out = tmp_path / "run.yaml", tmp_path / "run"
    values = {**TINY, "checkpoint": {"save_freq": 10_000}}
    file.write_text(json.dumps({**values, "env": {**GAME, "agents": ["player_2"], "others": str(original)}}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StageCheckpoints, "save", cut_after(StageCheckpoints.save))
        with pytest.raises(Cut):
            cesma_sb3.run(file, out=out)
    folder = RunFolder.open(out)
    assert folder.is_of(load_experiment(file))
    shutil.rmtree(original)
    assert cesma_sb3.run(resume=out).report["return"]["students"] > 4


def test_others_of_a_saved_team_are_the_same_in_worker_processes(first):
    env = EnvConfig(**GAME, agents=("player_2",), others=str(first))
    here, there = (joint_env(env.model_copy(update={"processes": n}), 2, seed=0) for n in (0, 1))
    assert np.array_equal(here.reset(), there.reset())
    for _ in range(6):
        steps = [venv.step(np.zeros((2, 1), dtype=np.int64)) for venv in (here, there)]
        assert all(np.array_equal(a, b) for a, b in zip(*(step[:3] for step in steps), strict=True))
    here.close()
    there.close()


def test_a_saved_team_acts_as_each_of_its_agents_does_alone(tmp_path):
    """By name, in whatever order, on the own observation; the agents that are not asked for do not matter."""
    saved = TeamSpaces.from_parallel_env(MatchingGame(3))
    policy = TeamPolicy(
        saved.observation_space, saved.action_space, lambda _: 0.0, team=saved, hidden_sizes=[8]
    )
    save_team(policy, tmp_path)
    asked = TeamSpaces(["player_2", "player_0"], saved.observation_spaces, saved.action_spaces)
    act = SavedTeamActor(tmp_path, asked, np.random.default_rng(0))
    observations = np.random.default_rng(0).random((5, 6)).astype(np.float32)
    actions = act(observations)
    for place, name in enumerate(asked.agents):
        own = observations[:, 3 * place : 3 * place + 3]
        assert np.array_equal(actions[:, place], policy.agent(name).predict(own, deterministic=True)[0])


@pytest.mark.parametrize("network", ["feed-forward", "recurrent"])
def test_a_saved_team_with_masks_and_a_memory(network, tmp_path):
    """The game raises where somebody does what cannot be done."""
    saved = TeamSpaces.from_parallel_env(MortalEnv())
    policy = TeamPolicy(
        saved.observation_space,
        saved.action_space,
        lambda _: 0.0,
        team=saved,
        hidden_sizes=[8],
        network=network,
        acts_deterministically=False,
    )
    save_team(policy, tmp_path)
    env = EnvConfig(
        id="tests.envs_for_tests:MortalEnv", agents=("mortal_2",), others=str(tmp_path), team_reward="sum"
    )
    venv = joint_env(env, 1, seed=0)
    venv.reset()
    for _ in range(11):
        assert venv.agent_masks is not None
        venv.step(venv.agent_masks.argmax(axis=1, keepdims=True))
    venv.close()


def test_the_draws_of_an_ensemble_come_from_the_seed(tmp_path):
    saved = TeamSpaces.from_parallel_env(MatchingGame(2))
    teams = [
        TeamPolicy(saved.observation_space, saved.action_space, lambda _: 0.0, team=saved, hidden_sizes=[8])
        for _ in range(4)
    ]
    save_team(MixturePolicy(teams, [0.25] * 4), tmp_path)

    def drawn(seed: int) -> list[int]:
        rng = np.random.default_rng(seed)
        act = SavedTeamActor(tmp_path, saved, rng)
        reset_actor(act, None)
        cues = np.eye(3, dtype=np.float32)[[0, 1]].reshape(1, 6)
        return [int(action) for _ in range(12) for action in act(cues)[0]]

    assert drawn(0) == drawn(0)
    assert any(drawn(0) != drawn(seed) for seed in range(1, 4))


@pytest.mark.parametrize(
    ("others", "said"),
    [
        ("randm", "env.others: unknown team 'randm'; did you mean 'random'?"),
        ("nowhere/at-all", "no such folder"),
        (
            f"{__name__}:own_cue",
            "env.others: unknown name in tests.pipeline.test_one_side 'own_cue'; did you mean",
        ),
        ("tests.nowhere:cues", "env.others: 'tests.nowhere:cues': cannot import 'tests.nowhere'"),
        (f"{__name__}:GAME", "env.others: 0 has no controller|env.others: id is no agent"),
    ],
)
def test_who_is_not_there_is_named_in_one_line(others, said, tmp_path):
    with pytest.raises(CesmaError, match=said.replace("?", r"\?")) as caught:
        run(tmp_path / "run", ["player_0"], others)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_a_run_that_is_not_finished_has_no_team(first, tmp_path):
    copy = shutil.copytree(first, tmp_path / "copy", ignore=shutil.ignore_patterns("students"))
    env = EnvConfig(id=GAME["id"], kwargs=GAME["kwargs"], agents=["player_0", "player_1"], others=str(copy))
    with pytest.raises(
        StorageError, match=r"env.others: .*copy: this run has no students; `cesma run --resume`"
    ):
        joint_env(env, 1, seed=0)


@pytest.mark.parametrize(
    ("kwargs", "agents", "said"),
    [
        (
            {"n_agents": 4},
            ["player_0", "player_1", "player_2"],
            "students: unknown agent 'player_3'; did you mean",
        ),
        ({"n_agents": 2, "n_cues": 4}, ["player_0"], "the observation space of its player_1 is Box"),
    ],
)
def test_a_team_that_does_not_fit_is_refused(first, kwargs, agents, said):
    env = EnvConfig(id=GAME["id"], kwargs=kwargs, agents=agents, others=str(first))
    with pytest.raises(CesmaError, match=f"env.others: .*{said}"):
        joint_env(env, 1, seed=0)


@pytest.mark.parametrize(
    ("env", "said"),
    [
        ({"agents": ["a"]}, "env.others: expected who plays the agents that env.agents leaves out"),
        ({"others": "random"}, "env.others: expected null without env.agents"),
        ({"agents": [], "others": "random"}, "env.agents: expected at least 1"),
        (
            {"agents": ["a"], "others": "random", "team": {"a": {"observation": "0", "action": "0"}}},
            "env.agents",
        ),
    ],
)
def test_both_keys_or_none(env, said):
    with pytest.raises(ConfigError, match=said):
        load_experiment("spread-3", {f"env.{key}": value for key, value in env.items()})


def test_another_environment_has_other_sides():
    values = load_experiment("simple-tag-random", {"env.id": "spread"})
    assert values.env.agents is None
    assert values.env.others is None


def test_what_the_others_run_is_code_of_the_run(first, tmp_path):
    assert "env.others" in code_of(RunFolder.open(first).experiment)
    assert code_of(load_experiment("simple-tag-scripted")) == {}
    foreign = shutil.copytree(first, tmp_path / "foreign")
    (foreign / "signature.json").unlink()
    with pytest.raises(UntrustedError, match=r"own_cues \(env.others\)"):
        cesma_sb3.evaluate_run(foreign)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("simple-tag-scripted", {"env.agents": ["agent_0"], "env.others": "random", "expert.n_envs": 8}),
        ("connect-four-random", {"expert.kwargs.n_steps": 16, "expert.kwargs.batch_size": 16}),
    ],
)
def test_a_team_of_one(name, values, tmp_path):
    """The prey, whose observations have no mates in them; a player of a game of turns, with masks."""
    small = {"n_final_episodes": 2, "n_eval_episodes": 2, "n_envs": 2}
    budget = {"expert.total_timesteps": 32, "dagger.experience.n_updates": 2, "dagger.batch_size": 8}
    result = cesma_sb3.run(name, out=tmp_path / "run", overrides={**values, **budget}, evaluation=small)
    assert len(result.students.team.agents) == 1


def test_a_prey_flees_and_stays_in_the_field():
    env = EnvConfig(**{key: value for key, value in load_experiment("simple-tag-scripted").env if value})
    side = declared_side(env)
    assert side is not None
    venv = joint_env(env.model_copy(update={"agents": ("agent_0",), "others": "random"}), 4, seed=0)
    prey = FleeingPrey(venv.team)
    observations = venv.reset()
    near = observations.copy()
    near[:, 2:8], near[:, 8:] = 0.0, 5.0  # in the middle, and one predator close by, on the right
    near[:, 8:10] = [0.1, 0.0]
    assert (prey.labels(near) == 1).all()
    for _ in range(24):
        observations, *_ = venv.step(prey.labels(observations))
        assert np.abs(observations[:, 2:4]).max() < 1.2
    venv.close()
