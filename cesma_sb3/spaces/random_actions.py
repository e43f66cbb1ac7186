"""Uniform draws among the available actions of a team."""

from __future__ import annotations

from typing import Any

import numpy as np

from cesma_sb3.spaces.team_spaces import TeamSpaces
from cesma_sb3.spaces.types import Masks, Packed


def random_actions(team: TeamSpaces, n: int, masks: Masks | None, rng: np.random.Generator) -> Packed:
    """Draw packed joint actions, each column by itself: uniformly among what is available.

    Args:
        team: The team.
        n: How many joint actions.
        masks: Available categories [n, mask_size] bool; None: all.
        rng: The generator of the draws.

    Returns:
        [n, n_columns] of `team.action_dtype`.
    """
    low = np.asarray(getattr(team.action_space, "low", 0), dtype=np.float64)
    high = np.asarray(getattr(team.action_space, "high", 0), dtype=np.float64)
    packed: Any = np.zeros((n, team.n_columns), dtype=team.action_dtype)
    for column, (k, flags) in enumerate(zip(team.column_categories, team.column_masks, strict=True)):
        if k == 0:
            packed[:, column] = rng.uniform(low[column], high[column], size=n)
            continue
        keys = rng.random((n, k))  # the largest key among the available ones: a uniform draw
        if masks is not None:
            keys = np.where(masks[:, flags], keys, -1.0)
        packed[:, column] = keys.argmax(axis=1)
    actions: Packed = packed
    return actions
