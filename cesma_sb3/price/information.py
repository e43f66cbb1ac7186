"""How much a message tells of a goal."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

Codes = npt.NDArray[np.int64]


def entropy(codes: Codes) -> float:
    """Entropy of a discrete variable in bits: the plug-in estimate with Miller and Madow's correction.

    Source: Miller (1955): the plug-in estimate is too low by (K - 1) / 2n nats, K the values that occur.
    """
    counts = np.unique(codes, return_counts=True)[1]
    shares = counts / counts.sum()
    plug_in = float(-(shares * np.log2(shares)).sum())
    return plug_in + (len(counts) - 1) / (2 * len(codes) * math.log(2))


def mutual_information(one: Codes, other: Codes) -> float:
    """I(one; other) in bits, [n] each: H(one) + H(other) - H(both), each corrected; at least 0."""
    both = np.unique(one, return_inverse=True)[1] * (int(other.max()) + 1) + other
    return max(0.0, entropy(one) + entropy(other) - entropy(both))


def by_chance(one: Codes, other: Codes, rng: np.random.Generator, n: int = 200) -> tuple[float, float]:
    """What the estimate is when there is nothing to find, and how likely it then is to be as large as it is.

    Args:
        one: A value for each episode, [n].
        other: Likewise.
        rng: Draws permutations.
        n: How many.

    Returns:
        The mean over permutations, in bits, and the p-value, in (0, 1].
    """
    found = mutual_information(one, other)
    drawn = [mutual_information(rng.permutation(one), other) for _ in range(n)]
    return float(np.mean(drawn)), (1 + sum(value >= found for value in drawn)) / (n + 1)
