"""The same agents in two orders: the way from a team's joint arrays to those of the other order, and back.

Shapes: B batch, I entries of a joint observation, C action columns, M mask flags.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from cesma_sb3.spaces.team_spaces import Masks, TeamSpaces

Index = npt.NDArray[np.int64]


class Reordered:
    """A team as somebody sees it who was made for its agents in another order.

    Args:
        full: The team as it is.
        team: The same agents in the other order.

    Raises:
        SpaceError: These are other agents.
        LayoutError: The order of the others is part of what somebody observes.
    """

    def __init__(self, full: TeamSpaces, team: TeamSpaces) -> None:
        full.in_order(team.agents, who="the environment")
        self.full, self.team = full, team
        places = [full.agents.index(agent) for agent in team.agents]
        self._entries = _joined(full.observation_slices, places)
        self._flags = _joined(full.mask_slices, places)
        self._columns = np.argsort(_joined(full.action_columns, places))
        self._flags_back = np.argsort(self._flags)

    def observations(self, joint: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Joint observations [B, I] in the other order [B, I]."""
        return joint[:, self._entries]

    def masks(self, joint: Masks) -> Masks:
        """Joint masks [B, M] in the other order [B, M]."""
        flags: Masks = joint[:, self._flags]
        return flags

    def actions(self, packed: npt.NDArray[Any], masks: Masks | None = None) -> npt.NDArray[Any]:
        """Packed actions [B, C] of the other order in the team's own [B, C], whatever masks."""
        del masks
        return packed[:, self._columns]

    def probabilities(self, flat: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Probabilities of categories [B, M] of the other order in the team's own [B, M]."""
        return flat[:, self._flags_back]


def _joined(slices: Sequence[slice], places: Sequence[int]) -> Index:
    """What stands in the slices, in the order of `places`."""
    ranges = [np.arange(slices[place].start, slices[place].stop) for place in places]
    return np.concatenate([np.zeros(0, dtype=np.int64), *ranges]).astype(np.int64)
