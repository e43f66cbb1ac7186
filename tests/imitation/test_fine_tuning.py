"""Students that go on learning from the team's reward: better than their expert, or held to it."""

from __future__ import annotations

import csv
from typing import Any

import numpy as np
import pytest
import torch as th

import cesma_sb3
from cesma_sb3.envs.joint_vec_env import joint_vec_env
from cesma_sb3.envs.particle import ParticleVecEnv, make_scenario
from cesma_sb3.errors import ConfigError, InvalidActionError
from cesma_sb3.evaluation import evaluate
from cesma_sb3.experts import ScriptedGoalExpert, adapt_expert
from cesma_sb3.imitation.fine_tuning import FineTuningPPO
from cesma_sb3.policies import TeamPolicy
from cesma_sb3.training.evaluate_run import evaluate_run
from tests.bring import controllers
from tests.envs_for_tests import MatchingGame, MortalEnv
from tests.imitation.test_recurrent import Recall, Recaller
from tests.imitation.test_trainer import FirstAvailable

ENV = "tests.envs_for_tests:MatchingGame"
SMALL: dict[str, Any] = {
    "total_timesteps": 2000,
    "students": {"hidden_sizes": [32]},
    "dagger": {"n_envs": 8, "batch_size": 64, "samples_per_update": 8, "learning_rate": 1e-2},
    "evaluation": {"n_final_episodes": 64, "n_eval_episodes": 16, "eval_freq": 2000, "n_envs": 8},
}
PPO = {"n_steps": 32, "batch_size": 128, "gamma": 0.0, "learning_rate": 5e-3, "n_epochs": 8}


def half_right(observations: np.ndarray) -> np.ndarray:
    """The first player plays its cue, the second one more than that: 4 of 8."""
    return (controllers.joint(observations) + np.array([0, 1])) % 3


def students_for(venv, **kwargs) -> TeamPolicy:
    th.manual_seed(0)
    team = venv.team
    return TeamPolicy(
        team.observation_space,
        team.action_space,
        lambda _: 1e-3,
        team=team,
        **{"hidden_sizes": (16,), **kwargs},
    )


def tuner(venv, students, **kwargs) -> FineTuningPPO:
    policy_kwargs = {"team": venv.team, **students.spec.arguments()}
    return FineTuningPPO(
        TeamPolicy, venv, students=students, policy_kwargs=policy_kwargs, seed=0, **{**PPO, **kwargs}
    )


@pytest.mark.no_cover
def test_students_of_a_mediocre_expert_get_better_than_it(tmp_path):
    kwargs = {**PPO, "ent_coef": 0.02, "learning_rate": 2e-2}
    tuning = {"total_timesteps": 6_144, "n_envs": 8, "kwargs": kwargs}
    result = cesma_sb3.decentralize(half_right, ENV, out=tmp_path / "run", fine_tuning=tuning, **SMALL)
    found = result.report["return"]
    assert found["expert"] == 4
    assert found["imitators"] == pytest.approx(4, abs=0.5)
    assert found["students"] > 7
    assert list(result.report["env_samples"]) == ["expert", "decentralize", "fine-tune"]
    with (tmp_path / "run" / "evaluations.csv").open() as file:
        rows = list(csv.DictReader(file))
    samples = [int(row["env_samples"]) for row in rows]
    assert samples == sorted(samples)
    assert [row["stage"] for row in rows][-1] == "fine-tuned"
    assert evaluate_run(tmp_path / "run")["return"]["students"] == found["students"]
    team = cesma_sb3.load_team(tmp_path / "run" / "students")
    th.testing.assert_close(team.action_net.state_dict(), result.students.action_net.state_dict())


class HalfRecaller(Recaller):
    """Remembers both bits, and names the first one's alone."""

    def labels(self, observations, masks=None):
        return super().labels(observations) ^ np.array([0, 1])


@pytest.mark.no_cover
def test_students_that_remember_get_better_than_an_expert_that_does(tmp_path):
    """Episodes take 3.5 steps: half of them is the expert's, 2.25 what the first step alone is good for."""
    values = {**SMALL, "total_timesteps": 1800, "students": {"network": "recurrent", "hidden_sizes": [16]}}
    values["dagger"] = {**SMALL["dagger"], "batch_size": 16}
    tuning = {"total_timesteps": 4_800, "n_envs": 8, "kwargs": PPO}
    game = "tests.imitation.test_recurrent:Recall"
    result = cesma_sb3.decentralize(HalfRecaller(), game, out=tmp_path / "run", fine_tuning=tuning, **values)
    found = result.report["return"]
    assert found["expert"] == pytest.approx(1.75, abs=0.2)
    assert found["imitators"] == pytest.approx(found["expert"], abs=0.3)
    assert found["students"] > 3.1


