"""The weights of labels: equal in sum over categories, 1 on average, and bounded."""

import numpy as np
import pytest
import torch as th
from hypothesis import given
from hypothesis import strategies as st

from cesma_sb3.envs.particle import Spread
from cesma_sb3.imitation import Batch, ColumnwiseLoss, LabelCounts, Samples
from cesma_sb3.policies import ActionHead
from tests.joint.test_channel import talking_team

TEAM = Spread(2).team()


def samples_of(labels, alive=None):
    labels = np.asarray(labels, dtype=np.int64)
    alive = np.ones((len(labels), 2), dtype=bool) if alive is None else alive
    return Samples(np.zeros((len(labels), TEAM.observation_size), np.float32), labels, alive)


@given(st.lists(st.integers(0, 4), min_size=1, max_size=300), st.floats(1.0, 50.0))
def test_weights_are_1_on_average_and_equal_in_sum(labels, max_weight):
    counts = LabelCounts(TEAM, max_weight=max_weight)
    for start in range(0, len(labels), 40):  # in several adds, as they are collected
        part = labels[start : start + 40]
        counts.add(samples_of(np.stack([part, np.zeros_like(part)], axis=1)))
    weights = counts.weights()[0]
    seen = np.bincount(labels, minlength=5)
    assert (weights * seen).sum() / len(labels) == pytest.approx(1.0, rel=1e-4)
    assert (np.diff(weights[np.argsort(-seen)]) >= -1e-5).all(), "rarer never weighs less"
    assert counts.weights()[1, 0] == pytest.approx(1.0), "one category alone weighs 1"
    if len(labels) / (seen[seen > 0].min() * (seen > 0).sum()) <= max_weight:
        sums = (weights * seen)[seen > 0]
        np.testing.assert_allclose(sums, sums[0], rtol=1e-4)


def test_the_rarest_weigh_no_more_than_the_bound_allows():
    counts = LabelCounts(TEAM, max_weight=5.0)
    labels = np.zeros((1000, 2), dtype=np.int64)
    labels[0, 0] = 1
    counts.add(samples_of(labels))
    weights = counts.weights()[0]
    assert weights[1] / weights[0] == pytest.approx(5.0 * 2 * 999 / 1000, rel=1e-3)
    with pytest.raises(ValueError, match="max_weight"):
        LabelCounts(TEAM, max_weight=0.5)


def test_labels_of_dead_agents_do_not_count():
    counts = LabelCounts(TEAM)
    counts.add(samples_of([[1, 2], [3, 4]], np.array([[True, False], [True, True]])))
    assert counts.counts.tolist() == [[0, 1, 0, 1, 0], [0, 0, 0, 0, 1]]


@pytest.mark.parametrize("kind", ["auto", "mse"])
def test_a_sample_weighs_as_its_label(kind):
    rng = np.random.default_rng(0)
    labels = rng.choice(5, p=[0.8, 0.1, 0.05, 0.03, 0.02], size=(200, 2))
    head = ActionHead(TEAM.column_categories)
    weighted = ColumnwiseLoss(TEAM, head, kind, class_weights="inverse-frequency")
    plain = ColumnwiseLoss(TEAM, head, kind)
    outputs = th.randn(200, 10)
    batch = Batch(th.zeros(200, 1), th.as_tensor(labels), th.ones(200, 2, dtype=th.bool))
    th.testing.assert_close(weighted(outputs, batch), plain(outputs, batch), msg="nothing seen: all weigh 1")
    weighted.observe(samples_of(labels))
    plain.observe(samples_of(labels))
    expected = th.zeros(2)
    for row in range(200):
        one = Batch(*(field[row : row + 1] for field in batch[:3]))
        weight = th.as_tensor(weighted.counts.weights()[[0, 1], labels[row]])
        expected += plain(outputs[row : row + 1], one) * weight
    th.testing.assert_close(weighted(outputs, batch), expected / 200)


def test_messages_have_no_imitation_loss():
    team = talking_team([4, 4, 4])
    outputs = th.randn(6, team.output_size, requires_grad=True)
    labels = th.zeros(6, team.n_columns, dtype=th.long)
    batch = Batch(th.zeros(6, team.observation_size), labels, th.ones(6, 3, dtype=th.bool))
    for kind in ("auto", "mse"):
        outputs.grad = None
        ColumnwiseLoss(team, ActionHead(team.column_categories), kind)(outputs, batch).sum().backward()
        gradient = outputs.grad.reshape(6, 3, 9)
        assert not gradient[:, :, 5:].any()
        assert gradient[:, :, :5].all()


def test_weights_by_hand():
    """N / (K n_k), which stays the same when all is seen again; never seen: as the rarest may weigh."""
    counts = LabelCounts(TEAM)
    for times in (1, 2):
        counts.add(samples_of([[0, 2], [0, 2], [0, 2], [1, 2]]))
        assert counts.counts.tolist() == [[3 * times, times, 0, 0, 0], [0, 0, 4 * times, 0, 0]]
        np.testing.assert_allclose(counts.weights(), [[2 / 3, 2, 20, 20, 20], [20, 20, 1, 20, 20]], rtol=1e-6)


def test_weights_of_one_label_and_of_more_than_the_bound_allows():
    counts = LabelCounts(TEAM)
    counts.add(samples_of([[1, 1]]))
    np.testing.assert_allclose(counts.weights(), [[20, 1, 20, 20, 20]] * 2, rtol=1e-6)
    counts = LabelCounts(TEAM, max_weight=2.0)
    counts.add(samples_of([[0, 0]] * 9 + [[1, 0]]))
    # 1 in 10 is taken for 1 in 4: 5 / 9 and 2, whose mean of 0.7 is brought back to 1.
    np.testing.assert_allclose(counts.weights()[0], np.array([5 / 9, 2, 2, 2, 2]) / 0.7, rtol=1e-6)


def test_labels_of_dead_agents_with_several_columns_do_not_count():
    team = talking_team([4, 4, 4])
    counts = LabelCounts(team)
    labels = np.tile(np.array([1, 2, 1, 2, 1, 2]), (1, 1))
    alive = np.array([[True, True, False]])
    counts.add(Samples(np.zeros((1, team.observation_size), np.float32), labels, alive))
    assert counts.counts.sum(axis=1).tolist() == [1, 1, 1, 1, 0, 0]
