"""Functions, one or one for each agent, as experts: what they return is checked, and read as it is meant."""

from __future__ import annotations

import numpy as np
import pytest
import torch as th
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.envs import SimpleMultiObsEnv

from cesma_sb3.envs import make_vec_env
from cesma_sb3.errors import ExpertError
from cesma_sb3.experts import Expert, FunctionExpert, SoftExpert, adapt_expert
from cesma_sb3.experts.per_agent import controllers_by_agent
from cesma_sb3.experts.wrappers import TranslatedExpert
from cesma_sb3.spaces.action_views import make_view
from cesma_sb3.spaces.team_spaces import TeamSpaces
from tests.bring import controllers
from tests.envs_for_tests import MatchingGame, MixedEnv, MortalEnv, ReachEnv
from tests.message_free import message_free

TEAM = TeamSpaces.from_parallel_env(MatchingGame())
CUES = np.array([[0, 2], [1, 1], [2, 0]])
SEEN = np.eye(3, dtype=np.float32)[CUES].reshape(3, 6)


def test_a_function_labels():
    expert = adapt_expert(controllers.joint, TEAM)
    assert isinstance(expert, Expert)
    assert not isinstance(expert, SoftExpert)
    labels = expert.labels(SEEN)
    np.testing.assert_array_equal(labels, CUES)
    assert labels.dtype == np.int64


@pytest.mark.parametrize(
    ("view", "function"),
    [
        ("product", lambda seen: controllers.joint(seen) @ [3, 1]),
        ("product", lambda seen: (controllers.joint(seen) @ [3, 1])[:, None]),  # as some exports give it
        ("relaxed", lambda seen: seen * 2 - 1),
        ("relaxed", th.as_tensor),
        ("joint", lambda seen: (controllers.joint(seen), "and more")),
        ("joint", lambda seen: controllers.joint(seen).tolist()),
        ("product", lambda seen: (controllers.joint(seen) @ [3, 1]).tolist()),
        ("relaxed", th.nn.Identity()),
    ],
)
def test_views(view, function):
    np.testing.assert_array_equal(adapt_expert(function, TEAM, view=view).labels(SEEN), CUES)


@pytest.mark.parametrize("view", ["joint", "relaxed"])
def test_logits_of_columns(view):
    expert = adapt_expert(lambda seen: 5 * seen, TEAM, view=view, outputs="logits")
    np.testing.assert_array_equal(expert.labels(SEEN), CUES)
    assert isinstance(expert, SoftExpert)
    soft = expert.probabilities(SEEN, temperature=2.5)
    np.testing.assert_allclose(
        soft, th.softmax(th.as_tensor(2 * SEEN).view(3, 2, 3), -1).view(3, 6), rtol=1e-6
    )
    masks = np.ones((3, 6), dtype=bool)
    masks[0, 0] = False  # the first may not play its own cue
    assert expert.labels(SEEN, masks)[0, 0] != 0
    assert expert.probabilities(SEEN, masks)[0, 0] == 0
    np.testing.assert_allclose(expert.probabilities(SEEN, masks).reshape(3, 2, 3).sum(-1), 1, rtol=1e-6)


def test_logits_of_combinations():
    def table(seen):
        return np.log(np.arange(1, 10, dtype=np.float64))[None].repeat(len(seen), 0)

    expert = adapt_expert(table, TEAM, view="product", outputs="logits")
    np.testing.assert_array_equal(expert.labels(SEEN), np.full((3, 2), 2))
    shares = np.arange(1, 10).reshape(3, 3) / 45
    wanted = np.concatenate([shares.sum(1), shares.sum(0)])
    np.testing.assert_allclose(expert.probabilities(SEEN), np.tile(wanted, (3, 1)), rtol=1e-5)
    masks = np.ones((3, 6), dtype=bool)
    masks[:, 5] = False
    np.testing.assert_array_equal(expert.labels(SEEN, masks), np.tile([2, 1], (3, 1)))


def test_a_function_may_take_masks():
    team = TeamSpaces.from_parallel_env(MortalEnv())
    given = []

    def first_available(observations, masks):
        given.append(masks)
        return np.stack([masks[:, where].argmax(axis=1) for where in team.column_masks], axis=1)

    masks = np.ones((2, team.mask_size), dtype=bool)
    adapt_expert(first_available, team).labels(np.zeros((2, team.observation_size), np.float32), masks)
    np.testing.assert_array_equal(given[0], masks)


