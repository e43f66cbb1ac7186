"""`MemoryActor`: acts step after step and keeps the state of SB3's `predict` in between."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from cesma_sb3.utils.stateful import Stateful

State = tuple[npt.NDArray[Any], ...]
Predict = Callable[
    [npt.NDArray[np.float32], State | None, npt.NDArray[np.bool_], npt.NDArray[np.bool_] | None],
    tuple[npt.NDArray[Any], State | None],
]
"""Observations [B, I], state, where episodes begin [B], masks [B, M] or None: actions, and the next state."""


class MemoryActor(Stateful):
    """An actor that keeps the state of `predict` between steps, and is reset where episodes begin.

    Args:
        predict: The `predict` of a policy, whose weights may change between calls.
    """

    state_attributes: ClassVar[tuple[str, ...]] = ("state", "_starts")

    def __init__(self, predict: Predict) -> None:
        self._predict = predict
        self._starts: npt.NDArray[np.bool_] | None = None
        self.state: State | None = None
        """The state that `predict` returned last; None before the first step."""

    def reset(self, episode_starts: npt.NDArray[np.bool_] | None) -> None:
        """Forget the episodes that have ended.

        Args:
            episode_starts: In which environments the next observation is an episode's first, [B] bool; None:
                in all of them.
        """
        if episode_starts is None:
            self.state = None
        self._starts = episode_starts

    def __call__(
        self, observations: npt.NDArray[np.float32], masks: npt.NDArray[np.bool_] | None = None
    ) -> npt.NDArray[Any]:
        """Joint observations [B, I] and masks [B, M] to packed joint actions [B, A]."""
        begins = self.state is None
        starts = np.full(len(observations), begins) if begins or self._starts is None else self._starts
        self._starts = None
        actions, self.state = self._predict(observations, self.state, starts, masks)
        return actions
