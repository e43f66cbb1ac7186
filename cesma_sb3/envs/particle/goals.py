"""Goals that an agent does not observe itself: drawing them, and encoding them for the other agents.

An observation part called `goal`, of kind `agents`, holds the goal landmark of each *other* agent, in the
order of the team. The joint observation has all goals, and an agent alone does not know its own.
"""

from __future__ import annotations

import numpy as np

from cesma_sb3.envs.particle.world import World, length
from cesma_sb3.spaces.layout import Part
from cesma_sb3.spaces.types import Doubles, Index

GOAL = "goal"
"""Name of the part."""
N_COLORS = 3


def goal_part(n_agents: int, size: int) -> Part:
    """The goals of all agents but one, each as a code of `size` entries."""
    return Part(GOAL, "agents", count=n_agents - 1, size=size)


def goal_codes(n_landmarks: int, *, low: float, high: float) -> Doubles:
    """The code of each landmark in observations: [n_landmarks, code size].

    Up to three landmarks have mpe2's colours, red, green and blue: `high` in their own channel, `low` in the
    others. More have one entry each, 1 for the landmark itself and 0 else: a scale of further mixed colours
    would be harder to read for a network, and carry nothing that the entry does not. In both, the largest
    entry is the landmark's own.
    """
    if n_landmarks > N_COLORS:
        return np.eye(n_landmarks)
    colors: Doubles = low + (high - low) * np.eye(N_COLORS)[:n_landmarks]
    return colors


def draw(
    rng: np.random.Generator, *, n_entities: int, n_goals: int, n_landmarks: int, n_envs: int
) -> tuple[Doubles, Index]:
    """Start positions, and goals that are drawn independently, as in mpe2: two agents may share one.

    Returns:
        Positions [n_entities, 2, n_envs] in the square [-1, 1], and landmarks [n_envs, n_goals] int64.
    """
    # Drawn environment by environment, so that a larger batch begins like a smaller one.
    numbers = rng.random((n_envs, 2 * n_entities + n_goals))
    places = 2.0 * numbers[:, : 2 * n_entities].reshape(n_envs, n_entities, 2) - 1.0
    goals = (numbers[:, 2 * n_entities :] * n_landmarks).astype(np.int64)
    return np.moveaxis(places, 0, -1), goals


def distances(world: World, goals: Index) -> Doubles:
    """The distance of each agent to its goal landmark, [A, B].

    Args:
        world: The state of the environments.
        goals: The landmark of each agent, [A, B].
    """
    places = np.take_along_axis(world.landmark_positions, goals[:, None], axis=0)
    return length(world.agent_positions - places)
