"""SMILe and SEARN: weights as in the papers, who acts when, and what comes out."""

import numpy as np
import pytest
import torch as th
from hypothesis import given
from hypothesis import strategies as st

from cesma_sb3.envs.joint_vec_env import joint_vec_env
from cesma_sb3.errors import ConfigError
from cesma_sb3.evaluation import evaluate
from cesma_sb3.imitation import SearnTrainer, SmileTrainer, searn_weights, smile_weights
from cesma_sb3.policies.save_util import load_team, save_team
from tests.envs_for_tests import MatchingGame, ReachEnv
from tests.imitation.algorithms_for_tests import Recording, same, score, trainer_of, weights_of

BOTH = pytest.mark.parametrize("algorithm", [SmileTrainer, SearnTrainer])


@given(st.floats(0.01, 0.99), st.integers(1, 30))
def test_weights_are_the_mixtures_without_the_expert(alpha, n):
    # By the recursions of the papers: the expert first, then the teams.
    smile, searn = np.array([1.0]), np.array([1.0])
    for _ in range(n):
        smile = np.append([smile[0] * (1 - alpha), *smile[1:]], alpha * smile[0])
        searn = np.append(searn * (1 - alpha), alpha)
    for found, wanted in ((smile_weights(alpha, n), smile), (searn_weights(alpha, n), searn)):
        assert wanted[0] == pytest.approx((1 - alpha) ** n)
        assert sum(found) == pytest.approx(1.0)
        np.testing.assert_allclose(found, wanted[1:] / wanted[1:].sum(), rtol=1e-9, atol=1e-12)


def test_only_the_last_team_counts_when_its_share_is_everything():
    assert searn_weights(1.0, 3) == [0.0, 0.0, 1.0]
    assert smile_weights(1.0, 3) == [1.0, 0.0, 0.0]


@pytest.mark.no_cover
@BOTH
@pytest.mark.parametrize("per_agent", [True, False])
def test_solves_the_matching_game(algorithm, per_agent):
    trainer = trainer_of(algorithm, n_iterations=5, per_agent=per_agent)
    trainer.train(800)
    assert len(trainer.policy) == 5
    assert trainer.policy.per_agent is per_agent
    assert trainer.policy.weights.tolist() == pytest.approx(trainer.weights(5))
    assert score(trainer) == 8.0


@BOTH
def test_solves_a_game_of_numbers(algorithm):
    class Reach:
        def labels(self, observations, masks=None):
            return observations

    venv = joint_vec_env(ReachEnv, 8, seed=0, team_reward="sum")
    trainer = trainer_of(algorithm, venv=venv, expert=Reach(), n_iterations=5, warm_start=False)
    trainer.train(800)
    assert evaluate(trainer.policy, venv, n_eval_episodes=20, seed=1).mean > -1.0


@pytest.mark.no_cover
@BOTH
def test_the_expert_acts_as_often_as_the_formula_says(algorithm):
    """Students who always play what is wrong are told from the expert by what is played."""
    trainer = trainer_of(algorithm, n_iterations=4, share=0.3, updates_per_iteration=1)
    expert = trainer.expert.labels
    labels = []

    def label(observations, masks=None):
        labels.append(expert(observations, masks))
        return labels[-1]

    trainer.expert.labels = label
    trainer.policy.actions = lambda observations, masks, **_: (expert(observations) + 1) % 3
    recorded = Recording(trainer.venv)
    trainer.train(8 * 1200)
    agrees = (np.array(recorded.actions) == np.array(labels)).reshape(4, -1).mean(axis=1)
    np.testing.assert_allclose(agrees, [1.0, 0.7, 0.49, 0.343], atol=0.03)


@BOTH
def test_each_team_learns_from_its_own_iteration_alone(algorithm, monkeypatch):
    trainer, sizes = trainer_of(algorithm, n_iterations=3), []
    learn = trainer._learn

    def spy(before):
        sizes.append(len(trainer.dataset))
        return learn(before)

    monkeypatch.setattr(trainer, "_learn", spy)
    trainer.train(8 * 10)
    assert sizes == [8 * 4, 8 * 3, 8 * 3]


def test_what_differs_between_them_is_the_weights():
    first, second = (trainer_of(algorithm, n_iterations=2) for algorithm in (SmileTrainer, SearnTrainer))
    for trainer in (first, second):
        trainer.train(160)
    # The second iteration acts by the first team alone and the expert: all that is learned is the same.
    for index in range(2):
        assert same(*(trainer.policy.component(index).state_dict() for trainer in (first, second)))
    assert first.policy.weights.tolist() == second.policy.weights.flip(0).tolist()
    assert first.policy.weights[0] > first.policy.weights[1]


@BOTH
def test_evaluating_on_the_way_changes_nothing(algorithm):
    plain, watched = (trainer_of(algorithm, n_iterations=4) for _ in range(2))
    plain.train(320)
    other = joint_vec_env(MatchingGame, 4, seed=5)
    watched.train(
        320,
        callback=lambda _: evaluate(watched.policy, other, n_eval_episodes=4, seed=0).mean >= 0,
    )
    assert same(weights_of(plain), weights_of(watched))


@BOTH
def test_same_seed_same_weights(algorithm):
    first, second, other = (trainer_of(algorithm, n_iterations=4, seed=seed) for seed in (0, 0, 1))
    for trainer in (first, second, other):
        trainer.train(320)
    assert same(weights_of(first), weights_of(second))
    assert not same(weights_of(first), weights_of(other))
    assert first.policy.seed == second.policy.seed


@BOTH
def test_trained_again_it_begins_anew(algorithm):
    trainer = trainer_of(algorithm, n_iterations=3)
    for calls in (1, 2):
        trainer.train(240)
        assert len(trainer.policy) == 3
        assert trainer.timesteps == calls * 240


@BOTH
def test_save_and_load(tmp_path, algorithm):
    trainer = trainer_of(algorithm, n_iterations=3)
    trainer.train(240)
    save_team(trainer.policy, tmp_path)
    loaded = load_team(tmp_path)
    assert th.equal(loaded.weights, trainer.policy.weights)
    found = [evaluate(p, trainer.venv, n_eval_episodes=8, seed=0).team for p in (trainer.policy, loaded)]
    np.testing.assert_array_equal(*found)


@BOTH
def test_errors_are_one_line(algorithm):
    for arguments, message in (
        ({"share": 0.0}, "share=0.0: expected more than 0 and at most 1"),
        ({"n_iterations": 0}, "n_iterations=0: expected at least 1"),
    ):
        with pytest.raises(ValueError, match=message):
            trainer_of(algorithm, **arguments)
    with pytest.raises(ConfigError, match="takes no demonstrations; expected dagger or bc"):
        trainer_of(algorithm, demonstrations=[])
    with pytest.raises(ConfigError, match="2 steps of 8 environments for 20 iterations; expected one each"):
        trainer_of(algorithm).train(16)
