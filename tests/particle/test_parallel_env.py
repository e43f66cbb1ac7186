"""A scenario as a PettingZoo environment: PettingZoo's own tests, seeds, states, pictures."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pettingzoo.test import parallel_api_test, parallel_seed_test

from cesma_sb3.envs.particle import parallel_env
from cesma_sb3.envs.particle.rendering import SIZE, agent_color
from cesma_sb3.errors import SpaceError, UnknownNameError

VARIANTS: list[dict[str, Any]] = [
    {},
    {"n_agents": 6, "heterogeneous": True},
    {"continuous_actions": True, "reward": "mpe2"},
]


@pytest.mark.parametrize("kwargs", VARIANTS)
def test_pettingzoo_accepts_it(kwargs: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    parallel_api_test(parallel_env(**kwargs), num_cycles=60)
    parallel_seed_test(lambda: parallel_env(**kwargs), num_cycles=30)


def test_an_episode_is_truncated_and_never_terminated() -> None:
    env = parallel_env(max_cycles=4)
    env.reset(seed=0)
    for step in range(4):
        _, _, terminated, truncated, _ = env.step(dict.fromkeys(env.agents, 1))
        assert not any(terminated.values())
        assert all(truncated.values()) == (step == 3)
    assert env.agents == []
    assert env.step({}) == ({}, {}, {}, {}, {})


def test_a_state_that_is_put_back_goes_on_alike() -> None:
    env, other = parallel_env(max_cycles=6), parallel_env(max_cycles=6)
    env.reset(seed=1)
    env.step(dict.fromkeys(env.agents, 2))
    other.set_state(env.get_state())
    for _ in range(5):
        first, second = (each.step(dict.fromkeys(each.agents, 3)) for each in (env, other))
        assert first[1] == second[1]
        np.testing.assert_array_equal(env.state(), other.state())
    assert env.agents == other.agents == []
    np.testing.assert_array_equal(env.reset()[0]["agent_0"], other.reset()[0]["agent_0"])


def test_observations_that_were_handed_out_do_not_change() -> None:
    env = parallel_env()
    observations, _ = env.reset(seed=0)
    kept = observations["agent_1"].copy()
    env.step(dict.fromkeys(env.agents, 1))
    np.testing.assert_array_equal(observations["agent_1"], kept)


@pytest.mark.parametrize("n_agents", [3, 9])
def test_pictures_show_every_agent_and_landmark(n_agents: int) -> None:
    env = parallel_env(n_agents=n_agents, heterogeneous=True, render_mode="rgb_array")
    env.reset(seed=0)
    angles = np.arange(n_agents) * 2 * np.pi / n_agents
    places = np.stack([np.cos(angles), np.sin(angles)], axis=1)[None]
    env.set_state({"positions": 0.8 * places, "landmarks": 0.2 * places})
    frame = env.render()
    assert frame is not None
    assert frame.dtype == np.uint8
    assert frame.shape == (SIZE, SIZE, 3)
    scale = SIZE / 2 / 1.3
    for number, (x, y) in enumerate(0.8 * places[0]):
        # Beside the number and inside the edge: the agent's own hue, lightened by the floor.
        shift = 0.75 * env.scenario.agents[number].size
        pixel = frame[round(SIZE / 2 - scale * y), round(SIZE / 2 + scale * (x + shift))].astype(int)
        assert np.abs(pixel - (0.686 * np.array(agent_color(number)) + 0.314 * 241)).max() < 8
    x, y = 0.2 * places[0, 0]
    assert np.ptp(frame[round(SIZE / 2 - scale * y), round(SIZE / 2 + scale * x)]) < 12
    np.testing.assert_array_equal(frame, env.render())
    env.close()


def test_the_camera_moves_back_for_who_leaves() -> None:
    env = parallel_env(n_agents=1, render_mode="rgb_array")
    env.reset(seed=0)
    env.set_state({"positions": np.array([[[5.0, 0.0]]]), "landmarks": np.zeros((1, 1, 2))})
    frame = env.render()
    assert frame is not None
    color = 0.686 * np.array(agent_color(0)) + 0.314 * np.array([251, 251, 249])
    assert (np.abs(frame.astype(int) - color).max(axis=2) < 8).any()


def test_a_window_is_drawn_and_closed() -> None:
    env = parallel_env(render_mode="human", max_cycles=2)
    env.reset(seed=0)
    env.step(dict.fromkeys(env.agents, 1))
    assert env.render() is None
    env.close()
    env.close()


def test_mistakes_are_named() -> None:
    with pytest.raises(UnknownNameError, match="did you mean 'rgb_array"):
        parallel_env(render_mode="rgb_aray")
    env = parallel_env()
    env.reset(seed=0)
    with pytest.raises(SpaceError, match="no action for agent_2 in step 0"):
        env.step({"agent_0": 0, "agent_1": 0})
