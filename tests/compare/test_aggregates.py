"""Aggregates against values by hand, SciPy and rliable's own; the same scores give the same intervals."""

import sys
import types

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import trim_mean

from cesma_sb3.analysis.comparison.statistics import (
    aggregates,
    check_installed,
    improvement,
    iqm_curve,
    profile,
)
from cesma_sb3.errors import MissingExtraError

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


small = st.integers(-3, 3).map(float)  # with ties


@settings(max_examples=30)
@given(arrays(np.float64, (3, 2), elements=small), arrays(np.float64, (4, 2), elements=small))
def test_improvement_is_that_of_rliable(x, y):
    from rliable import metrics

    expected = metrics.probability_of_improvement(x, y)
    assert improvement(x, y, repetitions=2).value == pytest.approx(expected)


def test_the_interval_of_three_runs_is_from_the_lowest_to_the_highest():
    found = aggregates(np.array([[0.1], [0.5], [0.6]]), repetitions=500)["iqm"]
    assert (found.low, found.high) == pytest.approx((0.1, 0.6))


def test_one_run_has_no_interval():
    one = SCORES[:1]
    assert all(number.low is None and number.high is None for number in aggregates(one, **FEW).values())
    assert improvement(one, SCORES, **FEW).low is None
    band = iqm_curve(np.array([[1.0, 2.0]]), **FEW)
    assert band.low.tolist() == band.value.tolist() == band.high.tolist() == [1.0, 2.0]


def test_the_same_scores_give_the_same_intervals_whatever_was_drawn_before():
    first = aggregates(SCORES, **FEW), improvement(SCORES, SCORES + 0.1, **FEW)
    np.random.seed(5)  # noqa: NPY002  # rliable draws from it
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    assert (aggregates(SCORES, **FEW), improvement(SCORES, SCORES + 0.1, **FEW)) == first
    assert (np.random.get_state()[1] == before).all()  # noqa: NPY002  # and it is left as it was


def test_profiles_and_curves():
    thresholds = np.array([-1.0, 0.4, 0.95, 2.0])
    found = profile(SCORES, thresholds, **FEW)
    assert found.value.tolist() == [1.0, 5 / 8, 2 / 8, 0.0]
    assert (found.low <= found.value).all()
    assert (found.value <= found.high).all()
    curves = np.arange(20.0).reshape(5, 4) ** 2
    np.testing.assert_allclose(iqm_curve(curves, **FEW).value, trim_mean(curves, 0.25, axis=0))


@pytest.mark.parametrize(
    ("fault", "told"),
    [(ImportError("no"), "is not installed: pip install"), (TypeError("arch"), "beside this pandas: arch")],
)
def test_what_to_install_is_told(monkeypatch, fault, told):
    class Broken(types.ModuleType):
        def __getattr__(self, name):
            raise fault

    monkeypatch.setitem(sys.modules, "rliable", Broken("rliable"))
    with pytest.raises(MissingExtraError, match=told) as caught:
        check_installed()
    assert "cesma-sb3[stats]" in str(caught.value)
