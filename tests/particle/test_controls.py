"""From packed joint actions to pushes and messages, for agents that differ."""

from __future__ import annotations

import numpy as np
from gymnasium import spaces

from cesma_sb3.envs.particle import Body
from cesma_sb3.envs.particle.actions import Controls


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