class LastAvailable(FirstAvailable):
    """What is best in a `MortalEnv`."""

    def labels(self, observations, masks=None):
        flags = [masks[:, where] for where in self.team.column_masks]
        return np.stack([each.shape[1] - 1 - each[:, ::-1].argmax(axis=1) for each in flags], axis=1)


@pytest.mark.no_cover
@pytest.mark.parametrize("network", ["feed-forward", "recurrent"])
def test_students_with_masks_get_better_and_keep_to_them(network):
    """The environment raises where an action is not available; the last available one is the best."""
    venv = joint_vec_env(MortalEnv, 8, seed=0, team_reward="sum")
    expert = adapt_expert(FirstAvailable(venv.team), venv.team)
    model = tuner(venv, students_for(venv, network=network), expert=expert, imitation_coef=0.1)
    model.learn(2400)
    found, worst, best = (
        evaluate(act, venv, n_eval_episodes=32, seed=1).mean
        for act in (model.policy, expert.labels, LastAvailable(venv.team).labels)
    )
    assert worst < 0.7 * best
    assert found > 0.95 * best


class Undying(LastAvailable):
    """Goes on with the last action of all when an agent is dead, where nothing but the first is available."""

    def labels(self, observations, masks=None):
        dead = [~masks[:, where][:, 1:].any(axis=1) for where in self.team.column_masks]
        return np.where(np.stack(dead, axis=1), 2, super().labels(observations, masks))


def test_nobody_is_held_to_what_the_dead_would_do():
    venv = joint_vec_env(MortalEnv, 4, seed=0, team_reward="sum")
    expert = adapt_expert(Undying(venv.team), venv.team)
    held = {"imitation_coef": 0.1, "imitation_coef_final": 0.1}
    model = tuner(venv, students_for(venv), expert=expert, **held)
    model.learn(128)
    batch = next(model.rollout_buffer.get())
    assert (batch.labels[~batch.alive] == 2).all()
    assert not batch.alive.all()
    assert 0 < model.logger.name_to_value["train/imitation_loss"] < 3, "no likelihood of the impossible"


@pytest.mark.parametrize(
    ("game", "network"), [(MortalEnv, "feed-forward"), (MortalEnv, "recurrent"), (Recall, "recurrent")]
)
def test_what_is_learned_from_is_what_was_known_when_acting(game, network):
    """Masks, memories and where episodes begin, also where a rollout ends amid an episode."""
    venv = joint_vec_env(game, 4, seed=0, team_reward="sum")
    students = students_for(venv, network=network)
    model = tuner(venv, students, critic_warmup_fraction=0.0, n_steps=7, batch_size=14)
    acted = []
    model.learn(7 * 4 * 3, callback=lambda found, _: acted.append(found["log_probs"].numpy()) or True)
    joint = model.rollout_buffer.log_probs.sum(axis=2)
    np.testing.assert_allclose(joint, np.stack(acted[-7:]), atol=1e-5)
    batches = list(model.rollout_buffer.get(14))
    assert [len(batch.actions) for batch in batches] == [14, 14]
    assert (batches[0].memory is not None) == (network == "recurrent")


def test_what_gets_worse_is_not_kept(tmp_path):
    """Without reward to gain, noise alone: the students before are the best."""
    tuning = {
        "total_timesteps": 2000,
        "n_envs": 8,
        "kwargs": {**PPO, "learning_rate": 0.5},
        "critic_warmup_fraction": 0.0,
    }
    expert = "tests.bring.controllers:joint"
    result = cesma_sb3.decentralize(expert, ENV, out=tmp_path / "run", fine_tuning=tuning, **SMALL)
    found = result.report["return"]
    assert found["students"] == found["imitators"] == 8
    assert evaluate_run(tmp_path / "run")["return"]["students"] == 8


def test_it_begins_where_the_students_are_and_the_critic_learns_first():
    venv = joint_vec_env(MatchingGame, 8, seed=0)
    students = students_for(venv)
    with th.no_grad():  # not those that the same seed gives
        for weight in students.action_net.parameters():
            weight.mul_(1.5)
    model = tuner(venv, students, critic_warmup_fraction=0.5)
    seen = th.as_tensor(venv.reset())
    th.testing.assert_close(model.policy.outputs(seen), students.outputs(seen))
    critic = [weight.clone() for weight in model.policy.value_net.parameters()]
    model.learn(32 * 8 * 4, callback=lambda found, _: found["self"].num_timesteps <= 32 * 8)
    th.testing.assert_close(model.policy.outputs(seen), students.outputs(seen))
    assert any(not th.equal(a, b) for a, b in zip(critic, model.policy.value_net.parameters(), strict=True))
    # Half of it is over when the second rollout of four has been collected.
    model.learn(32 * 8 * 4, callback=lambda found, _: found["self"].num_timesteps <= 32 * 8 * 2)
    assert not th.equal(model.policy.outputs(seen), students.outputs(seen))
    assert all(weight.requires_grad for weight in model.policy.parameters())


