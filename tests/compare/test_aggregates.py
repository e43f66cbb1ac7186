"""Aggregates against values by hand and SciPy; the same scores give the same intervals."""

import numpy as np
import pytest
from scipy.stats import trim_mean

from cesma_sb3.analysis.comparison.statistics import (
    aggregates,
    improvement,
    iqm_curve,
    profile,
)

FEW = {"repetitions": 50}
SCORES = np.array([[0.0, 0.9], [0.4, 1.0], [0.5, 1.1], [0.9, 0.2]])


def test_aggregates_by_hand():
    found = aggregates(SCORES, **FEW)
    # Of 0, 0.2, 0.4, 0.5, 0.9, 0.9, 1, 1.1 the lowest two and the highest two are left out.
    assert found["iqm"].value == pytest.approx((0.4 + 0.5 + 0.9 + 0.9) / 4)
    assert found["iqm"].value == pytest.approx(trim_mean(SCORES, 0.25, axis=None))
    assert found["mean"].value == pytest.approx((0.45 + 0.8) / 2)
    assert found["median"].value == pytest.approx((0.45 + 0.8) / 2)  # of two tasks
    assert found["optimality_gap"].value == pytest.approx(1 - (1.8 + 0.9 + 1 + 1 + 0.2) / 8)
    for estimate in found.values():
        assert estimate.low <= estimate.value <= estimate.high


def test_improvement_by_hand():
    x, y = np.array([[1.0], [2.0], [3.0]]), np.array([[2.0], [0.0]])
    # 1 > 0; 2 > 0 and 2 = 2; 3 > 2, 3 > 0.
    assert improvement(x, y, **FEW).value == pytest.approx((1 + 1.5 + 2) / 6)
    assert improvement(y, x, **FEW).value == pytest.approx(1 - 4.5 / 6)


def test_improvement_of_several_tasks_is_the_mean_of_theirs():
    x, y = np.array([[1.0, 0.0], [2.0, 0.0]]), np.array([[1.0, 5.0], [0.0, -1.0], [3.0, 0.0]])
    first = (0.5 + 1 + 1 + 1) / 6  # 1 = 1, 1 > 0; 2 > 1, 2 > 0
    second = 2 * (1 + 0.5) / 6  # 0 > -1, 0 = 0, twice
    assert improvement(x, y, **FEW).value == pytest.approx((first + second) / 2)


def test_the_interval_of_three_runs_is_from_the_lowest_to_the_highest():
    found = aggregates(np.array([[0.1], [0.5], [0.6]]))["iqm"]
    assert (found.low, found.high) == pytest.approx((0.1, 0.6))


def test_one_run_has_no_interval():
    one = SCORES[:1]
    assert all(number.low is None and number.high is None for number in aggregates(one, **FEW).values())
    assert improvement(one, SCORES, **FEW).low is None
    band = iqm_curve(np.array([[1.0, 2.0]]), **FEW)
    assert band.low.tolist() == band.value.tolist() == band.high.tolist() == [1.0, 2.0]


def test_the_same_scores_give_the_same_intervals_whatever_was_drawn_before():
    first = aggregates(SCORES, **FEW), improvement(SCORES, SCORES + 0.1, **FEW)
    np.random.seed(5)  # noqa: NPY002  # whatever the caller draws from
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    assert (aggregates(SCORES, **FEW), improvement(SCORES, SCORES + 0.1, **FEW)) == first
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002  # and it is left as it was


def test_runs_are_drawn_within_each_task():
    scores = np.array([[0.0, 10.0], [1.0, 10.0]])
    found = aggregates(scores, repetitions=500)["mean"]
    assert (found.low, found.high) == (5.0, 5.5)


def test_profiles_and_curves():
    thresholds = np.array([-1.0, 0.4, 0.95, 2.0])
    found = profile(SCORES, thresholds, **FEW)
    assert found.value.tolist() == [1.0, 5 / 8, 2 / 8, 0.0]
    assert (found.low <= found.value).all()
    assert (found.value <= found.high).all()
    curves = np.arange(20.0).reshape(5, 4) ** 2
    np.testing.assert_allclose(iqm_curve(curves, **FEW).value, trim_mean(curves, 0.25, axis=0))
