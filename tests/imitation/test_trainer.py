"""`MultiAgentDAggerTrainer`: Algorithm 1, imitation's interfaces, and what it learns."""

import os
import re
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch as th
from hypothesis import given
from hypothesis import strategies as st
from imitation.algorithms.base import DemonstrationAlgorithm
from imitation.algorithms.dagger import ExponentialBetaSchedule, LinearBetaSchedule
from imitation.data import rollout
from imitation.util import logger as imitation_logger
from stable_baselines3 import PPO
from stable_baselines3.common import logger

from cesma_sb3.envs.joint_vec_env import joint_vec_env
from cesma_sb3.envs.particle import ParticleVecEnv, Spread, make_scenario
from cesma_sb3.errors import ConfigError, ExpertError, SpaceError
from cesma_sb3.evaluation import evaluate
from cesma_sb3.experts import ExpertPolicy, ScriptedGoalExpert, ScriptedNavigationExpert
from cesma_sb3.imitation import (
    BufferConfig,
    LabelConfig,
    MessageConfig,
    MultiAgentDAggerTrainer,
    OptimizerConfig,
)
from cesma_sb3.imitation import base as trainer_module
from cesma_sb3.imitation.learner import UpdateSchedule
from cesma_sb3.policies import TeamPolicy, load_team
from tests.envs_for_tests import MatchingGame, MixedEnv, MortalEnv
from tests.imitation.algorithms_for_tests import Recording


class CueExpert:
    """Solves the matching game: plays what each agent sees."""

    def labels(self, observations, masks=None):
        return observations.reshape(len(observations), -1, 3).argmax(axis=2).astype(np.int64)

    def probabilities(self, observations, masks=None, *, temperature=1.0):
        weights = np.exp(4 * observations.reshape(len(observations), -1, 3) / temperature)
        return (
            (weights / weights.sum(axis=2, keepdims=True)).reshape(len(observations), -1).astype(np.float32)
        )


class FirstAvailable:
    """Any expert that respects masks."""

    def __init__(self, team):
        self.team = team

    def labels(self, observations, masks=None):
        return np.stack([masks[:, where].argmax(axis=1) for where in self.team.column_masks], axis=1)


def quiet(tmp_path):
    return imitation_logger.configure(tmp_path / "log", [])


def matching_trainer(tmp_path, n_envs=8, expert=None, seed=0, **kwargs):
    venv = joint_vec_env(MatchingGame, n_envs, seed=seed)
    th.manual_seed(seed)
    policy = TeamPolicy(
        venv.team.observation_space,
        venv.team.action_space,
        lambda _: 1e-3,
        team=venv.team,
        hidden_sizes=(32,),
    )
    arguments = {"samples_per_update": 8, "batch_size": 64, "learning_rate": 1e-2, **kwargs}
    return MultiAgentDAggerTrainer(
        venv=venv,
        expert_policy=expert or CueExpert(),
        policy=policy,
        rng=np.random.default_rng(seed),
        custom_logger=quiet(tmp_path),
        **arguments,
    )


def score(trainer):
    return evaluate(trainer.policy, trainer.venv, n_eval_episodes=40, seed=1).mean


CHOICES = {
    "defaults": {},
    "soft labels": {"labels": LabelConfig(soft=True)},
    "squared error": {"loss": "mse"},
    "sampling students": {"deterministic": False},
    "linear beta by agent": {"beta_schedule": LinearBetaSchedule(20), "beta_per_agent": True},
    "exponential beta": {"beta_schedule": ExponentialBetaSchedule(0.8)},
    "reservoir": {"buffer": BufferConfig(200, "reservoir")},
    "drop oldest": {"buffer": BufferConfig(100)},
    "clipped": {"optimizer": OptimizerConfig(max_grad_norm=0.5)},
}


@pytest.mark.no_cover
@pytest.mark.parametrize("choice", CHOICES)
def test_solves_a_matching_game(tmp_path, choice):
    trainer = matching_trainer(tmp_path, **CHOICES[choice])
    assert score(trainer) < 7
    trainer.train(1_200)
    assert score(trainer) == 8.0
    assert isinstance(trainer, DemonstrationAlgorithm)


def test_algorithm_1_as_written(tmp_path):
    trainer = matching_trainer(tmp_path, n_envs=1, samples_per_update=1, batch_size=32)
    updates = []
    trainer.train(100, callback=lambda progress: updates.append(progress.n_updates))
    # Nothing is learned until the dataset is large enough; then one batch at every timestep (k = 1).
    assert updates == [0] * 31 + list(range(1, 70))
    assert len(trainer.dataset) == trainer.timesteps == 100


