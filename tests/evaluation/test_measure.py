"""An evaluator's unit: the distance from a random team to the reference, where there is such a distance."""

import math

import numpy as np
import pytest

from cesma_sb3.config.registry import make_experiment
from cesma_sb3.config.schema import DaggerConfig, EnvConfig
from cesma_sb3.errors import ConfigError
from cesma_sb3.evaluation import Returns
from cesma_sb3.training.build import match_slack
from cesma_sb3.training.evaluator import Evaluator
from cesma_sb3.training.run import run_experiment


def evaluator_of(random, reference=None):
    """One that has measured."""
    found = object.__new__(Evaluator)
    found.env = EnvConfig(id="my_env:Env")
    found.reference = None if reference is None else object()
    returns = {"random": random, **({} if reference is None else {"reference": reference})}
    found._anchors = {
        name: Returns(np.full(2, value), np.ones(2, dtype=np.int64), {}) for name, value in returns.items()
    }
    return found


def tolerating(tolerance):
    return DaggerConfig(total_timesteps=1, early_stopping_tolerance=tolerance)


@pytest.mark.parametrize(
    ("random", "reference", "value", "score"),
    [(-10.0, 10.0, 5.0, 0.75), (2.0, 2.0, 2.0, math.nan), (2.0, 1.0, 3.0, math.nan), (2.0, None, 3.0, 3.0)],
)
def test_scores_divide_by_a_distance_alone(random, reference, value, score):
    assert evaluator_of(random, reference).score(value) == pytest.approx(score, nan_ok=True)


def test_a_tolerance_is_a_part_of_that_distance():
    assert match_slack(tolerating(0.1), evaluator_of(-10.0, 10.0)) == 2.0
    for evaluator in (evaluator_of(1.0), evaluator_of(1.0, 1.0)):
        assert match_slack(tolerating(0.0), evaluator) == 0.0


@pytest.mark.parametrize(
    ("reference", "why"),
    [(None, "does not exist"), (1.0, "is no better than a random team"), (0.5, "is no better")],
)
def test_a_tolerance_without_a_distance_is_refused(reference, why):
    with pytest.raises(ConfigError) as caught:
        match_slack(tolerating(0.05), evaluator_of(1.0, reference))
    told = str(caught.value)
    assert told.startswith(
        "dagger.early_stopping_tolerance 0.05: a fraction of the distance from a random team to the "
    )
    assert why in told
    assert told.endswith("for my_env:Env; expected 0")


def test_it_is_refused_before_anything_trains(tmp_path):
    values = {
        "name": "tiny",
        "env": {"id": "tests.envs_for_tests:MatchingGame"},
        "expert": {"algorithm": "PPO", "total_timesteps": 10**9},
        "dagger": {"total_timesteps": 10, "early_stopping_evaluations": 2, "early_stopping_tolerance": 0.1},
        "evaluation": {"n_final_episodes": 2, "n_eval_episodes": 2, "n_envs": 1},
    }
    with pytest.raises(ConfigError, match=r"which does not exist for tests\.envs_for_tests:MatchingGame"):
        run_experiment(make_experiment(values, {}, called="tiny"), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
