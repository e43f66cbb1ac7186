"""Networks and losses of somebody's own, for tests to name."""

from __future__ import annotations

import torch as th
from torch import nn

from cesma_sb3.imitation.losses import ColumnwiseLoss


class Residual(nn.Module):
    """A linear map, and a hidden layer beside it."""

    def __init__(self, n_inputs: int, n_outputs: int, width: int = 16) -> None:
        super().__init__()
        self.straight = nn.Linear(n_inputs, n_outputs)
        self.around = nn.Sequential(nn.Linear(n_inputs, width), nn.Tanh(), nn.Linear(width, n_outputs))

    def forward(self, x: th.Tensor) -> th.Tensor:
        return self.straight(x) + self.around(x)


class Wider(nn.Module):
    """Gives one output too many."""

    def __init__(self, n_inputs: int, n_outputs: int) -> None:
        super().__init__()
        self.map = nn.Linear(n_inputs, n_outputs + 1)

    def forward(self, x: th.Tensor) -> th.Tensor:
        return self.map(x)


class Breaks(ColumnwiseLoss):
    """Looks up what is not there, at its second call."""

    def __init__(self, team, head) -> None:
        super().__init__(team, head)
        self.results = []

    def __call__(self, outputs, batch):
        self.results.append(super().__call__(outputs, batch))
        return {1: self.results[0]}[len(self.results)]


class Scaled(ColumnwiseLoss):
    """The usual loss, times `by`."""

    calls = 0

    def __init__(self, team, head, by: float = 1.0) -> None:
        super().__init__(team, head)
        self.by = by

    def __call__(self, outputs, batch):
        type(self).calls += 1
        return self.by * super().__call__(outputs, batch)
