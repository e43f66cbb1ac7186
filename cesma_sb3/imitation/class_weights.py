"""How much a label weighs by how rare it is.

Shape suffixes: B batch, C categorical columns, K categories (padded to the largest).
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
import torch as th

from cesma_sb3.imitation.dataset import Samples
from cesma_sb3.spaces.team_spaces import TeamSpaces
from cesma_sb3.utils.stateful import Stateful

ClassWeighting = Literal["none", "inverse-frequency"]


class LabelCounts(Stateful):
    """Running counts of the expert's labels, and weights from them.

    The weight of category k of a column is N / (K n_k), where n_k of the N labels so far were k, and K
    categories have been seen: each of them then weighs the same in sum, and the labels weigh 1 on average. A
    category is never taken to be rarer than 1 / (K `max_weight`), and what this leaves is brought back to a
    mean of 1. A category that was never seen weighs as much as the rarest one may.

    Args:
        team: The team's spaces.
        max_weight: Most that one label weighs before the mean is brought back to 1, in [1, inf).

    Source: E.4: for the one-at-a-time expert, whose label is mostly "do nothing", some actions got more
    weight; which weights is not said.
    """

    state_attributes = ("counts",)

    def __init__(self, team: TeamSpaces, *, max_weight: float = 20.0) -> None:
        if max_weight < 1:
            raise ValueError(f"max_weight={max_weight}: expected at least 1")
        self.max_weight = max_weight
        categories = np.array(team.column_categories)
        sizes = [columns.stop - columns.start for columns in team.action_columns]
        self._columns = np.flatnonzero(categories > 0)
        self._owners = np.repeat(np.arange(team.n_agents), sizes)[self._columns]
        self._n_categories = int(categories.max(initial=0))
        self.counts: npt.NDArray[np.int64] = np.zeros(
            (len(self._columns), self._n_categories), dtype=np.int64
        )
        self._weights: th.Tensor | None = None

    def add(self, samples: Samples) -> None:
        """Counts the labels of the agents that are alive."""
        for row, (column, owner) in enumerate(zip(self._columns, self._owners, strict=True)):
            labels = samples.labels[samples.alive[:, owner], column].astype(np.int64)
            self.counts[row] += np.bincount(labels, minlength=self._n_categories)
        self._weights = None

    def weights(self) -> npt.NDArray[np.float32]:
        """The weight of each category, [C, K]; all 1 where nothing was counted."""
        total = self.counts.sum(axis=1, keepdims=True)
        n_seen = np.maximum((self.counts > 0).sum(axis=1, keepdims=True), 1)
        rarest = np.maximum(total / (n_seen * self.max_weight), 1e-9)
        weights = total / (n_seen * np.maximum(self.counts, rarest))
        mean = (weights * self.counts).sum(axis=1, keepdims=True) / np.maximum(total, 1)
        normalised = np.where(total > 0, weights / np.where(mean > 0, mean, 1.0), 1.0)
        return normalised.astype(np.float32)

    def of(self, categories_BC: th.Tensor) -> th.Tensor:
        """The weight of each label: [B, C] int64 -> [B, C] float32."""
        if self._weights is None:
            self._weights = th.from_numpy(self.weights())
        weights_CK = self._weights.to(categories_BC.device)
        return weights_CK.gather(1, categories_BC.T).T
