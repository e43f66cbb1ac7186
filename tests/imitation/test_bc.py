"""Behavioural cloning: the students learn, and never act."""

import numpy as np
import pytest

from cesma_sb3.envs.joint_vec_env import joint_vec_env
from cesma_sb3.envs.particle import ParticleVecEnv, Spread
from cesma_sb3.evaluation import evaluate
from cesma_sb3.imitation import BehaviouralCloningTrainer, BufferConfig
from tests.envs_for_tests import ReachEnv
from tests.imitation.algorithms_for_tests import Recording, same, score, trainer_of, weights_of


def test_solves_the_matching_game():
    trainer = trainer_of(BehaviouralCloningTrainer, samples_per_update=8)
    trainer.train(800)
    assert trainer.timesteps == 800
    assert score(trainer) == 8.0


def test_solves_a_game_of_numbers():
    class Reach:
        def labels(self, observations, masks=None):
            return observations

    venv = joint_vec_env(ReachEnv, 8, seed=0, team_reward="sum")
    trainer = trainer_of(BehaviouralCloningTrainer, venv=venv, expert=Reach())
    trainer.train(800)
    assert evaluate(trainer.policy, venv, n_eval_episodes=20, seed=1).mean > -0.5


def test_only_the_expert_acts():
    trainer = trainer_of(BehaviouralCloningTrainer)
    recorded, labels = Recording(trainer.venv), []
    expert = trainer.expert.labels

    def label(observations, masks=None):
        labels.append(expert(observations, masks))
        return labels[-1]

    trainer.expert.labels = label
    trainer.train(400)
    assert len(recorded.actions) == 50
    np.testing.assert_array_equal(recorded.actions, labels)


def test_final_updates_come_before_the_last_call_back():
    trainer, seen = (
        trainer_of(
            BehaviouralCloningTrainer,
            samples_per_update=80,
            buffer=BufferConfig(min_samples=1),
            final_updates=30,
        ),
        [],
    )
    trainer.train(801, callback=lambda progress: seen.append((progress.timesteps, progress.n_updates)))
    assert seen[-1] == (808, 40)
    assert seen[-2] == (800, 10)


def test_an_early_end_has_no_final_updates():
    trainer = trainer_of(BehaviouralCloningTrainer, samples_per_update=80, buffer=BufferConfig(min_samples=1))
    trainer.train(800, callback=lambda progress: progress.timesteps < 400)
    assert trainer.n_updates == 5


def test_same_seed_same_weights():
    first, second, other = (trainer_of(BehaviouralCloningTrainer, seed=seed) for seed in (0, 0, 1))
    for trainer in (first, second, other):
        trainer.train(200)
    assert same(weights_of(first), weights_of(second))
    assert not same(weights_of(first), weights_of(other))


def test_a_batched_world():
    venv = ParticleVecEnv(Spread(2), 4, seed=0)

    class Idle:
        def labels(self, observations, masks=None):
            return np.zeros((len(observations), 2), dtype=np.int64)

    trainer = trainer_of(BehaviouralCloningTrainer, venv=venv, expert=Idle())
    trainer.train(200)
    assert not trainer.policy.predict(np.asarray(venv.reset()), deterministic=True)[0].any()


def test_a_bad_number_is_refused():
    with pytest.raises(ValueError, match="final_updates=-1: expected at least 0"):
        trainer_of(BehaviouralCloningTrainer, final_updates=-1)
