"""Goals that an agent does not see itself: how they are drawn, told to the others, and measured.

An observation part called `goal`, of kind `agents`, holds the goal landmark of each *other* agent, in the
order of the team. So whoever reads the joint observation knows all goals, and an agent alone does not know
its own.
"""

from __future__ import annotations

import numpy as np

from cesma_sb3.envs.particle.world import Array, Index, World, length
from cesma_sb3.spaces.layout import Part

GOAL = "goal"
"""Name of the part."""
N_COLORS = 3


def goal_part(n_agents: int, size: int) -> Part:
    """The goals of all agents but one, each as a code of `size` numbers."""
    return Part(GOAL, "agents", count=n_agents - 1, size=size)


def goal_codes(n_landmarks: int, *, low: float, high: float) -> Array:
    """How each landmark is named in an observation: [n_landmarks, code size].

    Up to three landmarks have mpe2's colours, red, green and blue: `high` in their own channel, `low` in the
    others. More have one entry each, 1 for the landmark itself and 0 else: a scale of further mixed colours
    would be harder to read for a network, and carry nothing that the entry does not. In both, the largest
    number tells the landmark.
    """
    if n_landmarks > N_COLORS:
        return np.eye(n_landmarks)
    colors: Array = low + (high - low) * np.eye(N_COLORS)[:n_landmarks]
    return colors


def draw(
    rng: np.random.Generator, *, n_entities: int, n_goals: int, n_landmarks: int, n_worlds: int
) -> tuple[Array, Index]:
    """Start positions, and goals that are drawn independently, as in mpe2: two agents may share one.

    Returns:
        Positions [n_entities, 2, n_worlds] in the square [-1, 1], and landmarks [n_worlds, n_goals] int64.
    """
    # Drawn world by world, so that the first worlds of a larger batch start as a smaller batch does.
    numbers = rng.random((n_worlds, 2 * n_entities + n_goals))
    places = 2.0 * numbers[:, : 2 * n_entities].reshape(n_worlds, n_entities, 2) - 1.0
    goals = (numbers[:, 2 * n_entities :] * n_landmarks).astype(np.int64)
    return np.moveaxis(places, 0, -1), goals


def distances(world: World, goals: Index) -> Array:
    """From each agent to its goal: [A, B].

    Args:
        world: The worlds.
        goals: Landmarks [A, B].
    """
    places = np.take_along_axis(world.landmark_positions, goals[:, None], axis=0)
    return length(world.agent_positions - places)
