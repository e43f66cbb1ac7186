"""Entropy and mutual information of discrete variables, with an interval and a permutation test."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy import stats

Codes = npt.NDArray[np.int64]
"""Values of a discrete variable, one for each episode, [n]."""
Counts = npt.NDArray[np.int64]
PERMUTATIONS = 200
"""Permutations of a permutation test."""


def entropy(codes: Codes) -> float:
    """Estimate an entropy in bits: the plug-in estimate with Miller and Madow's correction.

    Source: Miller (1955): the plug-in estimate is too low by (K - 1) / 2n nats, K the values that occur.
    """
    return _entropy(np.unique(codes, return_counts=True)[1])


def mutual_information(x: Codes, y: Codes) -> float:
    """Estimate the mutual information in bits: H(x) + H(y) - H(x, y), each corrected; at least 0."""
    return max(0.0, _information(_table(x, y)))


def jackknife_interval(x: Codes, y: Codes) -> tuple[float, float] | None:
    """Return the 95% interval of the mutual information, by the jackknife.

    To leave out one of several equal pairs has the same effect: there are as many estimates to make as
    different pairs.

    Args:
        x: A value for each episode, [n].
        y: A value for each episode, [n].

    Returns:
        Low and high in bits, within 0 and the smaller of the two entropies; None where all pairs are equal.

    Source: Efron and Stein (1981).
    """
    table, n = _table(x, y), len(x)
    pairs = np.argwhere(table > 0)
    if len(pairs) < 2:
        return None
    weights = table[tuple(pairs.T)]
    left_out = []
    for row, column in pairs:
        less = table.copy()
        less[row, column] -= 1
        left_out.append(_information(less))
    without = np.array(left_out)
    center = float((weights * without).sum() / n)
    error = math.sqrt((n - 1) / n * float((weights * np.square(without - center)).sum()))
    reach = float(stats.t.ppf(0.975, n - 1)) * error
    value, most = mutual_information(x, y), min(entropy(x), entropy(y))
    return max(0.0, value - reach), max(value, min(value + reach, most))


def permutation_test(x: Codes, y: Codes, rng: np.random.Generator) -> tuple[float, float]:
    """Test whether two variables are independent.

    Args:
        x: A value for each episode.
        y: A value for each episode.
        rng: Draws permutations.

    Returns:
        The mean estimate over permutations, in bits, and the p-value of the estimate, in (0, 1].
    """
    value = mutual_information(x, y)
    permuted = [mutual_information(rng.permutation(x), y) for _ in range(PERMUTATIONS)]
    return float(np.mean(permuted)), (1 + sum(each >= value for each in permuted)) / (PERMUTATIONS + 1)


def _table(x: Codes, y: Codes) -> Counts:
    """Count how often each pair of values occurs, [values of x, values of y]."""
    rows, row = np.unique(x, return_inverse=True)
    columns, column = np.unique(y, return_inverse=True)
    table: Counts = np.zeros((len(rows), len(columns)), dtype=np.int64)
    np.add.at(table, (row.reshape(-1), column.reshape(-1)), 1)
    return table


def _information(table: Counts) -> float:
    return _entropy(table.sum(axis=1)) + _entropy(table.sum(axis=0)) - _entropy(table)


def _entropy(counts: Counts) -> float:
    positive = counts[counts > 0]
    n = int(positive.sum())
    shares = positive / n
    plug_in = float(-(shares * np.log2(shares)).sum())
    return plug_in + (len(positive) - 1) / (2 * n * math.log(2))
