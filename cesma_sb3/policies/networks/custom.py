"""Networks of a user's own class, one for each agent."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch as th
from torch import nn

from cesma_sb3.errors import SpaceError
from cesma_sb3.policies.networks.columns import Columns
from cesma_sb3.policies.networks.eval_mode import eval_mode
from cesma_sb3.policies.networks.feed_forward import places_among

MakeModule = Callable[..., nn.Module]
"""Called with the numbers of an agent's inputs and outputs: a module [B, inputs] -> [B, outputs]."""


class SeparateNet(nn.Module):
    """One module for each agent, each on its own columns of one flat input.

    Args:
        visible: For each agent, the indices of the input that it sees.
        output_sizes: For each agent, how many outputs it gives. The outputs stand one after the other.
        make: Makes an agent's module: `make(n_inputs, n_outputs, **kwargs)`.
        kwargs: Further arguments of it.

    Call: x [B, I] float32 -> [B, sum(output_sizes)].

    Raises:
        SpaceError: A module gives another number of outputs.
    """

    def __init__(
        self,
        visible: Sequence[Sequence[int]],
        output_sizes: Sequence[int],
        make: MakeModule,
        kwargs: Mapping[str, Any],
    ) -> None:
        super().__init__()
        self.agents = nn.ModuleList(
            [make(len(own), size, **kwargs) for own, size in zip(visible, output_sizes, strict=True)]
        )
        for index, (own, size, agent) in enumerate(zip(visible, output_sizes, self.agents, strict=True)):
            self.register_buffer(f"_own_{index}", th.tensor(own, dtype=th.long), persistent=False)
            with th.no_grad(), eval_mode(agent):  # the trial must not change running statistics
                shape = tuple(agent(th.zeros(2, len(own))).shape)
            if shape != (2, size):
                raise SpaceError(
                    f"{type(agent).__name__}: outputs {shape} for 2 observations of agent {index}, expected "
                    f"(2, {size})"
                )

    def forward(self, x_BI: th.Tensor) -> th.Tensor:
        """Outputs of all agents, one after the other: [B, I] -> [B, sum(output_sizes)]."""
        return th.cat([agent(x_BI[:, self._own(i)]) for i, agent in enumerate(self.agents)], dim=1)

    def _own(self, index: int) -> th.Tensor:
        own: th.Tensor = getattr(self, f"_own_{index}")
        return own

    def component(self, index: int, inputs: Sequence[int] | None = None) -> nn.Module:
        """One agent's module alone.

        Args:
            index: Which.
            inputs: The columns of the whole input that it gets, at least those that it sees; None: these.
        """
        seen = self._own(index).tolist()
        if inputs is None or seen == list(inputs):
            return self.agents[index]
        return nn.Sequential(Columns(th.tensor(places_among(seen, inputs))), self.agents[index])
