"""Distributions over joint actions, from logits of categorical columns and means of continuous ones.

Shape suffixes: B batch, O outputs of the networks, C categorical columns, K categories (padded to the
largest), D continuous columns, A columns of the packed joint action, M columns of the mask.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch as th
from stable_baselines3.common.distributions import Distribution
from torch import nn
from torch.nn import functional as F

# exp() of it is exactly zero, and zero times it is zero too, which -inf would turn into NaN.
UNAVAILABLE = -1e9


class ActionHead(nn.Module):
    """Network outputs as the columns of a packed joint action (`TeamSpaces.column_categories`).

    Args:
        column_categories: Categories of each column, 0 for a continuous one.
    """

    def __init__(self, column_categories: Sequence[int]) -> None:
        super().__init__()
        self.column_categories = tuple(int(k) for k in column_categories)
        self.n_columns = len(self.column_categories)
        categorical = [column for column, k in enumerate(self.column_categories) if k > 0]
        continuous = [column for column, k in enumerate(self.column_categories) if k == 0]
        self.n_categorical, self.n_continuous = len(categorical), len(continuous)
        widest = max((k for k in self.column_categories if k > 0), default=0)
        self.n_categories = widest

        outputs: list[list[int]] = []
        masks: list[list[int]] = []
        means: list[int] = []
        next_output = next_mask = 0
        for k in self.column_categories:
            if k == 0:
                means.append(next_output)
                next_output += 1
                continue
            # The place behind the last one is the padding that `block` appends.
            outputs.append([*range(next_output, next_output + k), *[-1] * (widest - k)])
            masks.append([*range(next_mask, next_mask + k), *[-1] * (widest - k)])
            next_output, next_mask = next_output + k, next_mask + k
        self.output_size, self.mask_size = next_output, next_mask
        # No padding, nothing continuous: outputs and masks are blocks as they stand.
        self._is_plain = next_output == next_mask == widest * self.n_categorical
        self.register_buffer("_outputs_CK", th.tensor(outputs, dtype=th.long), persistent=False)
        self.register_buffer("_masks_CK", th.tensor(masks, dtype=th.long), persistent=False)
        self.register_buffer("_means_D", th.tensor(means, dtype=th.long), persistent=False)
        self.register_buffer("_order", th.tensor(categorical + continuous).argsort(), persistent=False)

    _outputs_CK: th.Tensor
    _masks_CK: th.Tensor
    _means_D: th.Tensor
    _order: th.Tensor

    def logits(self, outputs_BO: th.Tensor, masks_BM: th.Tensor | None = None) -> th.Tensor:
        """Logits [B, C, K] float32; padding and unavailable actions (mask False) are `UNAVAILABLE`."""
        if self._is_plain:
            logits = outputs_BO.view(len(outputs_BO), self.n_categorical, self.n_categories)
        else:
            logits = F.pad(outputs_BO, (0, 1), value=UNAVAILABLE)[:, self._outputs_CK]
        return logits if masks_BM is None else self.masked(logits, masks_BM)

    def masked(self, logits_BCK: th.Tensor, masks_BM: th.Tensor) -> th.Tensor:
        """Logits [B, C, K], of which those of unavailable actions (mask False) are `UNAVAILABLE`."""
        return logits_BCK.masked_fill(~self._mask_block(masks_BM), UNAVAILABLE)

    def means(self, outputs_BO: th.Tensor) -> th.Tensor:
        """Values [B, D] float32 of the continuous columns."""
        return outputs_BO[:, self._means_D]

    def probabilities_block(self, probabilities_BM: th.Tensor) -> th.Tensor:
        """Flat probabilities [B, M] of all categorical columns as a padded block [B, C, K]."""
        if self._is_plain:
            return probabilities_BM.view(len(probabilities_BM), self.n_categorical, self.n_categories)
        return F.pad(probabilities_BM, (0, 1))[:, self._masks_CK]

    def flatten(self, block_BCK: th.Tensor) -> th.Tensor:
        """The inverse of `probabilities_block`: [B, C, K] -> [B, M]."""
        flat = block_BCK.reshape(len(block_BCK), -1)
        return flat if self._is_plain else flat[:, (self._masks_CK >= 0).flatten()]

    def pack(self, categories_BC: th.Tensor, values_BD: th.Tensor) -> th.Tensor:
        """A packed joint action [B, A]: int64 if every column is categorical, else float32."""
        if self.n_continuous == 0:
            return categories_BC
        return self.by_column(categories_BC.to(values_BD.dtype), values_BD)

    def by_column(self, categorical_BC: th.Tensor, continuous_BD: th.Tensor) -> th.Tensor:
        """Numbers of the categorical and of the continuous columns, in the packed action's order: [B, A]."""
        return th.cat([categorical_BC, continuous_BD], dim=1)[:, self._order]

    def unpack(self, actions_BA: th.Tensor) -> tuple[th.Tensor, th.Tensor]:
        """Categories [B, C] int64 and values [B, D] float32 of a packed joint action [B, A]."""
        by_kind = actions_BA.reshape(len(actions_BA), self.n_columns)[:, self._order.argsort()]
        return by_kind[:, : self.n_categorical].round().long(), by_kind[:, self.n_categorical :].float()

    def _mask_block(self, masks_BM: th.Tensor) -> th.Tensor:
        if self._is_plain:
            return masks_BM.view(len(masks_BM), self.n_categorical, self.n_categories)
        return F.pad(masks_BM, (0, 1), value=False)[:, self._masks_CK]


