"""One network for each agent of a team, which sees its own observation and what all of them have in common.

Shape suffixes: B batch, I inputs (of the whole net), N agents, F entries that an agent observes (padded to
the most), H hidden units, O outputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch as th
from torch import nn
from torch.nn import functional as F

from cesma_sb3.policies.networks.amax import amax
from cesma_sb3.policies.networks.feed_forward import (
    check_components,
    is_in_order,
    padded_columns,
    real_outputs,
)


class PooledNet(nn.Module):
    """A network of `joint` visibility that grows with what one agent observes, not with the team.

    Every agent's observation, and its one-hot number, goes through the same first layer. The maximum over the
    agents of what comes out says what the team knows; layers that are shared too read it beside the agent's
    own. So what is learned of one agent is learned for all.

    Args:
        visible: For each agent, the indices of the input that are its observation.
        output_sizes: Outputs of each agent.
        hidden_sizes: H of the first layer, then the hidden layers on it (at least one).
        activation: Module class between the layers.

    Call: x [B, I] float32 -> [B, sum(output_sizes)] float32, agent by agent.

    Source: deep sets (Zaheer et al., 2017).
    """

    def __init__(
        self,
        visible: Sequence[Sequence[int]],
        output_sizes: Sequence[int],
        *,
        hidden_sizes: Sequence[int] = (128, 128),
        activation: type[nn.Module] = nn.ReLU,
    ) -> None:
        super().__init__()
        check_components(visible, output_sizes)
        self.n_agents, self.n_seen = len(visible), max(len(columns) for columns in visible)
        self.output_sizes = tuple(output_sizes)
        self.activation = activation()
        width, *head = hidden_sizes
        self.encode = nn.Linear(self.n_seen + self.n_agents, width)
        layers: list[nn.Module] = []
        sizes = [2 * width, *head]
        for before, after in pairwise(sizes):
            layers += [nn.Linear(before, after), activation()]
        self.head = nn.Sequential(*layers, nn.Linear(sizes[-1], max(output_sizes)))
        self._is_in_order = is_in_order(visible)
        self.register_buffer("_gather", padded_columns(visible), persistent=False)
        self.register_buffer("_real_outputs", real_outputs(output_sizes), persistent=False)

    _gather: th.Tensor
    _real_outputs: th.Tensor

    def forward(self, x_BI: th.Tensor) -> th.Tensor:
        """Outputs of every agent, [B, sum(output_sizes)] float32."""
        if self._is_in_order and x_BI.shape[1] == self._gather.numel():  # no copy
            seen_BNF = x_BI.view(len(x_BI), self.n_agents, -1)
        else:
            seen_BNF = F.pad(x_BI, (0, 1))[:, self._gather]
        encoded_BNH = F.linear(seen_BNF, self.encode.weight[:, : self.n_seen], self.encode.bias)
        encoded_BNH = self.activation(encoded_BNH + self.encode.weight[:, self.n_seen :].T)
        team_B1H = amax(encoded_BNH, dim=1)
        outputs: th.Tensor = self.head(th.cat([encoded_BNH, team_B1H.expand_as(encoded_BNH)], dim=2))
        return outputs.flatten(1)[:, self._real_outputs]
