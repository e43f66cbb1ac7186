"""What the scores of several runs come to: aggregates with intervals, by rliable.

Scores are [R, T] float64: R runs of each of T tasks. Intervals are 95% percentile intervals of the bootstrap,
which draws runs, within each task, again and again.

Source: Agarwal et al. 2021, "Deep Reinforcement Learning at the Edge of the Statistical Precipice".
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.stats import trim_mean

from cesma_sb3.errors import MissingExtraError

Scores = npt.NDArray[np.float64]
REPETITIONS = 2000
"""Of the bootstrap."""
_EXTRA = "pip install 'cesma-sb3[stats]'"


class Estimate(NamedTuple):
    """A number, and its interval; None where one run, or runs that are all alike, leave nothing to draw."""

    value: float
    low: float | None
    high: float | None


class Band(NamedTuple):
    """Numbers along an axis, [P] float64, and their intervals, point by point.

    A single run leaves nothing to draw: both ends are the number itself.
    """

    value: Scores
    low: Scores
    high: Scores


def aggregates(scores: Scores, *, repetitions: int = REPETITIONS) -> dict[str, Estimate]:
    """The interquartile mean, the mean, the median of the tasks' means, and the optimality gap.

    The interquartile mean leaves out the lowest and the highest quarter of all R * T scores, each rounded
    down. The optimality gap is by how much scores below 1 miss it, on average.

    Args:
        scores: [R, T].
        repetitions: Of the bootstrap.
    """
    rliable = _rliable()
    named = {
        "iqm": rliable.metrics.aggregate_iqm,
        "mean": rliable.metrics.aggregate_mean,
        "median": rliable.metrics.aggregate_median,
        "optimality_gap": rliable.metrics.aggregate_optimality_gap,
    }
    found = _interval(scores, lambda drawn: np.array([of(drawn) for of in named.values()]), repetitions)
    return {
        name: _estimate(value, low, high, are_alike(scores))
        for name, value, low, high in zip(named, *found, strict=True)
    }


def improvement(x: Scores, y: Scores, *, repetitions: int = REPETITIONS) -> Estimate:
    """How likely a run of `x` has a higher score than one of `y` on the same task; ties count half.

    It does not say by how much.

    Args:
        x: [R, T].
        y: [R', T].
        repetitions: Of the bootstrap.
    """
    (value,), (low,), (high,) = _interval((x, y), lambda *drawn: np.array([_higher(*drawn)]), repetitions)
    no_interval = min(len(x), len(y)) == 1 or (are_alike(x) and are_alike(y))
    return _estimate(value, low, high, no_interval)


def are_alike(scores: Scores) -> bool:
    """Whether a bootstrap over runs has nothing to draw from: one run, or several with the same scores.

    Args:
        scores: [R, T].
    """
    return len(np.unique(scores, axis=0)) == 1


def _higher(x: Scores, y: Scores) -> float:
    """As rliable's `probability_of_improvement`, less the p-values that take most of its time."""
    above, equal = x[:, None] > y[None], x[:, None] == y[None]
    return float((above + 0.5 * equal).mean())


def profile(scores: Scores, thresholds: Scores, *, repetitions: int = REPETITIONS) -> Band:
    """The share of all runs whose score is above each threshold.

    Args:
        scores: [R, T].
        thresholds: [P].
        repetitions: Of the bootstrap.
    """

    def above(drawn: Scores, thresholds: Scores) -> Scores:
        share: Scores = (drawn[..., None] > thresholds).mean(axis=(0, 1))
        return share

    library = _rliable().library
    with _seeded():
        values, bands = library.create_performance_profile(
            {"": scores}, thresholds, custom_profile_func=above, reps=repetitions
        )
    return Band(values[""], *bands[""])


def iqm_curve(curves: Scores, *, repetitions: int = REPETITIONS) -> Band:
    """The interquartile mean at each point of learning curves.

    Args:
        curves: [R, P].
        repetitions: Of the bootstrap.
    """
    # As rliable's `aggregate_iqm` of each point, all at once.
    return Band(*_interval(curves[:, None], lambda drawn: trim_mean(drawn[:, 0], 0.25, axis=0), repetitions))


def _interval(
    scores: Scores | tuple[Scores, ...], of: Callable[..., Scores], repetitions: int
) -> tuple[Scores, Scores, Scores]:
    """What `of` gives, [P], and both ends of its interval."""
    library = _rliable().library
    with _seeded():
        values, intervals = library.get_interval_estimates({"": scores}, of, reps=repetitions)
    return (values[""], *intervals[""])


def _estimate(value: Any, low: Any, high: Any, no_interval: bool) -> Estimate:
    return Estimate(float(value), None if no_interval else float(low), None if no_interval else float(high))


@contextlib.contextmanager
def _seeded() -> Iterator[None]:
    """The same scores give the same interval."""
    # rliable draws from NumPy's global generator, whatever `random_state` it is given.
    before = np.random.get_state()  # noqa: NPY002
    np.random.seed(0)  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(before)  # noqa: NPY002


def _rliable() -> SimpleNamespace:
    """The modules of rliable.

    Raises:
        MissingExtraError: It is not installed, or what it needs is too new for it.
    """
    try:
        from rliable import library, metrics
    except ImportError:
        raise MissingExtraError(f"rliable is not installed: {_EXTRA}") from None
    except TypeError as error:  # arch 7, which it needs, beside pandas 3
        raise MissingExtraError(f"rliable cannot be imported beside this pandas: {error}: {_EXTRA}") from None
    return SimpleNamespace(library=library, metrics=metrics)


def check_installed() -> None:
    """Says what to install before anything runs.

    Raises:
        MissingExtraError: See the message.
    """
    _rliable()
