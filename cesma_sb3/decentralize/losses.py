"""What imitating the expert costs each agent."""

from __future__ import annotations

from typing import Literal, Protocol

import torch as th
from torch.nn import functional as F

from cesma_sb3.decentralize.dataset import Batch
from cesma_sb3.joint.spaces import TeamSpaces
from cesma_sb3.networks.head import ActionHead

LossName = Literal["auto", "cross-entropy", "mse"]


class ImitationLoss(Protocol):
    """A loss for each agent.

    Call: network outputs [B, O], batch -> [n_agents] float32, the mean over samples with the agent alive.
    """

    def __call__(self, outputs: th.Tensor, batch: Batch) -> th.Tensor:
        """The loss of each agent."""


class ColumnwiseLoss:
    """Cross-entropy on categorical columns, squared error on continuous ones, summed over an agent's columns.

    Args:
        team: The team's spaces.
        head: Reads the networks' outputs.
        kind: `auto` as above. `mse` takes the squared error everywhere: of a categorical column, between the
            student's probabilities and the label's (the Brier score). `cross-entropy` is refused where a team
            has continuous columns.

    Raises:
        ValueError: `cross-entropy` on continuous columns.

    Source: section 6.5 and E.2 (cross-entropy), A.2 (mean-squared error).
    """

    def __init__(self, team: TeamSpaces, head: ActionHead, kind: LossName = "auto") -> None:
        if kind == "cross-entropy" and head.n_continuous:
            raise ValueError("loss 'cross-entropy': the team has continuous actions; use 'mse' or 'auto'")
        self.head = head
        self.kind = kind
        owner = [
            agent
            for agent, columns in enumerate(team.action_columns)
            for _ in range(columns.start, columns.stop)
        ]
        categorical = [agent for agent, k in zip(owner, team.column_categories, strict=True) if k > 0]
        continuous = [agent for agent, k in zip(owner, team.column_categories, strict=True) if k == 0]
        # Which agent each column's loss goes to: [C or D, n_agents].
        self._categorical_owner = F.one_hot(th.tensor(categorical, dtype=th.long), team.n_agents).float()
        self._continuous_owner = F.one_hot(th.tensor(continuous, dtype=th.long), team.n_agents).float()

    def __call__(self, outputs: th.Tensor, batch: Batch) -> th.Tensor:
        """See `ImitationLoss`."""
        categories_BC, values_BD = self.head.unpack(batch.labels)
        per_agent_BN = outputs.new_zeros(batch.alive.shape)
        if self.head.n_categorical:
            losses_BC = self._categorical(outputs, batch, categories_BC)
            per_agent_BN = per_agent_BN + losses_BC @ self._categorical_owner.to(outputs.device)
        if self.head.n_continuous:
            losses_BD = (self.head.means(outputs) - values_BD).square()
            per_agent_BN = per_agent_BN + losses_BD @ self._continuous_owner.to(outputs.device)
        alive_BN = batch.alive.to(outputs.dtype)
        return (per_agent_BN * alive_BN).sum(dim=0) / alive_BN.sum(dim=0).clamp(min=1.0)

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
