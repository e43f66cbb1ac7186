"""Cooperative navigation: as many agents as landmarks; cover them all, and do not collide.

With `heterogeneous=True` the kinds below repeat until every agent has one (3 agents: one of each; 6: two of
each). The paper only says that its nonhomogeneous agents are big and slow, medium, or small and fast; these
values are ours. An agent that keeps pushing in one direction approaches 0.4 * accel, so every top speed below
is reached and felt.

| kind  | size (radius) | accel (force of a push) | top speed (per unit of time; a step takes 0.1) |
|-------|---------------|-------------------------|------------------------------------------------|
| big   | 0.225         | 3.0                     | 1.0                                            |
| medium| 0.150         | 4.5                     | 1.6                                            |
| small | 0.075         | 6.0                     | 2.2                                            |
| homogeneous (mpe2) | 0.150 | 5.0                | none (2.0 along one axis)                      |

Every mass is 1. Landmarks have radius 0.05 and collide with nothing.

Source: Lin et al., "Decentralized Multi-Agents by Imitation of a Centralized Controller", Appendix D.2.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from cesma_sb3.envs.particle.scenario import (
    Reward,
    Scenario,
    check_count,
    check_reward,
    others_of,
    uniform_positions,
)
from cesma_sb3.envs.particle.world import Body, World, squared_length
from cesma_sb3.spaces.layout import ObservationLayout, Part
from cesma_sb3.spaces.types import Doubles, Floats, Index

KINDS = (
    Body("big", size=0.225, accel=3.0, max_speed=1.0),
    Body("medium", size=0.150, accel=4.5, max_speed=1.6),
    Body("small", size=0.075, accel=6.0, max_speed=2.2),
)
HOMOGENEOUS = Body("agent", size=0.150)
# mpe2's agents have a channel of two entries that none of them uses in this scenario; observations keep its
# place.
MESSAGE_SIZE = 2
# Entries of float32 in a line of the cache.
CACHE_LINE = 16


class Spread(Scenario):
    """Cooperative navigation.

    Args:
        n_agents: The number of agents, and of landmarks.
        heterogeneous: Whether agents are big and slow, medium, small and fast in turn, instead of mpe2's.
        continuous_actions: Whether an action is five scalars in [0, 1] (nothing, left, right, down, up)
            instead of one of five moves.
        reward: "paper": every agent gets minus the sum over landmarks of the distance of the nearest agent,
            minus 1 for each pair of agents that overlap. "mpe2": agent i gets (1 - local_ratio) times minus
            the sum of distances, plus local_ratio times minus the number of agents that it overlaps.
        max_cycles: Steps of an episode.
        local_ratio: Share of an agent's own collisions in mpe2's reward, 0 to 1.

    Raises:
        ConfigError: A bad argument.
    """

    def __init__(
        self,
        n_agents: int = 3,
        *,
        heterogeneous: bool = False,
        continuous_actions: bool = False,
        reward: Reward = "paper",
        max_cycles: int = 25,
        local_ratio: float = 0.5,
    ) -> None:
        check_count("n_agents", n_agents)
        check_reward("spread", reward, local_ratio)
        kinds = KINDS if heterogeneous else (HOMOGENEOUS,)
        super().__init__(
            name="spread",
            agents=[replace(kinds[i % len(kinds)], name=f"agent_{i}") for i in range(n_agents)],
            landmarks=[Body(f"landmark_{i}", collide=False, movable=False) for i in range(n_agents)],
            max_cycles=max_cycles,
            continuous_actions=continuous_actions,
            message_size=MESSAGE_SIZE,
        )
        self.shared_reward = reward == "paper"
        self.local_ratio = local_ratio
        self._others = others_of(n_agents)

    @property
    def reward_definition(self) -> str:
        """The reward in words, for reports."""
        if self.shared_reward:
            return (
                "the paper's, shared: minus the distance of the nearest agent to each landmark, minus 1 a "
                "colliding pair, summed over the episode"
            )
        return "mpe2's, combined over the agents as env.team_reward says"

    def reset(self, world: World, rng: np.random.Generator, which: Index) -> None:
        """Starts agents and landmarks anywhere in [-1, 1], at rest."""
        world.place(which, uniform_positions(rng, len(world.positions), len(which)))

    def observation_layout(self, index: int) -> ObservationLayout:
        """The parts of an observation, as in mpe2: relative positions, and messages that are unused."""
        n, others = len(self.landmarks), len(self.agents) - 1
        return ObservationLayout(
            (
                Part("velocity", "own", size=2, is_planar=True),
                Part("position", "own", size=2, is_planar=True),
                Part("landmarks", "entities", count=n, size=2, is_planar=True),
                Part("others", "agents", count=others, size=2, is_planar=True),
                Part("messages", "message", count=others, size=MESSAGE_SIZE),
            )
        )

    def observe(self, world: World) -> Floats:
        """Joint observations [B, A * (4 + 2 L + 4 (A - 1))] float32."""
        n_agents, n_landmarks, n_envs = world.n_agents, len(world.landmarks), world.n_envs
        agents = world.agent_positions
        # With a line of the cache between them, rows do not compete for the same few lines where B is a power
        # of two: with 256 environments the transposition at the end is three times as fast.
        shape = (n_agents, 4 + 2 * n_landmarks + 4 * (n_agents - 1), n_envs + CACHE_LINE)
        observation = np.empty(shape, dtype=np.float32)[..., :n_envs]
        observation[:, :2] = world.velocities
        observation[:, 2:4] = agents
        parts = observation[:, 4:].reshape(n_agents, -1, 2, n_envs)
        np.subtract(
            world.landmark_positions, agents[:, None], out=parts[:, :n_landmarks], casting="same_kind"
        )
        others = parts[:, n_landmarks : n_landmarks + n_agents - 1]
        np.subtract(agents[self._others], agents[:, None], out=others, casting="same_kind")
        parts[:, n_landmarks + n_agents - 1 :] = 0.0
        return np.ascontiguousarray(observation.reshape(-1, n_envs).T)

    def rewards(self, world: World) -> Doubles:
        """Every agent's reward, [A, B]."""
        to_landmarks = squared_length(world.landmark_positions - world.agent_positions[:, None])
        uncovered = np.sqrt(to_landmarks.min(axis=0)).sum(axis=0)
        rewards: Doubles
        if self.shared_reward:
            rewards = np.repeat([-uncovered - world.touching().sum(axis=0)], world.n_agents, axis=0)
        else:
            rewards = -(1.0 - self.local_ratio) * uncovered - self.local_ratio * world.collisions()
        return rewards