@given(st.integers(1, 16), st.integers(1, 50), st.integers(20, 300))
def test_one_update_for_every_k_samples(n_envs, k, total):
    schedule, steps = UpdateSchedule(k), -(-total // n_envs)
    assert sum(schedule.due(n_envs) for _ in range(steps)) == steps * n_envs // k


def test_the_students_act_unless_a_schedule_says_otherwise(tmp_path):
    def played_right(**kwargs):
        trainer = matching_trainer(tmp_path, n_envs=500, buffer=BufferConfig(min_samples=10**9), **kwargs)
        played = Recording(trainer.venv)
        observations = trainer.collector.step(0)[0].observations
        right = played.actions[0] == CueExpert().labels(observations)
        students = trainer.policy.predict(observations, deterministic=True)[0]
        assert np.array_equal(np.where(right, students, students), students)
        return right, students == CueExpert().labels(observations)

    right, by_itself = played_right()
    assert np.array_equal(right, by_itself), "the expert never acts"
    right, _ = played_right(beta_schedule=lambda _: 1.0)
    assert right.all(), "the expert always acts"
    right, by_itself = played_right(beta_schedule=lambda _: 0.5)
    both_wrong_alone = ~by_itself.any(axis=1)
    assert set(right[both_wrong_alone].sum(axis=1)) == {0, 2}, "the whole team or nobody"
    right, by_itself = played_right(beta_schedule=lambda _: 0.5, beta_per_agent=True)
    assert set(right[~by_itself.any(axis=1)].sum(axis=1)) == {0, 1, 2}, "each agent by itself"


def test_an_evaluation_between_two_trainings_leaves_no_trace(tmp_path):
    trainer = matching_trainer(tmp_path)
    trainer.train(80)
    score(trainer)  # in the trainer's own environments
    seen = []
    labels = trainer.expert.labels
    trainer.expert.labels = lambda observations, masks=None: seen.append(observations) or labels(observations)
    first = {}
    real = trainer.venv.reset
    trainer.venv.reset = lambda: first.setdefault("observations", real())
    trainer.train(8)
    assert np.array_equal(seen[0], first["observations"]), "labels what the environments show now"


def test_rounds_advance_the_beta_schedule(tmp_path):
    rounds = []
    trainer = matching_trainer(tmp_path, round_timesteps=40, beta_schedule=lambda n: rounds.append(n) or 0.0)
    trainer.train(160, log_interval=1000)
    assert rounds[:20] == [n // 5 for n in range(20)]


def test_same_seed_same_students(tmp_path):
    def weights():
        trainer = matching_trainer(
            tmp_path, beta_schedule=LinearBetaSchedule(10), buffer=BufferConfig(100, "reservoir")
        )
        trainer.train(800)
        return trainer.policy.state_dict()

    first, second = weights(), weights()
    assert all(th.equal(first[name], second[name]) for name in first)


def test_demonstrations_of_imitations_types_teach_without_the_expert(tmp_path):
    venv = joint_vec_env(MatchingGame, 8, seed=0)
    expert = ExpertPolicy(CueExpert(), venv.team)
    trajectories = rollout.rollout(
        expert, venv, rollout.make_min_episodes(60), rng=np.random.default_rng(0), unwrap=False
    )
    flat = rollout.flatten_trajectories(trajectories)
    batches = [{"obs": flat.obs[i : i + 32], "acts": flat.acts[i : i + 32]} for i in range(0, len(flat), 32)]
    for demonstrations in (trajectories, flat, batches):
        trainer = matching_trainer(
            tmp_path, demonstrations=demonstrations, labels=LabelConfig(soft=demonstrations is flat)
        )
        assert len(trainer.dataset) == len(flat)
        for _ in range(200):
            trainer.update()
        assert score(trainer) == 8.0
    with pytest.raises(SpaceError, match=r"expected \[n, 6\] and \[n, 2\]"):
        trainer.set_demonstrations([{"obs": np.zeros((3, 4)), "acts": np.zeros((3, 2))}])


def test_nothing_touches_the_disk(tmp_path, monkeypatch):
    trainer = matching_trainer(tmp_path)
    opened = []
    real = os.open
    monkeypatch.setattr(os, "open", lambda *args, **kwargs: opened.append(args) or real(*args, **kwargs))
    monkeypatch.setattr(
        "builtins.open", lambda *args, **kwargs: opened.append(args) or pytest.fail(str(args))
    )
    trainer.train(400, log_interval=10_000)
    assert not opened


def test_dead_agents_and_masks_are_respected(tmp_path):
    venv = joint_vec_env(MortalEnv, 6, seed=0, team_reward="sum")  # raises on an unavailable action
    trainer = MultiAgentDAggerTrainer(
        venv=venv,
        expert_policy=FirstAvailable(venv.team),
        rng=np.random.default_rng(0),
        samples_per_update=6,
        batch_size=64,
        deterministic=False,
        custom_logger=quiet(tmp_path),
    )
    trainer.train(1_200)
    stored = trainer.dataset.rows.arrays
    assert not stored["alive"][: len(trainer.dataset)].all(), "some agents died"
    labels, masks = stored["labels"], stored["masks"]
    starts = np.array([where.start for where in venv.team.column_masks])
    rows = np.arange(len(trainer.dataset))[:, None]
    assert masks[rows, starts + labels[: len(trainer.dataset)]].all()


class DimMixedEnv(MixedEnv):
    """With pictures that are nearly black: networks are given pixels as they are."""

    def observe(self, agent):
        seen = super().observe(agent)
        return {**seen, "b": seen["b"] // 128} if isinstance(seen, dict) else seen


@pytest.mark.no_cover
def test_teams_that_mix_categories_and_numbers_learn(tmp_path):
    venv = joint_vec_env(DimMixedEnv, 8, seed=0)
    target = venv.team.action_space.high * 0.5
    target[[c for c, k in enumerate(venv.team.column_categories) if k]] = 1

    class Constant:
        def labels(self, observations, masks=None):
            return np.tile(target, (len(observations), 1)).astype(np.float32)

    trainer = MultiAgentDAggerTrainer(
        venv=venv,
        expert_policy=Constant(),
        rng=np.random.default_rng(0),
        samples_per_update=4,
        batch_size=64,
        learning_rate=lambda remaining: 1e-2 * remaining,
        custom_logger=quiet(tmp_path),
    )
    trainer.train(1_200)
    actions = trainer.policy.predict(venv.reset(), deterministic=True)[0]
    categorical = np.array([k > 0 for k in venv.team.column_categories])
    assert np.array_equal(actions[:, categorical], np.ones_like(actions[:, categorical]))
    np.testing.assert_allclose(actions[:, ~categorical], np.tile(target[~categorical], (8, 1)), atol=0.1)


@pytest.mark.no_cover
def test_students_of_the_scripted_expert_approach_it(tmp_path):
    venv = ParticleVecEnv(Spread(2), 32, seed=0)
    expert = ScriptedNavigationExpert(venv.team, venv.scenario.agents)
    th.manual_seed(0)
    trainer = MultiAgentDAggerTrainer(
        venv=venv,
        expert_policy=expert,
        rng=np.random.default_rng(0),
        samples_per_update=16,
        batch_size=256,
        learning_rate=2e-3,
        custom_logger=quiet(tmp_path),
    )
    before = evaluate(trainer.policy, venv, n_eval_episodes=200, seed=1).mean
    trainer.train(7_200)
    after = evaluate(trainer.policy, venv, n_eval_episodes=200, seed=1).mean
    best = evaluate(expert.labels, venv, n_eval_episodes=200, seed=1).mean
    assert (after - before) / (best - before) > 0.75


def test_faults_of_the_expert_are_named(tmp_path):
    class Broken(CueExpert):
        def labels(self, observations, masks=None):
            labels = super().labels(observations).astype(np.float32)
            labels[1, 1] = np.nan
            return labels

    class Hard:
        def labels(self, observations, masks=None):
            return np.zeros((len(observations), 3), dtype=np.int64)

    with pytest.raises(ExpertError, match=r"Broken\.labels: nan for player_1 in environment 1"):
        matching_trainer(tmp_path, expert=Broken()).train(10)
    with pytest.raises(ExpertError, match=r"shape \(8, 3\), expected \(8, 2\)"):
        matching_trainer(tmp_path, expert=Hard()).train(10)
    with pytest.raises(ExpertError, match="no `probabilities`"):
        matching_trainer(tmp_path, expert=Hard(), labels=LabelConfig(soft=True))
    with pytest.raises(ValueError, match="temperature=0: expected more than 0"):
        LabelConfig(temperature=0)
    for name in ("batch_size", "samples_per_update"):
        with pytest.raises(ValueError, match=f"^{name}=0: expected more than 0$"):
            matching_trainer(tmp_path, **{name: 0})
    three = joint_vec_env(partial(MatchingGame, 3), 2, seed=0)
    policy = matching_trainer(tmp_path).policy
    with pytest.raises(
        SpaceError, match=r"^MultiAgentDAggerTrainer: policy and venv are of different teams$"
    ):
        MultiAgentDAggerTrainer(
            venv=three, expert_policy=CueExpert(), policy=policy, rng=np.random.default_rng(0)
        )


def test_what_a_row_of_the_log_says(tmp_path):
    rows = []

    class Kept(logger.KVWriter):
        def write(self, key_values, key_excluded, step=0):
            rows.append((step, dict(key_values)))

    trainer = matching_trainer(tmp_path, beta_schedule=LinearBetaSchedule(4), round_timesteps=80)
    trainer.logger.default_logger.output_formats.append(Kept())
    trainer.train(240, log_interval=15)  # 30 steps of 8
    assert [step for step, _ in rows] == [120, 240]
    _, last = rows[-1]
    assert last.pop("dagger/steps_per_second") > 0
    losses = [last.pop(f"dagger/loss/{agent}") for agent in trainer.venv.team.agents]
    assert all(0 < loss < np.log(3) for loss in losses)
    assert last == {
        "dagger/timesteps": 240,
        "dagger/round": 3,  # that of the next timestep
        "dagger/beta": 0.25,
        "dagger/n_updates": trainer.n_updates,
        "dagger/dataset_size": 240,
        "dagger/learning_rate": 1e-2,
    }


def test_what_a_callback_is_told(tmp_path, monkeypatch):
    trainer = matching_trainer(tmp_path)

    def update(dataset):
        trainer.learner.n_updates += 1
        return th.tensor([1.0, 10.0]) * trainer.n_updates

    monkeypatch.setattr(trainer.learner, "update", update)
    told = []
    trainer.train(100, callback=told.append, log_interval=4)
    assert [each.timesteps for each in told] == list(range(8, 105, 8))
    assert {each.total_timesteps for each in told} == {104}  # 13 steps of 8
    # Means since the last row; there is enough to learn from in the eighth step.
    first = [each.losses[0] for each in told]
    np.testing.assert_array_equal(first, [np.nan] * 7 + [1, 2, 2.5, 3, 3.5, 6])
    np.testing.assert_array_equal([each.losses[1] for each in told], np.multiply(10, first))


def test_how_fast_it_is_counts_from_where_this_call_began(tmp_path, monkeypatch):
    rates = []

    class Kept(logger.KVWriter):
        def write(self, key_values, key_excluded, step=0):
            rates.append((step, key_values["dagger/steps_per_second"]))

    trainer = matching_trainer(tmp_path)
    trainer.logger.default_logger.output_formats.append(Kept())
    clock = iter([10.0, 12.0, 100.0, 102.0])
    monkeypatch.setattr(trainer_module, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    trainer.train(240, log_interval=15, callback=lambda progress: progress.timesteps < 160)
    trainer.resume(log_interval=15)
    assert rates == [(120, 60.0), (240, 40.0)]


def test_nothing_is_learned_from_less_than_the_least(tmp_path):
    trainer = matching_trainer(tmp_path, buffer=BufferConfig(min_samples=160))
    began = []
    trainer.train(240, callback=lambda told: began.append(told.timesteps) if told.n_updates else None)
    assert began[0] == 160


@pytest.mark.parametrize("most", [None, 1e-3])
def test_gradients_are_clipped_to_the_norm(tmp_path, most):
    trainer = matching_trainer(
        tmp_path,
        optimizer=OptimizerConfig(th.optim.SGD, {"weight_decay": 0.0}, max_grad_norm=most),
        learning_rate=1.0,
        buffer=BufferConfig(min_samples=10**6),
    )
    trainer.train(80)
    before = [weight.detach().clone() for weight in trainer.policy.action_net.parameters()]
    trainer.update()
    after = trainer.policy.action_net.parameters()
    moved = sum((a - b).square().sum().item() for a, b in zip(after, before, strict=True)) ** 0.5
    assert moved == pytest.approx(most, rel=1e-3) if most else moved > 0.05


def test_its_arguments_come_to_its_parts(tmp_path):
    trainer = matching_trainer(
        tmp_path,
        buffer=BufferConfig(50, "reservoir"),
        learning_rate=lambda left: 0.01 * left,
        optimizer=OptimizerConfig(optimizer_kwargs={"weight_decay": 0.25}),
    )
    assert (trainer.dataset.capacity, trainer.dataset.when_full) == (50, "reservoir")
    (group,) = trainer.learner.optimizer.param_groups
    assert (group["lr"], group["weight_decay"]) == (0.01, 0.25)
    talking = ParticleVecEnv(make_scenario("speaker-listener"), 2, seed=0)
    trainer = MultiAgentDAggerTrainer(
        venv=talking,
        expert_policy=CueExpert(),
        rng=np.random.default_rng(0),
        messages=MessageConfig("softmax", 0.7, 0.2),
        custom_logger=quiet(tmp_path),
    )
    assert trainer.learner.communication.config == MessageConfig("softmax", 0.7, 0.2)
    for shared in (True, False):
        trainer = matching_trainer(tmp_path, buffer=BufferConfig(shared=shared))
        assert (trainer.dataset._owners is None) == shared


def test_noise_in_messages_is_the_trainers_own(tmp_path):
    talking = ParticleVecEnv(make_scenario("speaker-listener"), 2, seed=0)
    trainer = MultiAgentDAggerTrainer(
        venv=talking,
        expert_policy=ScriptedGoalExpert(talking.team, make_scenario("speaker-listener").agents),
        rng=np.random.default_rng(0),
        batch_size=8,
        samples_per_update=10**6,
        custom_logger=quiet(tmp_path),
    )
    trainer.train(40)
    everyones, own = th.get_rng_state(), trainer.learner.communication.generator.get_state()
    trainer.update()
    assert th.equal(everyones, th.get_rng_state())
    assert not th.equal(own, trainer.learner.communication.generator.get_state())


def test_networks_learn_in_their_training_mode(tmp_path):
    modes = []

    def loss(outputs, batch):
        modes.append(trainer.policy.action_net.training)
        return th.stack([outputs.square().mean()] * 2)

    trainer = matching_trainer(tmp_path, loss=loss)
    trainer.train(80)
    assert modes
    assert all(modes)


def test_datasets_of_their_own_are_refused_where_agents_learn_from_others(tmp_path):
    seeing = joint_vec_env(MatchingGame, 2, seed=0)
    policy = TeamPolicy(
        seeing.team.observation_space,
        seeing.team.action_space,
        lambda _: 1e-3,
        team=seeing.team,
        actor_visibility="joint",
    )
    talking = ParticleVecEnv(make_scenario("speaker-listener"), 2, seed=0)
    for venv, students, told in (
        (talking, None, "shared_dataset false: agents that communicate learn from one another"),
        (seeing, policy, "shared_dataset false: a `joint` actor learns from joint observations"),
    ):
        with pytest.raises(ConfigError, match=f"^{re.escape(told)}$"):
            MultiAgentDAggerTrainer(
                venv=venv,
                expert_policy=CueExpert(),
                policy=students,
                buffer=BufferConfig(shared=False),
                rng=np.random.default_rng(0),
            )


def test_the_learning_rate_follows_its_schedule(tmp_path):
    trainer = matching_trainer(tmp_path, learning_rate=lambda left: 0.01 * left)
    seen = []
    trainer.train(80, callback=lambda _: seen.append(trainer.learner.optimizer.param_groups[0]["lr"]))
    np.testing.assert_allclose(seen, 0.01 * (1 - np.arange(10) / 10))


def test_demonstrations_have_what_the_dataset_needs(tmp_path):
    masked = joint_vec_env(MortalEnv, 2, seed=0, team_reward="sum")
    talking = ParticleVecEnv(make_scenario("speaker-listener"), 2, seed=0)
    for venv, fields in ((masked, {"masks"}), (talking, {"previous", "follows"})):
        venv.reset()
        trainer = MultiAgentDAggerTrainer(
            venv=venv,
            expert_policy=FirstAvailable(venv.team),
            rng=np.random.default_rng(0),
            custom_logger=quiet(tmp_path),
        )
        seen = np.zeros((3, venv.team.observation_size))
        done = np.zeros((3, venv.team.n_columns), dtype=int)
        trainer.set_demonstrations([{"obs": seen, "acts": done}])
        batch = trainer.dataset.sample(2)
        for field in ("masks", "previous", "follows"):
            assert (getattr(batch, field) is not None) == (field in fields)


def test_a_model_is_imitated_and_the_team_is_saved(tmp_path):
    venv = joint_vec_env(MatchingGame, 4, seed=0)
    model = PPO("MlpPolicy", venv, n_steps=8, batch_size=8, seed=0, device="cpu")
    trainer = MultiAgentDAggerTrainer(
        venv=venv, expert_policy=model, rng=np.random.default_rng(0), custom_logger=quiet(tmp_path)
    )
    observations = trainer.collector.step(0)[0].observations
    labels = trainer.expert.labels(observations)
    np.testing.assert_array_equal(labels, model.predict(observations, deterministic=True)[0])
    trainer.save_policy(tmp_path / "team")
    teams = trainer.policy, load_team(tmp_path / "team")
    np.testing.assert_array_equal(*(team.predict(observations, deterministic=True)[0] for team in teams))
