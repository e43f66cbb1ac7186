"""`TeamDistribution` against SB3's own distributions, and masks."""

import numpy as np
import pytest
import torch as th
from hypothesis import given, settings
from hypothesis import strategies as st
from stable_baselines3.common.distributions import DiagGaussianDistribution, MultiCategoricalDistribution

from cesma_sb3.policies import ActionHead, TeamDistribution

categories = st.lists(st.integers(1, 6), min_size=1, max_size=5)


@given(categories, st.integers(1, 4))
@settings(max_examples=50)
def test_equals_sb3_on_multidiscrete(nvec, batch):
    outputs = th.randn(batch, sum(nvec))
    actions = th.stack([th.randint(k, (batch,)) for k in nvec], dim=1)
    ours = TeamDistribution(ActionHead(nvec)).proba_distribution(outputs, th.zeros(0))
    theirs = MultiCategoricalDistribution(nvec).proba_distribution(outputs)
    th.testing.assert_close(ours.log_prob(actions), theirs.log_prob(actions))
    th.testing.assert_close(ours.entropy(), theirs.entropy())
    assert th.equal(ours.mode(), theirs.mode())


def test_equals_sb3_on_box():
    outputs, log_std, actions = th.randn(5, 3), th.randn(3), th.randn(5, 3)
    ours = TeamDistribution(ActionHead([0, 0, 0])).proba_distribution(outputs, log_std)
    theirs = DiagGaussianDistribution(3).proba_distribution(outputs, log_std)
    th.testing.assert_close(ours.log_prob(actions), theirs.log_prob(actions))
    th.testing.assert_close(ours.entropy(), theirs.entropy())
    th.testing.assert_close(ours.mode(), theirs.mode())


@given(st.lists(st.integers(0, 4), min_size=1, max_size=6))
@settings(max_examples=50)
def test_pack_and_unpack_keep_the_order_of_columns(columns):
    head = ActionHead(columns)
    packed = th.tensor([[0 if k == 0 else k - 1 for k in columns]], dtype=th.float32)
    packed[0, [c for c, k in enumerate(columns) if k == 0]] = 0.25
    assert th.equal(head.pack(*head.unpack(packed)).float(), packed)


@given(categories, st.integers(0, 1000))
@settings(max_examples=50)
def test_nothing_unavailable_is_ever_sampled(nvec, seed):
    rng = np.random.default_rng(seed)
    masks = np.concatenate([_mask(rng, k) for k in nvec])
    distribution = TeamDistribution(ActionHead(nvec)).proba_distribution(
        th.randn(64, sum(nvec)), th.zeros(0), th.as_tensor(masks).expand(64, -1)
    )
    for actions in (distribution.sample(), distribution.mode()):
        starts = np.cumsum([0, *nvec])[:-1]
        assert masks[starts + actions.numpy()].all()
    assert not distribution.probabilities()[:, ~masks].any()
    assert th.isfinite(distribution.entropy()).all()


def _mask(rng, k):
    mask = rng.random(k) < 0.5
    mask[rng.integers(k)] = True
    return mask


def test_samples_follow_the_probabilities():
    th.manual_seed(0)
    outputs = th.tensor([[0.0, 1.0, 2.0, -1.0, 0.5]]).expand(20_000, -1)
    distribution = TeamDistribution(ActionHead([3, 2])).proba_distribution(outputs, th.zeros(0))
    expected = distribution.probabilities()[0]
    samples = distribution.sample()
    for column, (start, k) in enumerate([(0, 3), (3, 2)]):
        frequency = th.bincount(samples[:, column], minlength=k) / len(samples)
        assert frequency.numpy() == pytest.approx(expected[start : start + k].numpy(), abs=0.015)
