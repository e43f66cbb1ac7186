"""Tasks with messages through the pipeline: the expert is silent, the students talk."""

import numpy as np
import pytest
from gymnasium import spaces
from stable_baselines3.common.noise import VectorizedActionNoise

import cesma_sb3
from cesma_sb3.experts import TranslatedExpert
from cesma_sb3.training.evaluate_run import evaluate_run
from tests.shared_runs import RUNS

TINY = {key: value for key, value in RUNS["trained"][1].items() if key != "seed"}


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    return cesma_sb3.run("navigation-comm", seed=3, out=tmp_path_factory.mktemp("runs") / "run", **TINY)


def test_the_expert_neither_hears_nor_speaks(result):
    assert isinstance(result.expert, TranslatedExpert)
    model = result.expert.expert.model
    assert model.action_space == spaces.MultiDiscrete([5, 5])
    team = result.students.team
    assert team.action_space == spaces.MultiDiscrete([5, 10, 5, 10])
    observations = np.random.default_rng(0).normal(size=(50, team.observation_size)).astype(np.float32)
    labels = result.expert.labels(observations)
    heard = [
        np.arange(where.start, where.stop)[team.layouts[agent].observation.slice("messages")]
        for agent, where in zip(team.agents, team.observation_slices, strict=True)
    ]
    observations[:, np.concatenate(heard)] += 1.0
    np.testing.assert_array_equal(result.expert.labels(observations), labels)


def test_a_run_measured_again_gives_its_own_numbers(result):
    assert evaluate_run(result.run_dir)["return"] == pytest.approx(result.report["return"])
    assert "goal landmark" in result.report["reward"]
    assert result.report["normalized"]["reference"] == 1


@pytest.mark.no_cover
def test_students_talk_in_training_and_when_they_act(tmp_path):
    solved = cesma_sb3.run(
        "speaker-listener-scripted",
        out=tmp_path / "run",
        **{**TINY, "expert": {}, "dagger.total_timesteps": 12_000, "dagger.batch_size": 128},
    )
    assert solved.report["normalized"]["students"] > 0.8
    for change in ("shuffled", "zeroed", "random"):
        changed, again = (evaluate_run(solved.run_dir, episodes=200, messages=change) for _ in range(2))
        assert changed["normalized"]["students"] < 0.75  # what a listener reaches that hears nothing
        assert changed == again


def test_a_baseline_hears_and_speaks(tmp_path):
    ppo = {"algorithm": "PPO", "policy": "TeamPolicy", "n_envs": 8, "total_timesteps": 200}
    arguments = {"kwargs": {"n_steps": 25, "batch_size": 100}, "policy_kwargs": {"actor_visibility": "own"}}
    result = cesma_sb3.run(
        "speaker-listener", out=tmp_path / "run", **{**TINY, "expert": {**ppo, **arguments}, "dagger": None}
    )
    assert result.students.team.action_space == spaces.MultiDiscrete([3, 5])


def test_noise_of_continuous_experts_is_a_number(tmp_path):
    result = cesma_sb3.run("spread-3-continuous", out=tmp_path / "run", **TINY)
    noise = result.expert.model.action_noise
    assert isinstance(noise, VectorizedActionNoise)
    assert len(noise.noises) == 8
    np.testing.assert_array_equal(noise.noises[0]._sigma, np.full(15, 0.2))


def test_words_that_are_not_available_are_not_said(tmp_path):
    """The environment raises where one is: the silent expert says what it can, and so do the students."""
    expert = {
        "algorithm": "MaskablePPO",
        "policy": "MlpPolicy",
        "action_view": "joint",
        "n_envs": 8,
        "total_timesteps": 2000,
        "kwargs": {"n_steps": 32, "batch_size": 64, "gamma": 0.0, "learning_rate": 0.01},
    }
    result = cesma_sb3.run(
        "navigation-comm-gumbel-softmax",
        out=tmp_path / "run",
        **{
            **TINY,
            "env": {"id": "tests.envs_for_tests:TalkAndMove"},
            "expert": expert,
            "students": {"hidden_sizes": [16]},
        },
    )
    assert isinstance(result.expert, TranslatedExpert)
    assert result.report["return"]["expert"] > result.report["return"]["random"]
    assert result.report["return"]["students"] > result.report["return"]["random"]
