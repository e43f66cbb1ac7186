"""Imitation losses of the agents, and weights of rare labels.

Shape suffixes: B batch, C categorical columns, D continuous columns, K categories (padded to the largest), N
agents.
"""

from __future__ import annotations

from typing import Literal, Protocol, get_args

import numpy as np
import numpy.typing as npt
import torch as th
from torch.nn import functional as F

from cesma_sb3.errors import check_choice
from cesma_sb3.imitation.dataset import Batch, Samples
from cesma_sb3.policies.distributions import ActionHead
from cesma_sb3.spaces.communication import message_columns
from cesma_sb3.spaces.team_spaces import TeamSpaces
from cesma_sb3.utils.stateful import Stateful

LossName = Literal["auto", "cross-entropy", "mse"]
ClassWeighting = Literal["none", "inverse-frequency"]


class ImitationLoss(Protocol):
    """A loss for each agent.

    Call: network outputs [B, O], batch -> [n_agents] float32, the mean over samples with the agent alive.
    """

    def __call__(self, outputs: th.Tensor, batch: Batch) -> th.Tensor:
        """The loss of each agent."""


class ColumnwiseLoss(Stateful):
    """Cross-entropy on categorical columns, squared error on continuous ones, summed over an agent's columns.

    Columns that the team's layouts declare to be messages have no loss: the expert sends none, and senders
    learn from the losses of the receivers (`Communication`).

    Args:
        team: The team's spaces.
        head: Reads the networks' outputs.
        kind: `auto` as above. `mse` takes the squared error everywhere: of a categorical column, between the
            student's probabilities and the label's (the Brier score). `cross-entropy` is refused where a team
            has continuous columns.
        class_weights: `inverse-frequency`: of a categorical column, a sample weighs more if its
            label is rare among those given to `observe` (`LabelCounts`). `none`: all weigh the same.

    Raises:
        ValueError: `cross-entropy` on continuous columns.
        UnknownNameError: There is no such loss, or no such weights.

    Source: section 6.5 and E.2 (cross-entropy), A.2 (mean-squared error), E.4 (weights), section 4.4 and
    Algorithm 2 (the loss is of the physical action alone).
    """

    state_attributes = ("counts",)

    def __init__(
        self,
        team: TeamSpaces,
        head: ActionHead,
        kind: LossName = "auto",
        *,
        class_weights: ClassWeighting = "none",
    ) -> None:
        check_choice("loss", kind, get_args(LossName))
        check_choice("class weighting", class_weights, get_args(ClassWeighting))
        if kind == "cross-entropy" and head.n_continuous:
            raise ValueError("loss 'cross-entropy': the team has continuous actions; use 'mse' or 'auto'")
        self.head = head
        self.kind = kind
        self.counts = LabelCounts(team) if class_weights == "inverse-frequency" else None
        sizes = [columns.stop - columns.start for columns in team.action_columns]
        owner = np.repeat(np.eye(team.n_agents, dtype=np.float32), sizes, axis=0)
        owner[message_columns(team)] = 0.0
        is_categorical = np.array(team.column_categories) > 0
        # Which agent each column's loss goes to: [C or D, n_agents].
        self._categorical_owner = th.from_numpy(owner[is_categorical])
        self._continuous_owner = th.from_numpy(owner[~is_categorical])

    def observe(self, samples: Samples) -> None:
        """Count the labels of samples that are added to the dataset, if rare ones weigh more."""
        if self.counts is not None:
            self.counts.add(samples)

    def __call__(self, outputs: th.Tensor, batch: Batch) -> th.Tensor:
        """The loss of each agent, [n_agents] float32: the mean over samples with the agent alive.

        Args:
            outputs: Network outputs, [B, O].
            batch: What they are outputs for.
        """
        alive_BN = batch.alive.to(outputs.dtype)
        return (self.each(outputs, batch) * alive_BN).sum(dim=0) / alive_BN.sum(dim=0).clamp(min=1.0)

    def each(self, outputs: th.Tensor, batch: Batch) -> th.Tensor:
        """The loss of each sample and agent, [B, n_agents] float32, dead ones included."""
        categories_BC, values_BD = self.head.unpack(batch.labels)
        per_agent_BN = outputs.new_zeros(batch.alive.shape)
        if self.head.n_categorical:
            losses_BC = self._categorical(outputs, batch, categories_BC)
            if self.counts is not None:
                losses_BC = losses_BC * self.counts.of(categories_BC)
            per_agent_BN = per_agent_BN + losses_BC @ self._categorical_owner.to(outputs.device)
        if self.head.n_continuous:
            losses_BD = (self.head.means(outputs) - values_BD).square()
            per_agent_BN = per_agent_BN + losses_BD @ self._continuous_owner.to(outputs.device)
        return per_agent_BN

    def _categorical(self, outputs: th.Tensor, batch: Batch, categories_BC: th.Tensor) -> th.Tensor:
        logits_BCK = self.head.logits(outputs, batch.masks)
        log_probs_BCK = F.log_softmax(logits_BCK, dim=-1)
        soft = batch.probabilities
        if self.kind != "mse" and soft is None:
            return -log_probs_BCK.gather(2, categories_BC.unsqueeze(2)).squeeze(2)
        if soft is None:
            target_BCK = F.one_hot(categories_BC, self.head.n_categories).to(outputs.dtype)
        else:
            target_BCK = self.head.probabilities_block(soft)
        if self.kind == "mse":
            return (log_probs_BCK.exp() - target_BCK).square().sum(dim=2)
        return -(target_BCK * log_probs_BCK).sum(dim=2)


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
        """Count the labels of the agents that are alive."""
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
