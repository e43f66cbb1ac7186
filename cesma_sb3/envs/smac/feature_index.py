"""The places of features and actions in a battle, for controllers that were not trained."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class FeatureIndex:
    """The places of an enemy's features in an observation, and the numbers of actions."""

    health: int
    """The entry of an enemy's features that is its health; 0 if it is dead or out of sight."""
    position: tuple[int, int]
    """The entries that are its position relative to the agent, x and y."""
    moves: tuple[tuple[int, tuple[int, int]], ...]
    """The actions that move, each with its direction."""
    first_attack: int
    """The action that attacks the first enemy; those for the other enemies follow."""
    forward: int
    """The action that moves towards the enemies' side when none is in sight."""


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
"""The places in `StarCraft2Env` with `obs_all_health`, its default."""
