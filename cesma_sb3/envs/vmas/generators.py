"""The generators that VMAS draws from: one set for the whole process, in whose place others are put."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch as th


class Generators:
    """The states of PyTorch's, NumPy's and Python's generators as VMAS has them after `seed`.

    Args:
        seed: The seed, at least 0.
    """

    def __init__(self, seed: int) -> None:
        self.states: list[Any] = [
            th.Generator().manual_seed(seed).get_state(),
            np.random.RandomState(seed % 2**32).get_state(),
            random.Random(seed).getstate(),
        ]

    @contextlib.contextmanager
    def used(self) -> Iterator[None]:
        """Has VMAS draw from these for the time of the block."""
        from vmas.simulator.environment import Environment

        shared: list[Any] = Environment.vmas_random_state
        kept = list(shared)
        shared[:] = self.states
        try:
            yield
        finally:
            self.states, shared[:] = list(shared), kept
