"""Worlds of VMAS: equal to VMAS's own, started one by one, reproducible, and known by name."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

vmas = pytest.importorskip("vmas", reason="the extra [vmas] is not installed")

# E402: what follows imports VMAS, or is about it; without the extra nothing of this file is needed.
import torch as th  # noqa: E402
from pettingzoo.test import parallel_api_test  # noqa: E402

from cesma_sb3.config.registry import load_experiment  # noqa: E402
from cesma_sb3.envs import make_parallel_env, make_vec_env  # noqa: E402
from cesma_sb3.envs.vmas import VmasVecEnv  # noqa: E402
from cesma_sb3.errors import ConfigError, EnvError, RewardError, UnknownNameError  # noqa: E402
from cesma_sb3.testing import check_environment  # noqa: E402
from cesma_sb3.training.evaluator import joint_env  # noqa: E402

B = 6
SCENARIOS = ("balance", "transport", "navigation", "sampling")


@pytest.fixture(scope="module")
def made() -> dict[str, VmasVecEnv]:
    """The worlds of each registered experiment, with episodes of 7 steps."""
    return {name: worlds(name) for name in SCENARIOS}


def worlds(name: str, n_envs: int = B, max_steps: int = 7) -> VmasVecEnv:
    env = load_experiment(f"vmas-{name}").env
    venv = joint_env(
        env.model_copy(update={"max_steps": max_steps, "kwargs": arguments(name)}), n_envs, seed=0
    )
    assert isinstance(venv, VmasVecEnv)
    return venv


def arguments(name: str) -> dict[str, Any]:
    """Those of the registered experiment; `sampling` with a coarse grid, whose cells are gone through."""
    return load_experiment(f"vmas-{name}").env.kwargs | ({"grid_spacing": 0.25} if name == "sampling" else {})


def drawn(venv: VmasVecEnv, rng: np.random.Generator) -> Any:
    space = venv.action_space
    return rng.uniform(space.low, space.high, size=(venv.num_envs, *space.shape)).astype(np.float32)


def trace(venv: VmasVecEnv, n_steps: int, seed: int = 0) -> list[Any]:
    """Observations, rewards and ends of some steps."""
    rng = np.random.default_rng(seed)
    return [venv.step(drawn(venv, rng))[:3] for _ in range(n_steps)]


def assert_same(first: list[Any], second: list[Any]) -> None:
    for one, other in zip(first, second, strict=True):
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", SCENARIOS)
def test_worlds_are_vmas_own(name, made):
    venv = made[name]
    venv.seed(5)
    kwargs = arguments(name)
    own = vmas.make_env(name, B, max_steps=7, terminated_truncated=True, **kwargs)
    np.testing.assert_array_equal(venv.reset(), th.cat(own.reset(seed=5), dim=1))
    rng, goes_on = np.random.default_rng(0), np.ones(B, dtype=bool)
    for _ in range(7):
        actions = drawn(venv, rng)
        seen, rewards, terminated, truncated, _ = own.step(
            list(th.from_numpy(actions).chunk(venv.team.n_agents, 1))
        )
        observations, team_rewards, dones, infos = venv.step(actions)
        last = [info.get("terminal_observation", row) for info, row in zip(infos, observations, strict=True)]
        np.testing.assert_array_equal(np.array(last)[goes_on], th.cat(seen, dim=1)[goes_on])
        expected = th.stack(rewards).mean(0)[goes_on]
        np.testing.assert_allclose(team_rewards[goes_on], expected, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(dones[goes_on], (terminated | truncated)[goes_on])
        for world in np.flatnonzero(dones & goes_on):
            assert infos[world]["TimeLimit.truncated"] == (not terminated[world])
        goes_on &= ~dones


@pytest.mark.parametrize("name", SCENARIOS)
def test_only_worlds_whose_episode_is_over_start_anew(name, made):
    venv = made[name]
    venv.seed(2)
    venv.reset()
    venv.statistics.lengths[:2] = 5  # two are ahead
    rng = np.random.default_rng(1)
    venv.step(drawn(venv, rng))
    observations, _, dones, infos = venv.step(np.zeros((B, *venv.action_space.shape), dtype=np.float32))
    assert dones[:2].all()
    np.testing.assert_allclose(observations, venv.worlds.observe(), atol=1e-5)
    for world in np.flatnonzero(dones):
        assert not np.array_equal(observations[world], infos[world]["terminal_observation"])
        assert venv.statistics.lengths[world] == 0
    assert infos[0]["episode"]["l"] == 7
    agents = infos[0]["agent_returns"]
    assert set(agents) == set(venv.team.agents)


def test_more_episodes_than_are_drawn_at_once(monkeypatch):
    monkeypatch.setattr("cesma_sb3.envs.vmas.worlds.N_STARTS", 7)
    venv = worlds("transport", max_steps=2)
    venv.reset()
    seen = np.concatenate([venv.step(np.zeros((B, 8)))[0] for _ in range(8)][1::2])
    assert venv._starts is not None
    assert venv._starts.drawn > 2
    assert len(np.unique(seen[:, 0])) == 4 * B


def test_seeds():
    first, second, other = (worlds("navigation") for _ in range(3))
    for venv, seed in ((first, 1), (second, 1), (other, 2)):
        venv.seed(seed)
    starts = [venv.reset() for venv in (first, second, other)]
    np.testing.assert_array_equal(starts[0], starts[1])
    assert not np.array_equal(starts[0], starts[2])
    state = th.get_rng_state()
    traces = [trace(first, 20)]
    trace(other, 3)  # other worlds of this process change nothing
    traces.append(trace(second, 20))
    assert_same(*traces)
    assert th.equal(th.get_rng_state(), state)


@pytest.mark.parametrize("name", SCENARIOS)
def test_what_is_saved_goes_on_bit_for_bit(name, made):
    venv, other = made[name], worlds(name)
    venv.seed(4)
    venv.reset()
    trace(venv, 10)
    state = copy.deepcopy(venv.state_dict())
    expected = trace(venv, 12, seed=8)
    other.load_state_dict(state)
    assert_same(trace(other, 12, seed=8), expected)


def test_one_world_is_a_pettingzoo_environment():
    kwargs = {"n_agents": 2, "max_cycles": 9}
    parallel_api_test(make_parallel_env("vmas-balance", kwargs), num_cycles=30)
    check_environment(lambda: make_parallel_env("vmas-navigation", kwargs), team_reward="sum", n_steps=30)


@pytest.mark.parametrize(("choice", "n_columns"), [("continuous_actions", 2), ("multidiscrete_actions", 4)])
def test_actions_can_be_choices(choice, n_columns):
    kwargs = {"n_agents": 2, "continuous_actions": False} | ({choice: True} if choice[0] == "m" else {})
    venv = make_vec_env("vmas-balance", kwargs=kwargs, n_envs=2, seed=0)
    assert venv.team.n_columns == n_columns
    venv.reset()
    for _ in range(3):
        observations, *_ = venv.step(np.zeros((2, n_columns), dtype=np.int64))
    assert observations.shape == venv.reset().shape


def test_a_frame_shows_the_first_world(made):
    for venv in made.values():
        venv.reset()
        venv.render_terminal()
        frames = [venv.get_images()[0]]
        for _ in range(7):
            *_, infos = venv.step(np.ones((B, *venv.action_space.shape), dtype=np.float32))
            if "episode" in infos[0]:
                frames.append(infos[0]["terminal_frame"])
                break
        first, last = frames
        assert first.shape == last.shape
        assert not np.array_equal(first, last)


def test_what_is_wrong_is_told_in_one_line():
    with pytest.raises(UnknownNameError, match=r"VMAS scenario 'balanse'.*balance"):
        make_vec_env("vmas-balanse")
    with pytest.raises(UnknownNameError, match=r"'n_agent'.*n_agents"):
        make_vec_env("vmas-balance", kwargs={"n_agent": 3})
    with pytest.raises(ConfigError, match=r"env.kwargs.max_steps: .*max_cycles"):
        make_vec_env("vmas-balance", kwargs={"max_steps": 3})
    with pytest.raises(ConfigError, match="vmas-balance"):
        make_vec_env("vmas-balance", kwargs={"n_agents": 1})
    venv = make_vec_env("vmas-navigation", kwargs={"shared_rew": False}, seed=0, n_envs=2)
    venv.reset()
    with pytest.raises(RewardError, match="'sum' or 'mean'"):
        venv.step(np.ones((2, 8)))


def test_state_that_is_no_row_of_a_tensor_is_noticed():
    venv = make_vec_env("vmas-simple_reference", max_steps=2, n_envs=2, seed=0, team_reward="sum")
    venv.reset()
    venv.step(np.zeros((2, *venv.action_space.shape)))
    with pytest.raises(EnvError, match="cannot be started one by one"):
        venv.step(np.zeros((2, *venv.action_space.shape)))
