"""Sampling with a generator of one's own, in NumPy and in PyTorch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import torch as th


@contextmanager
def sampling_with(rng: np.random.Generator, device: th.device) -> Iterator[None]:
    """Seed PyTorch's global generators by `rng` within; afterwards they are where they were.

    Distributions of PyTorch and SB3 know its global generators alone, which a training shares. With this,
    sampling beside a training leaves no trace in it, and the same `rng` gives the same samples again.

    Args:
        rng: One number of it is drawn, as the seed.
        device: The device whose generator is seeded, besides the processor's.
    """
    seed = int(rng.integers(2**63))
    is_cuda = device.type == "cuda"
    with th.random.fork_rng(devices=[device] if is_cuda else []):
        th.default_generator.manual_seed(seed)
        if is_cuda:
            with th.cuda.device(device):
                th.cuda.manual_seed(seed)
        yield


def categories(
    probabilities: npt.NDArray[np.floating[Any]], uniform: npt.NDArray[np.float64]
) -> npt.NDArray[np.int64]:
    """Categories by their probabilities, [...] int64, each from one uniform number.

    Args:
        probabilities: Of each category, [K] or [..., K], with a sum of 1.
        uniform: Numbers in [0, 1), [...].
    """
    bounds = np.cumsum(probabilities, axis=-1, dtype=np.float64)
    # Up to rounding the last bound is 1: scaled, so that no number lies beyond it.
    reached = bounds <= (uniform * bounds[..., -1])[..., None]
    found: npt.NDArray[np.int64] = np.minimum(reached.sum(axis=-1), bounds.shape[-1] - 1)
    return found