def test_the_term_is_a_mean_over_agents_of_moves_alone():
    """Of a team that talks, against a sum by hand."""
    scenario = make_scenario("navigation-comm")
    venv = ParticleVecEnv(scenario, 4, seed=0)
    team = venv.team
    expert = ScriptedGoalExpert(team, scenario.agents)
    model = tuner(venv, students_for(venv), expert=expert, imitation_coef=1.0, imitation_coef_final=1.0)
    model.learn(32 * 4)
    assert model.logger.name_to_value["train/imitation_weight"] == 1.0
    assert model.logger.name_to_value["train/imitation_loss"] > 0
    batch = next(model.rollout_buffer.get(16))
    distribution = model._distribution(batch)
    loss, log = model._loss(batch, distribution)
    alone, _ = model._loss(batch._replace(labels=None), distribution)
    labels = th.as_tensor(expert.labels(batch.observations.numpy()))
    log_probs = distribution.column_log_probs(labels)
    by_hand = 0.0
    for sample in log_probs.tolist():
        for agent, where in zip(team.agents, team.action_columns, strict=True):
            for part in team.layouts[agent].action:
                if part.kind == "move":
                    by_hand -= sample[where.start + part.column]
    by_hand /= 16 * team.n_agents
    assert log["imitation_loss"] == pytest.approx(by_hand, rel=1e-5)
    assert (loss - alone).item() == pytest.approx(by_hand, rel=1e-4)


def test_sb3_saves_and_loads_it_without_its_expert(tmp_path):
    venv = joint_vec_env(MatchingGame, 4, seed=0)
    expert = adapt_expert(controllers.joint, venv.team)
    model = tuner(venv, students_for(venv), expert=expert, imitation_coef=0.5)
    model.save(tmp_path / "model.zip")
    loaded = FineTuningPPO.load(tmp_path / "model.zip", env=venv)
    assert loaded.expert is None
    assert (loaded.imitation_coef, loaded.imitation_coef_final, loaded.critic_warmup_fraction) == (
        0.5,
        0.0,
        0.1,
    )
    for mine, others in zip(model.policy.parameters(), loaded.policy.parameters(), strict=True):
        assert th.equal(mine, others)
    loaded.learn(32 * 4)


def test_the_term_of_imitation_teaches_and_fades():
    """With a reward that says nothing, the expert alone is there to be learned from."""
    venv = joint_vec_env(MatchingGame, 8, seed=0)
    expert = adapt_expert(controllers.joint, venv.team)
    model = tuner(
        venv, students_for(venv), expert=expert, imitation_coef=1.0, critic_warmup_fraction=0.0, vf_coef=0.0
    )
    model.normalize_advantage = False
    model.clip_range = lambda _: 0.0  # PPO itself changes nothing
    weights = []
    model.learn(6000, callback=lambda found, _: weights.append(found["self"].imitation_weight) or True)
    assert weights[0] == 1.0
    assert weights == sorted(weights, reverse=True)
    assert model.imitation_weight == pytest.approx(0.0, abs=0.05)
    assert evaluate(model.policy, venv, n_eval_episodes=32, seed=1).mean > 7.5


def test_what_it_cannot_do_is_told():
    venv = joint_vec_env(MatchingGame, 4, seed=0)
    students = students_for(venv)
    with pytest.raises(
        ConfigError,
        match=r"imitation_coef -1, imitation_coef_final 0\.0, critic_warmup_fraction 0\.1: expected",
    ):
        tuner(venv, students, imitation_coef=-1)
    for critic_warmup_fraction in (-0.1, 1.0, 1.5):
        with pytest.raises(
            ConfigError,
            match=rf"critic_warmup_fraction {critic_warmup_fraction}: expected at least 0, and below 1 for",
        ):
            tuner(venv, students, critic_warmup_fraction=critic_warmup_fraction)
    masked = joint_vec_env(MortalEnv, 2, seed=0, team_reward="sum")
    careless = adapt_expert(lambda seen: np.zeros((len(seen), 3), dtype=np.int64), masked.team)
    model = tuner(masked, students_for(masked), expert=careless, imitation_coef=0.1, batch_size=64)
    told = r"labels: 0 for mortal_0 in environment 0, after 0 timesteps: not available; what is: 1, 2"
    with pytest.raises(InvalidActionError, match=told):
        model.learn(64)


def test_a_baseline_has_nobody_to_tune():
    with pytest.raises(ConfigError, match="fine_tuning: expected null, for dagger is null"):
        cesma_sb3.load_experiment("spread-3-ddpg", {"fine_tuning.total_timesteps": 100})


def test_bad_values_are_told_before_anything_is_trained():
    tuning = {"fine_tuning": {"total_timesteps": 100, "kwargs": {"gama": 0.9}}}
    with pytest.raises(ConfigError, match=r"fine_tuning\.kwargs\.gama: .* 'gama'; did you mean 'gamma'"):
        cesma_sb3.load_experiment("spread-3", tuning)
