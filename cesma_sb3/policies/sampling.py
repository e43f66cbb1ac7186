"""Draws of PyTorch's distributions from a generator of one's own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch as th


@contextmanager
def sampling_with(rng: np.random.Generator, device: th.device) -> Iterator[None]:
    """Within, PyTorch draws what `rng` says; afterwards its global generators are where they were.

    Distributions of PyTorch and SB3 know its global generators alone, which a training shares. With this,
    whoever samples beside the training leaves no trace in it, and draws the same again from the same `rng`.

    Args:
        rng: One number of it is drawn.
        device: Where is drawn, besides the processor.
    """
    seed = int(rng.integers(2**63))
    is_cuda = device.type == "cuda"
    with th.random.fork_rng(devices=[device] if is_cuda else []):
        th.default_generator.manual_seed(seed)
        if is_cuda:
            with th.cuda.device(device):
                th.cuda.manual_seed(seed)
        yield
