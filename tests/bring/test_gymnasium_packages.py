"""The adapters against the packages themselves: level-based foraging, RWARE, MOMAland."""

from __future__ import annotations

import importlib
from typing import Any

import gymnasium
import numpy as np
import pytest
from pettingzoo.test import parallel_api_test

from cesma_sb3.config.registry import load_experiment
from cesma_sb3.envs import make_parallel_env, make_vec_env
from cesma_sb3.testing import check_environment
from cesma_sb3.training.evaluator import joint_env

TASKS = ("lbf-8x8-2p-2f-coop", "lbf-15x15-4p-5f", "rware-tiny-2ag", "rware-tiny-4ag")


def task(name: str) -> Any:
    """The environment of an experiment, and the same one as Gymnasium makes it."""
    env = load_experiment(name).env
    package, _, gymnasium_id = env.id.partition(":")
    extra = name.partition("-")[0]
    pytest.importorskip(package, reason=f"the extra [{extra}] is not installed")
    return env, gymnasium.make(gymnasium_id, disable_env_checker=True, **env.kwargs)


@pytest.mark.parametrize("name", TASKS)
def test_a_team_is_what_the_package_plays(name):
    env, bare = task(name)
    venv = joint_env(env, 1, seed=7)
    observations, rng, ended = venv.reset(), np.random.default_rng(0), 0
    expected, _ = bare.reset(seed=7)
    for _ in range(120):
        np.testing.assert_array_equal(observations[0], np.concatenate(expected))
        action = rng.integers(5, size=venv.team.n_agents)
        expected, rewards, over, _, _ = bare.step(tuple(action))
        observations, reward, dones, infos = venv.step(action[None])
        assert reward[0] == pytest.approx(sum(rewards))
        assert dones[0] == over
        if over:
            np.testing.assert_array_equal(infos[0]["terminal_observation"], np.concatenate(expected))
            expected, _ = bare.reset()
            ended += 1
    assert (ended > 0) == name.startswith("lbf")


def test_the_same_seed_is_the_same_team():
    env, _ = task(TASKS[0])
    first = [joint_env(env, 8, seed=1).reset() for _ in range(4)]
    assert all(np.array_equal(first[0], other) for other in first)


@pytest.mark.parametrize("name", [TASKS[0], TASKS[2]])
def test_it_is_accepted_as_an_environment(name):
    env, _ = task(name)
    parallel_api_test(make_parallel_env(env.id, env.kwargs), num_cycles=60)
    check_environment(lambda: make_parallel_env(env.id, env.kwargs), team_reward="sum", n_steps=60)


def test_robots_are_cut_off_after_500_steps():
    env, _ = task("rware-tiny-2ag")
    venv = make_vec_env(env.id, kwargs=env.kwargs, max_steps=5, team_reward="sum", n_envs=1, seed=0)
    venv.reset()
    for _ in range(5):
        *_, dones, infos = venv.step(np.zeros((1, 2), dtype=int))
    assert env.max_steps == 500
    assert dones[0]
    assert infos[0]["TimeLimit.truncated"]


def test_objectives_are_weighted():
    try:
        bare = importlib.import_module("momaland.envs.beach.mobeach_v0").parallel_env()
    except ImportError as error:  # it wants gymnasium 1.1 and a PettingZoo of its time
        pytest.skip(f"momaland cannot be imported: {error}")
    name, weights = "momaland.envs.beach.mobeach_v0", [0.7, 0.3]
    env = make_parallel_env(name, reward_weights=weights)
    (seen, _), (expected, _) = env.reset(seed=3), bare.reset(seed=3)
    for _ in range(3):
        actions = dict.fromkeys(bare.agents, 1)
        seen, rewards, *_ = env.step(actions)
        expected, vectors, *_ = bare.step(actions)
        assert rewards == pytest.approx({agent: vector @ weights for agent, vector in vectors.items()})
        assert all(np.array_equal(seen[agent], expected[agent]) for agent in expected)
