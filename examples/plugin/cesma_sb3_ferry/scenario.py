"""Your own scenario of the batched world: two ferries, each bound for the bank that it is farther from.

Four methods make it both an SB3 `VecEnv` of many environments, stepped together, and a PettingZoo
environment.
Shapes: A agents, B environments; every array of the world has their axis last.
"""

import numpy as np

from cesma_sb3.envs.particle import Body, Scenario, World
from cesma_sb3.envs.particle.scenario import uniform_positions
from cesma_sb3.spaces.layout import ObservationLayout, Part

BANKS = 0.9  # their distance from the middle


class Ferry(Scenario):
    """The reward is minus the distance of both ferries to the banks that they are bound for."""

    shared_reward = True

    def __init__(self, size: float = 0.1, max_cycles: int = 25) -> None:
        boats = [Body(f"ferry_{i}", size=size, accel=3.0) for i in range(2)]
        super().__init__(name="ferry", agents=boats, landmarks=[], max_cycles=max_cycles)

    def variables(self, n_envs: int) -> dict[str, np.ndarray]:
        """Where each is bound for: the sign of its bank, [A, B]."""
        return {"bank": np.ones((2, n_envs))}

    def reset(self, world: World, rng: np.random.Generator, which: np.ndarray) -> None:
        """Anywhere; the far bank is where it goes."""
        positions = uniform_positions(rng, 2, len(which))  # [A, 2, b]
        world.place(which, positions)
        world.variables["bank"][:, which] = np.where(positions[:, 0] < 0, 1.0, -1.0)

    def observation_layout(self, index: int) -> ObservationLayout:
        """What `observe` puts where, for networks that can use it and for whoever reads it."""
        return ObservationLayout(
            (Part("velocity", "own", size=2), Part("position", "own", size=2), Part("bank", "own", size=1))
        )

    def observe(self, world: World) -> np.ndarray:
        """Each sees itself alone: joint observations [B, 2 * 5]."""
        rows = [
            row
            for i in range(2)
            for row in (world.velocities[i], world.positions[i], world.variables["bank"][i][None])
        ]
        return np.ascontiguousarray(np.concatenate(rows).T, dtype=np.float32)

    def rewards(self, world: World) -> np.ndarray:
        """Everybody gets the same [A, B]."""
        far = np.abs(world.positions[:, 0] - BANKS * world.variables["bank"])
        return np.repeat(-far.sum(axis=0)[None], 2, axis=0)
