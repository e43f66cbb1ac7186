"""How much a message tells of a goal."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy import stats

Codes = npt.NDArray[np.int64]
Counts = npt.NDArray[np.int64]


def entropy(codes: Codes) -> float:
    """Entropy of a discrete variable in bits: the plug-in estimate with Miller and Madow's correction.

    Source: Miller (1955): the plug-in estimate is too low by (K - 1) / 2n nats, K the values that occur.
    """
    return _entropy(np.unique(codes, return_counts=True)[1])


def mutual_information(one: Codes, other: Codes) -> float:
    """I(one; other) in bits, [n] each: H(one) + H(other) - H(both), each corrected; at least 0."""
    return max(0.0, _information(_table(one, other)))


def interval(one: Codes, other: Codes) -> tuple[float, float] | None:
    """The 95% interval of the mutual information, by the jackknife; None of fewer than two pairs.

    Pairs of one kind change the estimate alike when they are left out, so that there are as many estimates
    to make as kinds of pairs that occur.

    Args:
        one: A value for each episode, [n].
        other: Likewise.

    Returns:
        Low and high in bits, within 0 and the smaller of the two entropies; None where all pairs are alike.

    Source: Efron and Stein (1981).
    """
    table, n = _table(one, other), len(one)
    kinds = np.argwhere(table > 0)
    if len(kinds) < 2:
        return None
    weights = table[tuple(kinds.T)]
    without = np.array([_information(_less_one(table, *kind)) for kind in kinds])
    center = float((weights * without).sum() / n)
    error = math.sqrt((n - 1) / n * float((weights * np.square(without - center)).sum()))
    reach = float(stats.t.ppf(0.975, n - 1)) * error
    found, most = mutual_information(one, other), min(entropy(one), entropy(other))
    return max(0.0, found - reach), max(found, min(found + reach, most))


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


def _table(one: Codes, other: Codes) -> Counts:
    """How often each pair occurs, [values of one, values of the other]."""
    rows, row = np.unique(one, return_inverse=True)
    columns, column = np.unique(other, return_inverse=True)
    table: Counts = np.zeros((len(rows), len(columns)), dtype=np.int64)
    np.add.at(table, (row.reshape(-1), column.reshape(-1)), 1)
    return table


def _less_one(table: Counts, row: int, column: int) -> Counts:
    less = table.copy()
    less[row, column] -= 1
    return less


def _information(table: Counts) -> float:
    return _entropy(table.sum(axis=1)) + _entropy(table.sum(axis=0)) - _entropy(table)


def _entropy(counts: Counts) -> float:
    found = counts[counts > 0]
    n = int(found.sum())
    shares = found / n
    plug_in = float(-(shares * np.log2(shares)).sum())
    return plug_in + (len(found) - 1) / (2 * n * math.log(2))
