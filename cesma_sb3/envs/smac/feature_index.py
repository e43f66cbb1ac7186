"""How a battle's observations and actions are read by a controller that was not trained."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class FeatureIndex:
    """Where an observation says what, and which actions do what."""

    health: int
    """Entry of an enemy's features that is its health, 0 of one that is dead or out of sight."""
    position: tuple[int, int]
    """Entries that are its place as seen from the agent, x and y."""
    moves: tuple[tuple[int, tuple[int, int]], ...]
    """Actions that walk, each with its direction."""
    first_attack: int
    """The action that attacks the first enemy; the others follow."""
    forward: int
    """The action that walks to where the enemies are when nobody sees any."""


SMAX_FEATURES = FeatureIndex(
    health=0,
    position=(1, 2),
    moves=((1, (0, 1)), (2, (1, 0)), (3, (0, -1)), (4, (-1, 0))),
    first_attack=5,
    forward=2,
)
SMAC_FEATURES = FeatureIndex(
    health=4,
    position=(2, 3),
    moves=((2, (0, 1)), (3, (0, -1)), (4, (1, 0)), (5, (-1, 0))),
    first_attack=6,
    forward=4,
)
"""Of `StarCraft2Env` with `obs_all_health`, its default."""
