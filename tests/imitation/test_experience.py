"""Students learn from recorded experience alone, and from what their expert visits itself."""

from functools import partial

import numpy as np
import pytest
import torch as th
from imitation.algorithms import bc
from imitation.util import logger as imitation_logger

from cesma_sb3.envs.experience import Experience
from cesma_sb3.envs.particle import ParticleVecEnv, make_scenario
from cesma_sb3.errors import ConfigError, SpaceError
from cesma_sb3.evaluation import evaluate, policy_actor
from cesma_sb3.experts import ScriptedGoalExpert
from cesma_sb3.imitation import BufferConfig, LabelConfig, MessageConfig
from cesma_sb3.training import state as state_module
from tests.envs_for_tests import MatchingGame, ReachEnv
from tests.imitation.experience_for_tests import (
    Still,
    flat,
    game,
    labeller_of,
    of_silent,
    policy_of,
    sampling,
    talking,
    trainer_of,
)
from tests.imitation.test_recurrent import Recall, Recaller, episodes_of
from tests.imitation.test_recurrent import students as recurrent_students
from tests.imitation.test_trainer import CueExpert
from tests.message_free import message_free
from tests.recorded import recorded
from tests.signalling_game import SignallingGame, SilentGoalExpert


def test_recurrent_students_get_whole_episodes():
    venv = game(Recall)
    experience = recorded(venv, 30, resets=(0, 13))
    trainer = trainer_of(venv, Recaller(), recurrent_students(venv.team), batch_size=16)
    trainer.add_experience(experience)
    wanted = experience.episodes()
    assert len(trainer.dataset.store) == len(wanted)
    assert len(trainer.dataset) == sum(steps.stop - steps.start for _, steps in wanted) < len(experience)
    batch = trainer.dataset.sample(200)
    drawn = episodes_of(batch)
    assert {len(rows) for rows in drawn} == {steps.stop - steps.start for _, steps in wanted}
    known = {experience.states(s.start, s.stop, env=env).observations.tobytes() for env, s in wanted}
    for rows in drawn:
        own = batch.observations[rows].numpy()
        assert own.tobytes() in known
        assert own[0, [0, 2]].all(), "shown in the first step"
        labels = batch.labels[rows].numpy()
        np.testing.assert_array_equal(labels, np.tile(own[0, [0, 2]] > 0, (len(rows), 1)))
    with pytest.raises(ConfigError, match=r"an episode takes \d steps, but capacity is 1"):
        trainer_of(venv, Recaller(), recurrent_students(venv.team), buffer=BufferConfig(1)).add_experience(
            experience
        )


def test_recurrent_students_of_an_expert_without_a_memory_may_have_soft_labels():
    venv = game(MatchingGame)
    experience = recorded(venv, 15)
    policy = recurrent_students(venv.team)
    trainer = trainer_of(venv, CueExpert(), policy, batch_size=4, labels=LabelConfig(soft=True))
    trainer.add_experience(experience)
    batch = trainer.dataset.sample(8)
    soft = CueExpert().probabilities(batch.observations.reshape(-1, 6).numpy())
    np.testing.assert_allclose(batch.probabilities.reshape(-1, 6).numpy(), soft, atol=1e-6)


class Reach:
    """Of `ReachEnv`."""

    def labels(self, observations, masks=None):
        return observations.astype(np.float32)


MATCHING = partial(game, MatchingGame), CueExpert(), 300, 7.9
CASES = {
    "a matching game": (*MATCHING, {}),
    "soft labels": (*MATCHING, {"labels": LabelConfig(soft=True)}),
    "datasets of their own": (*MATCHING, {"buffer": BufferConfig(shared=False)}),
    "rare labels": (*MATCHING, {"class_weights": "inverse-frequency"}),
    "a reservoir": (*MATCHING, {"buffer": BufferConfig(150, "reservoir")}),
    "numbers": (partial(game, ReachEnv, team_reward="sum"), Reach(), 600, -0.8, {}),
    "a signalling game": (
        partial(game, SignallingGame),
        SilentGoalExpert(),
        600,
        0.95 * 4,
        {"messages": MessageConfig(entropy=0.3)},
    ),
    "a memory": (partial(game, Recall), Recaller(), 300, 0.98, {"batch_size": 32}),
}
"""Environments, expert, gradient steps, what is more than enough, and arguments of the trainer."""


