"""Mixers: from the values of the action columns to the value that is regressed on the team's return.

| name | value | known as |
|---|---|---|
| `sum` | the sum of all columns' values | sum of Q-values; VDN if each agent sees its own observation |
| `none` | one value for each agent, each with its own target | independent Q-learning (IQL) |
| `monotonic` | increasing in every column's value, otherwise free | QMIX |

With each of them, the best category of each column by itself is the best joint action of the mixed value.

Shape suffixes: B batch, I entries of the joint observation, C action columns, N agents, E units of the mixer.

Source: section 4.2; Sunehag et al. (2017) for VDN, Tan (1993) for IQL, Rashid et al. (2018) for QMIX.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import torch as th
from torch import nn
from torch.nn import functional as F

from cesma_sb3.errors import UnknownNameError
from cesma_sb3.spaces.team_spaces import TeamSpaces

MixerKind = Literal["sum", "none", "monotonic"]


class SumMixer(nn.Module):
    """The team's value is the sum of the columns' values.

    Call: values of the chosen categories [B, C], joint observations [B, I] -> [B, 1].
    """

    def forward(self, values_BC: th.Tensor, observations_BI: th.Tensor) -> th.Tensor:
        """The sum of the columns' values, [B, 1]."""
        return values_BC.sum(dim=1, keepdim=True)


class IndependentMixer(nn.Module):
    """Every agent has a value of its own: the sum over its columns, of which most agents have one.

    Args:
        columns_per_agent: Action columns of each agent, in the order of the team.

    Call: values of the chosen categories [B, C], joint observations [B, I] -> [B, N].
    """

    def __init__(self, columns_per_agent: Sequence[int]) -> None:
        super().__init__()
        owners = [agent for agent, n in enumerate(columns_per_agent) for _ in range(n)]
        owner_CN = F.one_hot(th.tensor(owners, dtype=th.long), len(columns_per_agent)).float()
        self.register_buffer("_owner_CN", owner_CN, persistent=False)

    _owner_CN: th.Tensor

    def forward(self, values_BC: th.Tensor, observations_BI: th.Tensor) -> th.Tensor:
        """The sum of each agent's values, [B, N]."""
        values_BN: th.Tensor = values_BC @ self._owner_CN
        return values_BN


class MonotonicMixer(nn.Module):
    """A network of the columns' values whose weights are never negative and come from the joint observation.

    Its biases are free of sign, so that the team's value may depend on the joint observation in any way, but
    it never falls when the value of one column rises.

    Args:
        n_values: C.
        observation_size: I.
        width: E, units of the one hidden layer (32 in QMIX's own experiments).
        hyper_hidden: Hidden units of the networks that give the weights.

    Call: values of the chosen categories [B, C], joint observations [B, I] -> [B, 1].

    Source: Rashid et al. (2018), section 4 and Figure 2.
    """

    def __init__(
        self, n_values: int, observation_size: int, *, width: int = 32, hyper_hidden: int = 64
    ) -> None:
        super().__init__()
        self.n_values, self.width = n_values, width
        self.first_weights = _hyper(observation_size, hyper_hidden, n_values * width)
        self.first_bias = nn.Linear(observation_size, width)
        self.last_weights = _hyper(observation_size, hyper_hidden, width)
        self.last_bias = _hyper(observation_size, width, 1)

    def forward(self, values_BC: th.Tensor, observations_BI: th.Tensor) -> th.Tensor:
        """The mixed value, [B, 1]."""
        weights_BCE = self.first_weights(observations_BI).abs().view(-1, self.n_values, self.width)
        mixed_BE = th.einsum("bc,bce->be", values_BC, weights_BCE) + self.first_bias(observations_BI)
        weights_BE = self.last_weights(observations_BI).abs()
        last_B1: th.Tensor = (F.elu(mixed_BE) * weights_BE).sum(dim=1, keepdim=True)
        bias_B1: th.Tensor = self.last_bias(observations_BI)
        return last_B1 + bias_B1


def make_mixer(kind: MixerKind, team: TeamSpaces, *, width: int = 32, hyper_hidden: int = 64) -> nn.Module:
    """The mixer of that name for a team.

    Args:
        kind: `sum`, `none` or `monotonic`; the table at the top of the module says what each is.
        team: A team whose action columns are categorical.
        width: Units of the hidden layer of `monotonic`.
        hyper_hidden: Hidden units of the networks that give the weights of `monotonic`.

    Raises:
        UnknownNameError: There is no such mixer.
    """
    if kind == "sum":
        return SumMixer()
    if kind == "none":
        return IndependentMixer([where.stop - where.start for where in team.action_columns])
    if kind == "monotonic":
        return MonotonicMixer(team.n_columns, team.observation_size, width=width, hyper_hidden=hyper_hidden)
    raise UnknownNameError.of("mixer", kind, get_args(MixerKind))


def _hyper(n_in: int, hidden: int, n_out: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(n_in, hidden), nn.ReLU(), nn.Linear(hidden, n_out))
