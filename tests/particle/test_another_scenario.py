"""What the base offers other scenarios, by speaker and listener: agents that differ, talk, stand still."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from gymnasium import spaces
from pettingzoo.test import parallel_api_test, parallel_seed_test

from cesma_sb3.envs.mpe2 import mpe2_module
from cesma_sb3.envs.particle import Body, ParticleParallelEnv, ParticleVecEnv, Scenario, World
from cesma_sb3.envs.particle.controls import Controls
from cesma_sb3.envs.particle.scenario import uniform_positions
from cesma_sb3.joint.layout import ObservationLayout, Part

COLORS = np.array([[0.65, 0.15, 0.15], [0.15, 0.65, 0.15], [0.15, 0.15, 0.65]])


class SpeakerListener(Scenario):
    shared_reward = True

    def __init__(self, continuous_actions: bool = False) -> None:
        speaker = Body("speaker_0", size=0.075, collide=False, movable=False, silent=False)
        listener = Body("listener_0", size=0.075, collide=False)
        super().__init__(
            name="speaker-listener",
            agents=[speaker, listener],
            landmarks=[Body(f"landmark_{i}", size=0.04, collide=False, movable=False) for i in range(3)],
            continuous_actions=continuous_actions,
            message_size=3,
        )

    def variables(self, n_worlds: int) -> dict[str, npt.NDArray[Any]]:
        return {"goals": np.zeros(n_worlds, dtype=np.int64)}

    def reset(self, world: World, rng: np.random.Generator, which: npt.NDArray[np.int64]) -> None:
        world.place(which, uniform_positions(rng, 5, len(which)))
        world.variables["goals"][which] = rng.integers(3, size=len(which))

    def observation_layout(self, index: int) -> ObservationLayout:
        if index == 0:
            return ObservationLayout((Part("goal", "own", size=3),))
        landmarks = Part("landmarks", "entities", count=3, size=2)
        return ObservationLayout(
            (Part("velocity", "own", size=2), landmarks, Part("messages", "message", 1, 3))
        )

    def observe(self, world: World) -> npt.NDArray[np.float32]:
        landmarks = (world.landmark_positions - world.agent_positions[1]).reshape(6, -1)
        rows = [COLORS[world.variables["goals"]].T, world.velocities[1], landmarks, world.messages[0]]
        return np.ascontiguousarray(np.concatenate(rows).T, dtype=np.float32)

    def rewards(self, world: World) -> npt.NDArray[np.float64]:
        goals = world.landmark_positions[world.variables["goals"], :, np.arange(world.n_worlds)].T
        return np.repeat(-np.square(world.agent_positions[1] - goals).sum(axis=0)[None], 2, axis=0)


@pytest.mark.parametrize("continuous", [False, True])
def test_speaker_and_listener_equal_mpe2(continuous: bool) -> None:
    scenario = SpeakerListener(continuous)
    env = ParticleVecEnv(scenario, 8, seed=0)
    env.reset()
    env.action_space.seed(0)
    start = env.get_state()
    actions = np.array([[env.action_space.sample() for _ in range(8)] for _ in range(24)])
    steps = [env.step(action) for action in actions]
    reference = mpe2_module("simple_speaker_listener_v4").parallel_env(continuous_actions=continuous)
    for index in range(8):
        reference.reset(seed=0)
        inside = reference.unwrapped.world
        inside.agents[0].goal_b = inside.landmarks[start["goals"][index]]
        rows = [*start["positions"][index], *start["landmarks"][index]]
        for entity, position in zip(inside.entities, rows, strict=True):
            entity.state.p_pos = position.copy()
        for action, (observations, rewards, _, _) in zip(actions, steps, strict=True):
            mine = env.team.split_actions(action[index])
            seen, earned, _, _, _ = reference.step(mine)
            np.testing.assert_allclose(observations[index], np.concatenate(list(seen.values())), atol=1e-6)
            # SB3 takes rewards in single precision.
            np.testing.assert_allclose(rewards[index], earned["listener_0"], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("continuous", [False, True])
def test_pettingzoo_accepts_agents_that_differ(continuous: bool) -> None:
    parallel_api_test(ParticleParallelEnv(SpeakerListener(continuous)), num_cycles=60)
    parallel_seed_test(lambda: ParticleParallelEnv(SpeakerListener(continuous)), num_cycles=30)


def test_goals_are_part_of_the_state() -> None:
    env, other = (ParticleVecEnv(SpeakerListener(), 6, seed=seed) for seed in (0, 1))
    observations = env.reset()
    other.reset()
    np.testing.assert_array_equal(other.set_state(env.get_state()), observations)
    np.testing.assert_array_equal(other.world.variables["goals"], env.world.variables["goals"])


def test_an_agent_that_moves_and_talks_has_a_column_for_each() -> None:
    agents = [Body("a", silent=False, accel=2.0), Body("b"), Body("c", movable=False, silent=False)]
    controls = Controls(agents, message_size=4, continuous=False)
    assert controls.action_space(0) == spaces.MultiDiscrete([5, 4])
    assert [controls.action_space(1), controls.action_space(2)] == [spaces.Discrete(5), spaces.Discrete(4)]
    assert [part.kind for part in controls.action_parts(0)] == ["move", "message"]
    push, messages = controls.apply(np.array([[3, 2, 1, 0], [2, 0, 0, 3]]))
    np.testing.assert_array_equal(push[:, :, 0], [[0.0, -2.0], [-5.0, 0.0], [0.0, 0.0]])
    np.testing.assert_array_equal(push[:, :, 1], [[2.0, 0.0], [0.0, 0.0], [0.0, 0.0]])
    assert messages is not None
    np.testing.assert_array_equal(messages[:, :, 0], [[0, 0, 1, 0], [0, 0, 0, 0], [1, 0, 0, 0]])
    np.testing.assert_array_equal(messages[:, :, 1], [[1, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 1]])


def test_continuous_actions_subtract_clip_and_speak() -> None:
    agents = [Body("a", silent=False, accel=2.0), Body("b")]
    controls = Controls(agents, message_size=2, continuous=True)
    assert controls.action_space(0) == spaces.Box(0.0, 1.0, (7,), np.float32)
    assert [part.name for part in controls.action_parts(0)][-3:] == ["move_up", "message_0", "message_1"]
    packed = np.array([[1, 0.5, 1, 0, 0.25, 0.3, 9, 0, 0, 0, 1, -4]], dtype=np.float32)
    push, messages = controls.apply(packed)
    np.testing.assert_allclose(push[:, :, 0], [[1.0, 0.5], [0.0, -5.0]])
    assert messages is not None
    np.testing.assert_allclose(messages[:, :, 0], [[0.3, 1.0], [0.0, 0.0]], rtol=1e-6)