@pytest.mark.no_cover
@pytest.mark.parametrize("case", CASES)
def test_students_learn_from_experience_alone(case):
    make, expert, n_updates, threshold, kwargs = CASES[case]
    venv, has_memory = make(), case == "a memory"
    experience = of_silent(venv, 400) if "signalling" in case else recorded(venv, 200)
    policy = recurrent_students(venv.team) if has_memory else policy_of(venv.team)
    trainer = trainer_of(venv, expert, policy, **kwargs)

    def score():
        found = evaluate(policy_actor(trainer.policy), make(), n_eval_episodes=64, seed=1)
        return found.team.sum() / found.lengths.sum() if has_memory else found.mean

    untrained = score()
    venv.step_async = pytest.fail  # nobody acts any more
    trainer.add_experience(experience)
    trainer.train(0, pretraining_updates=n_updates)
    assert (trainer.timesteps, trainer.n_updates, trainer.round_number) == (0, n_updates, 0)
    assert score() > threshold > untrained


@pytest.mark.filterwarnings("ignore:Converting a tensor with requires_grad=True:UserWarning")
def test_stock_behavioural_cloning_takes_it():
    venv = game(MatchingGame)
    experience = recorded(venv, 100)
    transitions = labeller_of(experience, CueExpert()).transitions()
    assert len(transitions) == len(experience)
    np.testing.assert_array_equal(transitions.obs, flat(experience.states().observations))
    np.testing.assert_array_equal(transitions.acts, CueExpert().labels(transitions.obs))
    states, shape = experience.states(), (100, 6, -1)
    ends, following = transitions.dones.reshape(100, 6), transitions.next_obs.reshape(shape)
    np.testing.assert_array_equal(ends[:-1], states.starts[1:])
    np.testing.assert_array_equal(following[:-1][~ends[:-1]], states.observations[1:][~ends[:-1]])
    np.testing.assert_array_equal(following[ends], states.observations[ends])
    policy = policy_of(venv.team)
    trainer = bc.BC(
        observation_space=venv.observation_space,
        action_space=venv.action_space,
        rng=np.random.default_rng(0),
        policy=policy,
        demonstrations=transitions,
        batch_size=32,
        optimizer_kwargs={"lr": 1e-2},
        custom_logger=imitation_logger.configure(None, []),
    )
    trainer.train(n_epochs=6, progress_bar=False)
    assert evaluate(policy_actor(policy), venv, n_eval_episodes=40, seed=1).mean == 8.0


def test_of_an_empty_experience_nothing_can_be_learned():
    venv = game(MatchingGame)
    empty = Experience(venv.team, 6, 100)
    labeller = labeller_of(empty, CueExpert())
    assert list(labeller.episodes()) == list(labeller.samples()) == []
    for function in (empty.states, labeller.transitions):
        with pytest.raises(ValueError, match=r"^the experience is empty: nothing was recorded$"):
            function()
    trainer = trainer_of(venv, CueExpert())
    trainer.add_experience(empty)
    assert len(trainer.dataset) == 0


