"""What the collector asks of expert, students and environment, and what it writes down."""

import itertools

import numpy as np
import torch as th

from cesma_sb3.envs.joint_vec_env import joint_vec_env
from cesma_sb3.envs.particle import ParticleVecEnv, make_scenario
from cesma_sb3.imitation import LabelConfig
from cesma_sb3.imitation.collector import Collector, students_actor
from cesma_sb3.policies import TeamPolicy
from tests.envs_for_tests import MatchingGame, MortalEnv, TalkAndMove
from tests.imitation.test_trainer import CueExpert, FirstAvailable


def team_policy(team, **kwargs):
    th.manual_seed(0)
    return TeamPolicy(team.observation_space, team.action_space, lambda _: 1e-3, team=team, **kwargs)


def collector(venv, policy, expert, **kwargs):
    arguments = {"labels": LabelConfig(), "beta_per_agent": False}
    rng = np.random.default_rng(0)
    students = students_actor(policy, deterministic=True)
    return Collector(venv, students, expert, beta=lambda _: 0.0, rng=rng, **{**arguments, **kwargs})


class Soft(FirstAvailable):
    """Has probabilities that tell what was asked."""

    def probabilities(self, observations, masks=None, *, temperature=1.0):
        return (masks * temperature + observations.sum(axis=1, keepdims=True)).astype(np.float32)


def test_soft_labels_are_the_experts_for_these_masks_at_this_temperature():
    venv = joint_vec_env(MortalEnv, 2, seed=0, team_reward="sum")
    expert = Soft(venv.team)
    collected = collector(
        venv, team_policy(venv.team), expert, labels=LabelConfig(soft=True, temperature=3.0)
    )
    for _ in range(4):
        samples, _ = collected.step(0)
        wanted = expert.probabilities(samples.observations, samples.masks, temperature=3.0)
        np.testing.assert_array_equal(samples.probabilities, wanted)
        assert not samples.masks.all()
    assert collector(venv, team_policy(venv.team), expert).step(0)[0].probabilities is None


class Done:
    """What was done in an environment."""

    def __init__(self, venv):
        self.actions = []
        step = venv.step_async
        venv.step_async = lambda actions: (self.actions.append(np.array(actions)), step(actions))[1]


def test_students_with_a_memory_act_as_they_would_alone():
    venv = joint_vec_env(lambda: MatchingGame(length=3), 4, seed=0)
    policy = team_policy(venv.team, network="recurrent", hidden_sizes=(8,))
    done = Done(venv)
    collected = collector(venv, policy, CueExpert())
    alone, forgetful = policy.actor(), []
    alone.reset(None)
    for _ in range(8):
        samples, ended = collected.step(0)
        np.testing.assert_array_equal(done.actions[-1], alone(samples.observations, None))
        forgetful.append(policy.predict(samples.observations, deterministic=True)[0])
        alone.reset(ended)
    assert any((a != b).any() for a, b in zip(done.actions, forgetful, strict=True))


class Still:
    def __init__(self, team):
        self.team = team

    def labels(self, observations, masks=None):
        return np.zeros((len(observations), self.team.n_columns), dtype=np.int64)


def test_where_agents_talk_a_sample_has_the_step_before():
    venv = ParticleVecEnv(make_scenario("speaker-listener", max_cycles=3), 2, seed=0)
    collected = collector(venv, team_policy(venv.team), Still(venv.team))
    before = None
    for step in range(7):
        samples, _ = collected.step(0)
        follows = step % 3 != 0  # the first step of an episode follows nothing
        assert (samples.follows == follows).all()
        assert samples.previous_masks is None
        if before is not None:
            np.testing.assert_array_equal(samples.previous, before)
        before = samples.observations


def test_what_could_be_said_on_the_step_before_is_known():
    venv = joint_vec_env(TalkAndMove, 1, seed=0)
    collected = collector(venv, team_policy(venv.team), Soft(venv.team))
    steps = [collected.step(0)[0] for _ in range(5)]
    for before, after in itertools.pairwise(steps):
        np.testing.assert_array_equal(after.previous_masks, before.masks)
        assert not before.masks.all()
