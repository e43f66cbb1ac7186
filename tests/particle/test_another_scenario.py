"""What the base offers a new scenario: four methods make it batched and a PettingZoo environment."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from pettingzoo.test import parallel_api_test, parallel_seed_test

from cesma_sb3.envs.particle import Body, ParticleParallelEnv, ParticleVecEnv, Scenario, World
from cesma_sb3.envs.particle.scenario import uniform_positions
from cesma_sb3.spaces.layout import ObservationLayout, Part


class Echo(Scenario):
    """One agent stands and talks, the other moves and hears it; everybody gets the last symbol."""

    shared_reward = True

    def __init__(self, continuous_actions: bool = False) -> None:
        super().__init__(
            name="echo",
            agents=[Body("voice", movable=False, silent=False), Body("ear", accel=2.0)],
            landmarks=[],
            continuous_actions=continuous_actions,
            message_size=4,
        )

    def reset(self, world: World, rng: np.random.Generator, which: npt.NDArray[np.int64]) -> None:
        world.place(which, uniform_positions(rng, 2, len(which)))

    def observation_layout(self, index: int) -> ObservationLayout:
        place = Part("position", "own", size=2)
        return ObservationLayout((place, Part("messages", "message", 1, 4)) if index else (place,))

    def observe(self, world: World) -> npt.NDArray[np.float32]:
        rows = [world.positions[0], world.positions[1], world.messages[0]]
        return np.ascontiguousarray(np.concatenate(rows).T, dtype=np.float32)

    def rewards(self, world: World) -> npt.NDArray[np.float64]:
        return np.repeat(world.messages[0].argmax(axis=0)[None], 2, axis=0).astype(float)


def test_four_methods_make_a_batched_environment() -> None:
    env = ParticleVecEnv(Echo(), 5, seed=0)
    assert env.reset().shape == (5, 8)
    said = np.array([0, 1, 2, 3, 3])
    observations, rewards, _, _ = env.step(np.stack([said, np.full(5, 2)], axis=1))
    np.testing.assert_array_equal(observations[:, 4:], np.eye(4)[said])
    np.testing.assert_array_equal(rewards, said)
    assert env.scenario.goals(env.world) is None
    assert env.scenario.reward_definition == "that of the scenario echo"


@pytest.mark.parametrize("continuous", [False, True])
def test_pettingzoo_accepts_agents_that_differ(continuous: bool) -> None:
    parallel_api_test(ParticleParallelEnv(Echo(continuous)), num_cycles=60)
    parallel_seed_test(lambda: ParticleParallelEnv(Echo(continuous)), num_cycles=30)
