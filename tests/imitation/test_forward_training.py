"""Forward Training: a team for each step, trained in the states of that step alone."""

import numpy as np
import pytest

from cesma_sb3.envs.joint_vec_env import joint_vec_env
from cesma_sb3.errors import ConfigError
from cesma_sb3.evaluation import evaluate, policy_actor
from cesma_sb3.imitation import ForwardTrainer
from cesma_sb3.policies.save_util import load_team, save_team
from tests.envs_for_tests import MortalEnv
from tests.imitation.algorithms_for_tests import (
    Recording,
    same,
    score,
    trainer_of,
    weights_of,
)
from tests.signalling_game import SignallingGame


class FirstAvailable:
    """Any expert that respects masks."""

    def __init__(self, team):
        self.team = team

    def labels(self, observations, masks=None):
        return np.stack([masks[:, where].argmax(axis=1) for where in self.team.column_masks], axis=1)


def datasets(trainer, monkeypatch):
    """What each iteration adds to its dataset, by iteration."""
    added, add = {}, trainer._add

    def spy(samples):
        added.setdefault(trainer.iteration, []).append(samples)
        add(samples)

    monkeypatch.setattr(trainer, "_add", spy)
    return added


def test_solves_the_matching_game():
    trainer = trainer_of(ForwardTrainer, horizon=4)
    trainer.train(800)
    assert len(trainer.policy) == 4
    assert trainer.timesteps == 800
    assert score(trainer) == 8.0


def test_without_a_warm_start_too():
    trainer = trainer_of(ForwardTrainer, horizon=4, warm_start=False)
    trainer.train(2000)
    assert score(trainer) == 8.0


def test_team_t_learns_from_step_t_alone(monkeypatch):
    # The observations of this environment hold the number of the step.
    venv = joint_vec_env(lambda: MortalEnv(deaths=(None, None), length=4), 3, seed=0, team_reward="sum")
    trainer = trainer_of(ForwardTrainer, venv=venv, expert=FirstAvailable(venv.team), horizon=4)
    added = datasets(trainer, monkeypatch)
    trainer.train(
        3 * (10 + 10 + 3)
    )  # two passes over all steps, and what is left: one more over the first two
    assert sorted(added) == [0, 1, 2, 3]
    assert [len(added[t]) for t in range(4)] == [3, 3, 2, 2]
    for t, samples in added.items():
        for sample in samples:
            assert (sample.observations[:, 1] == t).all()
            assert len(sample.observations) == len(sample.masks) == 3


def test_data_of_later_steps_does_not_change_an_earlier_team():
    class Contrary:
        """As the expert of the game, but wrong from the third step on."""

        def __init__(self, trainer_of_it):
            self.trainer = trainer_of_it

        def labels(self, observations, masks=None):
            right = observations.reshape(len(observations), -1, 3).argmax(axis=2).astype(np.int64)
            return (right + 1) % 3 if self.trainer[0].iteration >= 2 else right

    holder = []
    contrary = trainer_of(ForwardTrainer, horizon=4, expert=Contrary(holder))
    holder.append(contrary)
    plain = trainer_of(ForwardTrainer, horizon=4)
    for trainer in (contrary, plain):
        trainer.train(800)
    for step in range(4):
        states = [trainer.policy.component(step).state_dict() for trainer in (contrary, plain)]
        assert same(*states) == (step < 2)
    assert score(contrary) == pytest.approx(4.0, abs=0.1)


def test_each_step_is_acted_by_its_own_team():
    trainer = trainer_of(ForwardTrainer, horizon=3, warm_start=False)
    trainer.train(8 * 6)
    recorded = Recording(trainer.venv)
    observations = trainer.venv.reset()
    act = policy_actor(trainer.policy)
    act.reset(None)
    for step in range(3):
        wanted = trainer.policy.component(step).predict(observations, deterministic=True)[0]
        actions = act(observations, None)
        np.testing.assert_array_equal(actions, wanted)
        observations = trainer.venv.step(actions)[0]
    assert len(recorded.actions) == 3


def test_worlds_whose_episode_ended_before_are_left_out(monkeypatch):
    lengths = (2, 5)
    number = iter(lengths)
    venv = joint_vec_env(
        lambda: MortalEnv(deaths=(None, None), length=next(number)), 2, seed=0, team_reward="sum"
    )
    trainer = trainer_of(ForwardTrainer, venv=venv, expert=FirstAvailable(venv.team), horizon=7)
    added = datasets(trainer, monkeypatch)
    trainer.train(2 * 28)
    assert {t: len(samples[0].observations) for t, samples in added.items()} == {0: 2, 1: 2, 2: 1, 3: 1, 4: 1}
    for t, samples in added.items():
        assert (samples[0].observations[:, 1] == t).all()
    assert len(trainer.policy) == 7
    # Nobody gets to steps 5 and 6: their teams are the one before.
    assert same(trainer.policy.component(4).state_dict(), trainer.policy.component(6).state_dict())
    evaluate(trainer.policy, venv, n_eval_episodes=4)


def test_same_seed_same_weights():
    first, second, other = (trainer_of(ForwardTrainer, horizon=4, seed=seed) for seed in (0, 0, 1))
    for trainer in (first, second, other):
        trainer.train(200)
    assert same(weights_of(first), weights_of(second))
    assert not same(weights_of(first), weights_of(other))


def test_progress_and_an_early_end():
    trainer, seen = trainer_of(ForwardTrainer, horizon=3), []

    def watch(progress):
        seen.append(
            (progress.timesteps, progress.total_timesteps, progress.round_number, len(trainer.policy))
        )
        return len(seen) < 4

    trainer.train(8 * 6, callback=watch)
    # The placeholder is one team; the team of an iteration is there when its last call comes.
    assert seen == [(8, 48, 0, 1), (16, 48, 1, 1), (24, 48, 1, 2), (32, 48, 2, 2)]


def test_save_and_load(tmp_path):
    trainer = trainer_of(ForwardTrainer, horizon=4)
    trainer.train(200)
    save_team(trainer.policy, tmp_path)
    loaded = load_team(tmp_path)
    found = [evaluate(p, trainer.venv, n_eval_episodes=8, seed=0).team for p in (trainer.policy, loaded)]
    np.testing.assert_array_equal(*found)


def test_too_small_a_budget_is_refused():
    trainer = trainer_of(ForwardTrainer, horizon=4)
    with pytest.raises(
        ConfigError, match="9 steps of 8 environments for 4 teams; expected at least 10 steps"
    ):
        trainer.train(72)


def test_bad_numbers_are_refused():
    with pytest.raises(ValueError, match="horizon=0"):
        trainer_of(ForwardTrainer, horizon=0)
    with pytest.raises(ValueError, match="updates_per_iteration=0"):
        trainer_of(ForwardTrainer, horizon=2, updates_per_iteration=0)


def test_a_team_that_communicates_is_refused():
    venv = joint_vec_env(SignallingGame, 2, seed=0)
    with pytest.raises(ConfigError, match="messages; expected a team that does not communicate"):
        trainer_of(ForwardTrainer, venv=venv, horizon=4)
