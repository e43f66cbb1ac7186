"""Estimates of the price of decentralization, each with its interval and how it was made."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
from scipy import stats

Floats = npt.NDArray[np.float64]
_ROUNDING = 1e-12
"""Relative differences up to this are rounding errors of float64."""


@dataclasses.dataclass(frozen=True)
class Estimate:
    """One number of the price of decentralization."""

    name: str
    value: float | None
    """None: it cannot be estimated here; `how` says why."""
    low: float | None
    """Lower end of the 95% confidence interval; None where there is none."""
    high: float | None
    """Upper end."""
    unit: str
    how: str
    """How it is estimated, in a sentence."""
    agent: str | None = None
    """The agent that it is about; None: the team."""


def not_estimated(name: str, unit: str, why: str, agent: str | None = None) -> Estimate:
    """Return an estimate without a value."""
    return Estimate(name, None, None, None, unit, f"Not estimated: {why}.", agent)


def mean_estimate(name: str, values: Floats, unit: str, how: str, agent: str | None = None) -> Estimate:
    """Estimate a mean of independent values, with Student's t interval.

    Values that are not finite are left out. Values that are all alike do not tell how far their mean is off:
    they get no interval.

    Args:
        name: Name of the estimate.
        values: One value for each episode, [E].
        unit: Unit of the values.
        how: How the values are made.
        agent: The agent that they are about; None: the team.
    """
    finite = values[np.isfinite(values)]
    if not len(finite):
        return Estimate(name, None, None, None, unit, f"{how} Nothing was observed.", agent)
    mean = float(finite.mean())
    if np.ptp(finite) <= _ROUNDING * np.abs(finite).max():
        alike = f"{how} All {len(finite)} values are alike: no interval." if len(finite) > 1 else how
        return Estimate(name, mean, None, None, unit, alike, agent)
    low, high = stats.t.interval(0.95, len(finite) - 1, loc=mean, scale=float(stats.sem(finite)))
    return Estimate(name, mean, float(low), float(high), unit, how, agent)


def ratio_estimate(name: str, numerator: Floats, denominator: Floats, unit: str, how: str) -> Estimate:
    """Estimate a ratio of two means over the same episodes, with Student's t interval of its linearization.

    Args:
        name: Name of the estimate.
        numerator: One value for each episode, [E].
        denominator: One value for each episode, [E]; their mean is more than 0.
        unit: Unit of the ratio.
        how: How the values are made.

    Source: the delta method: to first order, the error of the ratio is the mean of
    (numerator - ratio * denominator) / mean of the denominator.
    """
    size = denominator.mean()
    ratio = numerator.mean() / size
    return mean_estimate(name, ratio + (numerator - ratio * denominator) / size, unit, how)
