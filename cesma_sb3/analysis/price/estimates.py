"""Numbers of the price of decentralization, each with its interval and how it is estimated."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
from scipy import stats

Floats = npt.NDArray[np.float64]
_ROUNDING = 1e-12
"""Relative differences up to this are those of float64."""


@dataclasses.dataclass(frozen=True)
class Row:
    """One number."""

    name: str
    value: float | None
    """None: it cannot be estimated here; `how` says why."""
    low: float | None
    """End of the 95% confidence interval; None where there is none."""
    high: float | None
    unit: str
    how: str
    """How it is estimated, in a sentence."""
    agent: str | None = None
    """Whose it is; None: the team's."""


def mean_row(name: str, values: Floats, unit: str, how: str, agent: str | None = None) -> Row:
    """A mean of independent values with Student's t interval; what is not a number is left out.

    Values that are all alike say nothing about how far their mean is off: they get no interval.

    Args:
        name: Of the row.
        values: One for each episode, [E].
        unit: Of the values.
        how: How they are estimated.
        agent: Whose they are.
    """
    found = values[np.isfinite(values)]
    if not len(found):
        return Row(name, None, None, None, unit, f"{how} Nothing was observed.", agent)
    mean = float(found.mean())
    if np.ptp(found) <= _ROUNDING * np.abs(found).max():
        alike = f"{how} All {len(found)} values are alike: no interval." if len(found) > 1 else how
        return Row(name, mean, None, None, unit, alike, agent)
    low, high = stats.t.interval(0.95, len(found) - 1, loc=mean, scale=float(stats.sem(found)))
    return Row(name, mean, float(low), float(high), unit, how, agent)


def ratio_row(name: str, above: Floats, below: Floats, unit: str, how: str) -> Row:
    """A ratio of two means over the same episodes, with Student's t interval of its linearization.

    Args:
        name: Of the row.
        above: One for each episode, [E].
        below: Likewise; their mean is more than 0.
        unit: Of the ratio.
        how: How it is estimated.

    Source: the delta method: to first order, the ratio errs by the mean of (above - ratio * below) / mean
    of below.
    """
    ratio, size = above.mean() / below.mean(), below.mean()
    return mean_row(name, ratio + (above - ratio * below) / size, unit, how)