@pytest.mark.parametrize("kind", ["talking", "plain", "recurrent"])
def test_same_seed_same_students(kind):
    def weights():
        if kind == "talking":
            venv, expert = game(SignallingGame), SilentGoalExpert()
            experience, policy = of_silent(venv, 20), None
        else:
            venv, expert = game(Recall), Recaller()
            experience = recorded(venv, 40)
            policy = recurrent_students(venv.team) if kind == "recurrent" else None
        trainer = trainer_of(venv, expert, policy, batch_size=16)
        trainer.add_experience(experience)
        trainer.train(60, pretraining_updates=20)
        return trainer.policy.state_dict()

    first, second = weights(), weights()
    assert all(th.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("kind", ["plain", "recurrent", "talking", "samples"])
def test_the_experts_own_rollouts_are_counted(kind):
    make, expert = {
        "plain": (MatchingGame, CueExpert()),
        "recurrent": (Recall, Recaller()),
        "talking": (SignallingGame, SilentGoalExpert()),
        "samples": (MatchingGame, None),
    }[kind]
    venv = game(make)
    if kind == "samples":
        expert = sampling(venv)
    policy = recurrent_students(venv.team) if kind == "recurrent" else None
    trainer = trainer_of(venv, expert, policy, batch_size=16, round_timesteps=12)
    trainer.add_rollouts(100)  # 17 steps of 6 environments
    assert (trainer.timesteps, trainer.n_updates, trainer.round_number) == (102, 0, 8)
    assert 0 < len(trainer.dataset) <= 102
    assert (len(trainer.dataset) == 102) is (kind != "recurrent")
    if kind == "plain":  # it acts as it says: what it visits is a return of 2 at every step
        assert venv.statistics.returns.tolist() == [2.0] * 6
        played = trainer.dataset.rows.arrays["labels"][:102]
        seen = trainer.dataset.rows.arrays["observations"][:102]
        np.testing.assert_array_equal(played, CueExpert().labels(seen))
    progress = []
    trainer.train(12, pretraining_updates=3, callback=progress.append)
    assert trainer.timesteps == 114
    assert [each.timesteps for each in progress] == [0, 0, 0, 6, 12]
    assert [each.is_pretraining for each in progress] == [True] * 3 + [False] * 2
    assert [each.n_updates for each in progress[:3]] == [1, 2, 3]
    for wrong in (0, -5):
        with pytest.raises(ValueError, match=f"^total_timesteps={wrong}: expected at least 1$"):
            trainer.add_rollouts(wrong)


def test_only_the_newest_of_long_rollouts_are_kept():
    venv = game(MatchingGame)
    trainer = trainer_of(venv, CueExpert(), buffer=BufferConfig(30), batch_size=16)
    trainer.add_rollouts(60)
    assert (len(trainer.dataset), trainer.timesteps) == (30, 60)


def test_what_is_refused():
    venv, other = game(MatchingGame), game(partial(MatchingGame, 3))
    trainer = trainer_of(venv, CueExpert())
    told = "^experience: of another team than the students'; expected joint observations of it$"
    with pytest.raises(SpaceError, match=told):
        trainer.add_experience(recorded(other, 3))
    with pytest.raises(ValueError, match=r"^pretraining_updates=5: the dataset is empty$"):
        trainer.train(10, pretraining_updates=5)
    talks = talking("navigation-comm")
    silent = message_free(talks)
    with pytest.raises(SpaceError, match=told):
        trainer_of(talks, Still(talks.team)).add_experience(recorded(silent, 3))


def test_the_learning_rate_falls_over_all_gradient_steps():
    venv = game(MatchingGame, n_envs=8)
    trainer = trainer_of(venv, CueExpert(), batch_size=16, learning_rate=lambda remaining: remaining)
    trainer.add_experience(recorded(venv, 10))
    rates = []

    def note(progress):
        rates.append(trainer.learner.optimizer.param_groups[0]["lr"])

    trainer.train(80, pretraining_updates=10, callback=note)  # one update for each step of 8 environments
    assert trainer.n_updates == 20
    assert rates == pytest.approx(np.linspace(1.0, 0.05, 20))


def test_a_training_that_is_stopped_goes_on():
    def trained(stops=()):
        venv = ParticleVecEnv(make_scenario("navigation-comm", max_cycles=5), 6, seed=0)
        experience = of_silent(venv, 30)
        expert = ScriptedGoalExpert(venv.team, venv.scenario.agents)

        def fresh():
            own = ParticleVecEnv(make_scenario("navigation-comm", max_cycles=5), 6, seed=0)
            return trainer_of(own, expert, batch_size=16, learning_rate=lambda remaining: 1e-2 * remaining)

        def until(n):
            return lambda progress: progress.n_updates < n

        trainer = fresh()
        trainer.add_experience(experience)
        trainer.train(48, pretraining_updates=9, callback=until(stops[0] if stops else 999))
        for stop in (*stops[1:], 999) if stops else ():
            before, trainer = trainer, fresh()
            state_module.restore(trainer, *state_module.capture(before, constants=[expert]))
            trainer.resume(callback=until(stop))
        return trainer

    whole, pieces = trained(), trained(stops=(4, 9, 11))
    assert whole.n_updates == pieces.n_updates == 15
    assert whole.timesteps == pieces.timesteps == 48
    weights = whole.policy.state_dict()
    assert all(th.equal(weights[name], each) for name, each in pieces.policy.state_dict().items())
