"""Learning curves: when they measure, what they keep, and when they end a training."""

import numpy as np
import pytest
import torch as th
from stable_baselines3 import PPO
from stable_baselines3.common.utils import safe_mean
from torch import nn

from cesma_sb3.envs.joint_vec_env import joint_vec_env
from cesma_sb3.evaluation import Score
from cesma_sb3.imitation import DAggerProgress
from cesma_sb3.training.callbacks import LearningCurve
from cesma_sb3.training.sb3 import _ShowProgress
from tests.envs_for_tests import MatchingGame


def progress(timesteps):
    return DAggerProgress(timesteps, 1_000, 0, 0, np.zeros(1))


def measured(scores):
    """A policy whose weight is set to each score as it is measured."""
    policy = nn.Linear(1, 1, bias=False)
    left = iter(scores)

    def measure():
        score = next(left)
        nn.init.constant_(policy.weight, score)
        return Score(score)

    return policy, measure


def test_measures_at_fixed_distances_and_at_the_end():
    policy, measure = measured(range(10))
    curve = LearningCurve(policy, measure, 100, "last")
    visits = [timesteps for timesteps in range(0, 350, 30) if curve.evaluate_if_due(timesteps)]
    assert visits == [0, 120, 240]
    curve.finish(350)
    curve.finish(350)
    assert [point.timesteps for point in curve.points] == [0, 120, 240, 350]


@pytest.mark.parametrize(("keep", "weight"), [("best", 5.0), ("last", 2.0)])
def test_keeps_the_best_weights_or_the_last(keep, weight):
    policy, measure = measured([1.0, 5.0, 3.0, 2.0])
    curve = LearningCurve(policy, measure, 10, keep)
    for timesteps in (0, 10, 20):
        curve.evaluate_if_due(timesteps)
    curve.finish(30)
    assert th.equal(policy.weight.detach(), th.full((1, 1), weight))
    assert curve.kept_mean_return == weight  # the return of the weights that were kept


def test_the_return_of_training_is_shown_beside_that_of_evaluations():
    shown = []
    env = joint_vec_env(MatchingGame, 3, seed=0)
    model = PPO("MlpPolicy", env, n_steps=8, batch_size=24)
    curve = LearningCurve(model.policy, lambda: Score(-7.0), 1_000, "last")
    model.learn(48, callback=[curve, _ShowProgress(curve, lambda steps, found: shown.append(found))])
    assert [measured["return"] for measured in shown] == [-7.0] * 16
    assert np.isnan(shown[0]["in training"])  # no episode has ended
    ended_before = [episode["r"] for episode in model.ep_info_buffer][:-3]  # SB3 counts them after a step
    assert shown[-1]["in training"] == pytest.approx(safe_mean(ended_before))


def test_ends_after_matches_in_a_row():
    policy, measure = measured([0, 6, 4, 5, 7, 9])
    curve = LearningCurve(policy, measure, 10, "last", target=5, n_matches=2)
    assert [curve(progress(timesteps)) for timesteps in range(0, 50, 10)] == [True, True, True, True, False]
    assert curve.matched


def test_never_ends_unless_asked_to():
    policy, measure = measured([9] * 5)
    curve = LearningCurve(policy, measure, 10, "last", target=5)
    assert all(curve(progress(timesteps)) for timesteps in range(0, 50, 10))