@pytest.mark.parametrize(
    ("function", "problem"),
    [
        (lambda seen: np.zeros((3, 5)), r"shape \(3, 5\), expected \(B, 2\) in the action view 'joint'$"),
        (lambda seen: np.zeros((3, 6)), "'joint'; a number for each choice is expert.outputs: logits$"),
        (lambda seen: 1, r"shape \(\), expected \(B, 2\)"),
        (lambda seen: np.full((3, 2), np.nan), "returned nan"),
        (lambda seen: np.full((3, 2), 3), "action 3 for player_0, expected 0 to 2"),
        (lambda seen: np.array([[0, 0], [0, -1], [0, 0]]), "action -1 for player_1, expected 0 to 2"),
        (lambda seen: "left", "returned str, expected an array of numbers"),
    ],
)
def test_what_is_no_joint_action_is_told(function, problem):
    with pytest.raises(ExpertError, match=problem):
        adapt_expert(function, TEAM).labels(SEEN)


def test_one_controller_for_each_agent():
    np.testing.assert_array_equal(adapt_expert(controllers.each, TEAM).labels(SEEN), CUES)
    team = TeamSpaces.from_parallel_env(MixedEnv())
    actions = {agent: team.action_spaces[agent].sample() for agent in team.agents}
    act = controllers_by_agent({agent: lambda seen, a=agent: actions[a] for agent in team.agents}, team)
    packed = act(np.zeros((2, team.observation_size), np.float32), None)
    np.testing.assert_array_equal(packed, np.tile(team.join_actions(actions), (2, 1)))


def test_a_controller_for_each_gets_its_own_mask():
    team = TeamSpaces.from_parallel_env(MortalEnv())
    masks = np.arange(2 * team.mask_size).reshape(2, -1) % 3 > 0
    given = {agent: [] for agent in team.agents}
    act = controllers_by_agent(
        {a: lambda seen, mask, a=a: given[a].append(mask) or 0 for a in team.agents}, team
    )
    act(np.zeros((2, team.observation_size), np.float32), masks)
    for agent, where in zip(team.agents, team.mask_slices, strict=True):
        np.testing.assert_array_equal(given[agent], masks[:, where])


@pytest.mark.parametrize(
    ("each", "problem"),
    [
        ({"player_0": controllers.own}, "player_1 has no controller; the agents are player_0, player_1$"),
        (
            {**controllers.each, "player_2": controllers.own},
            "player_2 is no agent.*did you mean 'player_",
        ),
    ],
)
def test_every_agent_has_one(each, problem):
    with pytest.raises(ExpertError, match=problem):
        adapt_expert(each, TEAM)


def test_an_expert_is_one_already():
    expert = FunctionExpert(controllers.joint, TEAM, make_view("joint", TEAM))
    assert adapt_expert(expert, TEAM) is expert


def test_anything_else_is_refused():
    with pytest.raises(ExpertError, match="float: expected an SB3 model or policy, a function of joint"):
        adapt_expert(3.5, TEAM)


def test_the_view_of_a_model_is_found():
    venv = make_vec_env("tests.envs_for_tests:MatchingGame", n_envs=2, view="product")
    model = DQN("MlpPolicy", venv)
    for controller in (model, model.policy):
        expert = adapt_expert(controller, venv.team)
        np.testing.assert_array_equal(
            expert.labels(SEEN), venv.view.decode(model.predict(SEEN, deterministic=True)[0])
        )


def test_spaces_that_do_not_fit_are_both_named():
    model = PPO("MlpPolicy", make_vec_env("tests.envs_for_tests:MatchingGame"))
    bigger = TeamSpaces.from_parallel_env(MatchingGame(n_agents=3))
    with pytest.raises(ExpertError, match=r"PPO: its observation space is .*\(6,\).*the team's is .*\(9,\)"):
        adapt_expert(model, bigger)
    reach = TeamSpaces.from_parallel_env(ReachEnv(n_agents=6))
    with pytest.raises(ExpertError, match=r"space is MultiDiscrete\(\[3 3\]\).*joint: Box.*relaxed: Box"):
        adapt_expert(model, reach)
    several = PPO("MultiInputPolicy", SimpleMultiObsEnv())
    with pytest.raises(ExpertError, match="its observation space is Dict"):
        adapt_expert(several, TEAM)


def test_a_team_that_talks():
    venv = make_vec_env("speaker-listener", n_envs=2, seed=0)
    silent = message_free(venv)
    model = PPO("MlpPolicy", silent)
    expert = adapt_expert(model, venv.team)
    assert isinstance(expert, TranslatedExpert)
    assert expert.labels(venv.reset()).shape == (2, venv.team.n_columns)
    sizes = []

    def still(observations):
        sizes.append(observations.shape[1])
        return np.zeros((2, 2))

    adapt_expert(still, venv.team).labels(venv.reset())
    adapt_expert(still, venv.team, communicates=True).labels(venv.reset())
    assert sizes == [silent.team.observation_size, venv.team.observation_size]
