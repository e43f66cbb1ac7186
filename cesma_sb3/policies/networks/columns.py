"""Columns of one flat input, as a module without weights."""

from __future__ import annotations

import torch as th
from torch import nn
from torch.nn import functional as F


class Columns(nn.Module):
    """Columns of the input, which go to the device of the network that reads them.

    Args:
        index: The columns [...] int64; -1 is an entry that is always 0.

    Call: [B, I] -> [B, ...].
    """

    def __init__(self, index: th.Tensor) -> None:
        super().__init__()
        self.has_padding = bool((index < 0).any())
        self.register_buffer("index", index, persistent=False)

    index: th.Tensor

    def forward(self, x_BI: th.Tensor) -> th.Tensor:
        """The columns of an input [B, I]: [B, ...]."""
        padded = F.pad(x_BI, (0, 1)) if self.has_padding else x_BI
        return padded[:, self.index]

    def shifted(self, start: int) -> Columns:
        """The same columns of an input that begins at column `start` of this one."""
        return Columns(self.index.sub(start).masked_fill(self.index < 0, -1))

    def only(self, row: int) -> Columns:
        """One row of the index, as an index with one row."""
        return Columns(self.index[row : row + 1])
