"""Aggregates of the scores of several runs, with 95% intervals of the stratified bootstrap.

Scores are [R, T] float64: R runs of each of T tasks. The bootstrap draws R runs of every task, with
replacement, many times; an interval holds the middle 95% of the aggregates of these draws.

Source: Agarwal et al. 2021, "Deep Reinforcement Learning at the Edge of the Statistical Precipice", and its
library rliable.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.stats import trim_mean

Scores = npt.NDArray[np.float64]
REPETITIONS = 2000
"""Draws of the bootstrap."""


class Estimate(NamedTuple):
    """A number and its interval; None where one run, or runs that are all alike, leave nothing to draw."""

    value: float
    low: float | None
    high: float | None


class Band(NamedTuple):
    """Numbers along an axis, [P] float64, and the ends of their intervals, point by point.

    A single run leaves nothing to draw: both ends are the number itself.
    """

    value: Scores
    low: Scores
    high: Scores


def aggregates(scores: Scores, *, repetitions: int = REPETITIONS) -> dict[str, Estimate]:
    """Estimate the interquartile mean, the mean, the median of the tasks' means, and the optimality gap.

    The interquartile mean leaves out the lowest and the highest quarter of all R * T scores, each rounded
    down. The optimality gap is by how much scores below 1 miss it, on average.

    Args:
        scores: [R, T].
        repetitions: Draws of the bootstrap.
    """
    statistics: dict[str, Callable[[Scores], float]] = {
        "iqm": lambda drawn: trim_mean(drawn, 0.25, axis=None),
        "mean": lambda drawn: drawn.mean(axis=0).mean(),
        "median": lambda drawn: float(np.median(drawn.mean(axis=0))),
        "optimality_gap": lambda drawn: 1.0 - np.minimum(drawn, 1.0).mean(),
    }
    band = _bootstrap(
        lambda drawn: np.array([of(drawn) for of in statistics.values()]), scores, repetitions=repetitions
    )
    estimates = _estimates(band, has_interval=not are_alike(scores))
    return dict(zip(statistics, estimates, strict=True))


def improvement(x: Scores, y: Scores, *, repetitions: int = REPETITIONS) -> Estimate:
    """Estimate how likely a run of `x` has a higher score than one of `y` on the same task; ties count half.

    It does not say by how much.

    Args:
        x: [R, T].
        y: [R', T].
        repetitions: Draws of the bootstrap.
    """

    def higher(x: Scores, y: Scores) -> Scores:
        above, equal = x[:, None] > y[None], x[:, None] == y[None]
        return np.array([(above + 0.5 * equal).mean()])

    has_interval = min(len(x), len(y)) > 1 and not (are_alike(x) and are_alike(y))
    (estimate,) = _estimates(_bootstrap(higher, x, y, repetitions=repetitions), has_interval=has_interval)
    return estimate


def are_alike(scores: Scores) -> bool:
    """Return whether a bootstrap over runs has nothing to draw: one run, or several with the same scores.

    Args:
        scores: [R, T].
    """
    return len(np.unique(scores, axis=0)) == 1


def profile(scores: Scores, thresholds: Scores, *, repetitions: int = REPETITIONS) -> Band:
    """Estimate the share of all runs whose score is above each threshold.

    Args:
        scores: [R, T].
        thresholds: [P].
        repetitions: Draws of the bootstrap.
    """
    return _bootstrap(
        lambda drawn: (drawn[..., None] > thresholds).mean(axis=(0, 1)), scores, repetitions=repetitions
    )


def iqm_curve(curves: Scores, *, repetitions: int = REPETITIONS) -> Band:
    """Estimate the interquartile mean at each point of learning curves.

    Args:
        curves: [R, P]; the bootstrap draws whole curves.
        repetitions: Draws of the bootstrap.
    """
    return _bootstrap(
        lambda drawn: trim_mean(drawn[:, 0], 0.25, axis=0), curves[:, None], repetitions=repetitions
    )


def _bootstrap(statistic: Callable[..., Scores], *samples: Scores, repetitions: int) -> Band:
    """Estimate a statistic of one or several systems, with its 95% percentile interval.

    Args:
        statistic: From an array [R, T, ...] of each system to [P].
        samples: The arrays; R may differ between systems.
        repetitions: How often runs are drawn, from every task of every system on its own.
    """
    rng = np.random.default_rng(0)  # the same scores give the same interval
    draws = []
    for _ in range(repetitions):
        drawn = []
        for sample in samples:
            n_runs, n_tasks = sample.shape[:2]
            drawn.append(sample[rng.integers(n_runs, size=(n_runs, n_tasks)), np.arange(n_tasks)])
        draws.append(statistic(*drawn))
    low, high = np.percentile(draws, (2.5, 97.5), axis=0)
    return Band(statistic(*samples), low, high)


def _estimates(band: Band, *, has_interval: bool) -> list[Estimate]:
    ends = (band.low, band.high) if has_interval else ([None] * len(band.value),) * 2
    return [
        Estimate(float(value), None if low is None else float(low), None if high is None else float(high))
        for value, low, high in zip(band.value, *ends, strict=True)
    ]