class TeamDistribution(Distribution):
    """The joint action distribution of a team whose columns are independent given the observation.

    It replaces SB3's `MultiCategoricalDistribution` and `DiagGaussianDistribution` (equal to them where they
    apply; tests compare), adds teams that mix both, and evaluates every column in one operation.
    """

    def __init__(self, head: ActionHead) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # SB3's has no annotations
        self.head = head

    def proba_distribution_net(self, *args: object, **kwargs: object) -> nn.Module:
        """Part of SB3's interface, and refused."""
        raise NotImplementedError("TeamPolicy builds the networks of a team")

    def proba_distribution(
        self, outputs_BO: th.Tensor, log_std_D: th.Tensor, masks_BM: th.Tensor | None = None
    ) -> TeamDistribution:
        """Set network outputs [B, O], log standard deviations [D] and masks [B, M] bool or None."""
        if self.head.n_categorical:
            self._log_probs_BCK = F.log_softmax(self.head.logits(outputs_BO, masks_BM), dim=-1)
        else:
            self._log_probs_BCK = outputs_BO.new_zeros(len(outputs_BO), 0, 1)
        self._normal = th.distributions.Normal(
            self.head.means(outputs_BO), log_std_D.exp(), validate_args=False
        )
        return self

    def log_prob(self, actions: th.Tensor) -> th.Tensor:
        """Log probability [B] of packed joint actions [B, A]."""
        categories_BC, values_BD = self.head.unpack(actions)
        chosen = self._log_probs_BCK.gather(2, categories_BC.unsqueeze(2)).squeeze(2)
        log_probs: th.Tensor = chosen.sum(dim=1) + self._normal.log_prob(values_BD).sum(dim=1)
        return log_probs

    def entropy(self) -> th.Tensor:
        """Entropy [B], the sum over columns."""
        continuous: th.Tensor = self._normal.entropy().sum(dim=1)
        return continuous - (self._log_probs_BCK.exp() * self._log_probs_BCK).sum(dim=(1, 2))

    def column_log_probs(self, actions: th.Tensor) -> th.Tensor:
        """Log probability of each column [B, A] of packed joint actions [B, A]; `log_prob` is their sum."""
        categories_BC, values_BD = self.head.unpack(actions)
        chosen = self._log_probs_BCK.gather(2, categories_BC.unsqueeze(2)).squeeze(2)
        return self.head.by_column(chosen, self._normal.log_prob(values_BD))

    def column_entropies(self) -> th.Tensor:
        """Entropy of each column [B, A]; `entropy` is their sum."""
        categorical = -(self._log_probs_BCK.exp() * self._log_probs_BCK).sum(dim=2)
        return self.head.by_column(categorical, self._normal.entropy())

    def sample(self) -> th.Tensor:
        """A packed joint action [B, A]."""
        if self.head.n_categorical:
            probabilities = self._log_probs_BCK.exp().flatten(0, 1)
            categories = th.multinomial(probabilities, 1).view(self._log_probs_BCK.shape[:2])
        else:
            categories = self._log_probs_BCK.argmax(dim=2)
        return self.head.pack(categories, self._normal.rsample())

    def mode(self) -> th.Tensor:
        """The likeliest packed joint action [B, A]."""
        return self.head.pack(self._log_probs_BCK.argmax(dim=2), self._normal.mean)

    def probabilities(self, temperature: float = 1.0) -> th.Tensor:
        """Probabilities [B, M] of the categories of each column, logits divided by `temperature`."""
        return self.head.flatten(F.softmax(self._log_probs_BCK / temperature, dim=-1))

    def actions_from_params(
        self, outputs_BO: th.Tensor, log_std_D: th.Tensor, deterministic: bool = False
    ) -> th.Tensor:
        """Set the parameters and return packed joint actions [B, A]."""
        return self.proba_distribution(outputs_BO, log_std_D).get_actions(deterministic=deterministic)

    def log_prob_from_params(
        self, outputs_BO: th.Tensor, log_std_D: th.Tensor
    ) -> tuple[th.Tensor, th.Tensor]:
        """Set the parameters and return a sample [B, A] with its log probabilities [B]."""
        actions = self.actions_from_params(outputs_BO, log_std_D)
        return actions, self.log_prob(actions)
