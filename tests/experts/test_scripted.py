"""The scripted experts: what they reach, and what they may not depend on."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from cesma_sb3.envs import make_vec_env
from cesma_sb3.envs.joint_vec_env import JointVecEnv, joint_vec_env
from cesma_sb3.envs.particle import NavigationComm, ParticleVecEnv, Spread
from cesma_sb3.envs.vec_wrappers import MessageFreeVecEnv
from cesma_sb3.errors import ExpertError
from cesma_sb3.evaluation import evaluate
from cesma_sb3.experts import Expert, SoftExpert
from cesma_sb3.experts.scripted.navigation import ScriptedGoalExpert, ScriptedNavigationExpert
from cesma_sb3.experts.scripted.reference import reference_expert
from cesma_sb3.spaces.team_spaces import TeamSpaces
from cesma_sb3.spaces.team_views import message_free_view
from tests.envs_for_tests import MatchingGame

LARGE = {"n_agents": 3, "n_landmarks": 5}


def environment(name: str, **kwargs: Any) -> JointVecEnv:
    reward: Any = "mean" if kwargs.get("reward") == "mpe2" else None
    return make_vec_env(name, kwargs=kwargs, n_envs=64, seed=0, team_reward=reward)


@pytest.mark.parametrize("continuous", [False, True])
@pytest.mark.parametrize(
    ("name", "kwargs", "least"),
    [
        # Measured: -15.4, -7.2, -15.2, -7.6, -22.6, with random actions at -53.5, -40.1, -57.2, -28.6, -85.6.
        ("spread", {}, -16.5),
        ("speaker-listener", {}, -8.2),
        ("navigation-comm", {}, -16.5),
        ("navigation-comm", {"reward": "mpe2"}, -8.2),
        ("navigation-comm", LARGE, -24.5),
    ],
)
def test_it_reaches_what_was_measured(
    name: str, kwargs: dict[str, Any], least: float, continuous: bool
) -> None:
    venv = environment(name, continuous_actions=continuous, **kwargs)
    expert = reference_expert(venv)
    assert isinstance(expert, Expert)
    assert not isinstance(expert, SoftExpert)
    assert evaluate(expert.labels, venv, n_eval_episodes=640, seed=1).mean > least


@pytest.mark.parametrize("continuous", [False, True])
@pytest.mark.parametrize(
    ("name", "kwargs"), [("speaker-listener", {}), ("navigation-comm", {}), ("navigation-comm", LARGE)]
)
def test_it_labels_the_silent_view_alike(name: str, kwargs: dict[str, Any], continuous: bool) -> None:
    venv = environment(name, continuous_actions=continuous, **kwargs)
    silent = message_free_view(venv.team)
    full, quiet = reference_expert(venv), reference_expert(MessageFreeVecEnv(venv))
    assert isinstance(full, ScriptedGoalExpert)
    assert isinstance(quiet, ScriptedGoalExpert)
    venv.action_space.seed(0)
    observations: Any = venv.reset()
    for _ in range(10):
        labels = full.labels(observations)
        assert venv.action_space.contains(labels[0])
        alike = silent.actions(quiet.labels(silent.observations(observations)))
        np.testing.assert_array_equal(labels, alike)
        observations = venv.step(np.array([venv.action_space.sample() for _ in range(64)]))[0]


def test_it_says_nothing_and_goes_where_the_others_know_it_should() -> None:
    venv = ParticleVecEnv(NavigationComm(), 1, seed=0)
    venv.reset()
    landmarks = np.array([[[0.5, 0.0], [-0.5, 0.0], [0.0, 0.5]]])
    where = {"positions": np.zeros((1, 2, 2)), "landmarks": landmarks}
    expert = ScriptedGoalExpert(venv.team, venv.scenario.agents)
    moves = [2, 1, 4]  # right, left, up
    for first in range(3):
        for second in range(3):
            observations = venv.set_state(where | {"goals": np.array([[first, second]])})
            assert expert.labels(observations).tolist() == [[moves[first], 0, moves[second], 0]]


def test_bodies_that_differ_are_steered_by_what_they_can_do() -> None:
    returns = {}
    env = ParticleVecEnv(Spread(3, heterogeneous=True), 64, seed=0)
    for name, bodies in (("own", env.scenario.agents), ("mpe2", Spread(3).agents)):
        expert = ScriptedNavigationExpert(env.team, bodies)
        returns[name] = evaluate(expert.labels, env, n_eval_episodes=320, seed=1).mean
    assert returns["own"] > returns["mpe2"]


def test_there_is_none_where_nothing_is_known_of_bodies() -> None:
    assert reference_expert(joint_vec_env(MatchingGame, 2)) is None


def test_teams_that_it_cannot_control_are_refused() -> None:
    spread, talking, few = Spread(3), NavigationComm(), NavigationComm(n_landmarks=1)
    with pytest.raises(ExpertError, match="nobody sees the goal of agent_0"):
        ScriptedGoalExpert(spread.team(), spread.agents)
    with pytest.raises(ExpertError, match="1 bodies for 2 agents"):
        ScriptedGoalExpert(talking.team(), talking.agents[:1])
    with pytest.raises(ExpertError, match="1 landmarks for 2 agents"):
        ScriptedNavigationExpert(few.team(), few.agents)
    team = spread.team()
    bare = TeamSpaces(team.agents, team.observation_spaces, team.action_spaces)
    with pytest.raises(ExpertError, match="no layout has a part 'velocity'"):
        ScriptedGoalExpert(bare, spread.agents)
    with pytest.raises(ExpertError, match="the layout of agent_0 has no part 'velocity'"):
        ScriptedNavigationExpert(bare, spread.agents)
