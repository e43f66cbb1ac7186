"""Policies of agents, teams and ensembles as SB3 takes policies."""

import gymnasium
import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.policies import BasePolicy

from cesma_sb3.envs.joint_vec_env import joint_vec_env
from cesma_sb3.errors import SpaceError
from cesma_sb3.policies import AgentPolicy, EnsembleAgent, MixturePolicy, SequencePolicy, TeamPolicy
from cesma_sb3.spaces.team_spaces import TeamSpaces
from tests.envs_for_tests import MatchingGame


def team_policy(team, seed=0, **kwargs):
    th.manual_seed(seed)
    kwargs = {"hidden_sizes": (8,)} | kwargs
    return TeamPolicy(team.observation_space, team.action_space, lambda _: 0.0, team=team, **kwargs)


def policies(team):
    teams = [team_policy(team, seed) for seed in range(2)]
    return {
        "team": teams[0],
        "recurrent": team_policy(team, network="recurrent"),
        "sequence": SequencePolicy(teams),
        "mixture": MixturePolicy(teams, [0.5, 0.5], seed=3),
    }


KINDS = ["team", "recurrent", "sequence", "mixture"]


class Alone(gymnasium.Env):
    """An environment of one agent; it pays for action 1."""

    def __init__(self, observation_space, action_space):
        self.observation_space, self.action_space = observation_space, action_space
        self.observation_space.seed(0)

    def reset(self, *, seed=None, options=None):
        self.steps = 0
        return self.observation_space.sample(), {}

    def step(self, action):
        assert self.action_space.contains(action)
        self.steps += 1
        return self.observation_space.sample(), float(np.ravel(action)[0]), self.steps == 3, False, {}


@pytest.mark.parametrize("kind", KINDS)
def test_sb3_evaluates_agents_on_their_own_environment_and_teams_on_the_joint_one(kind):
    venv = joint_vec_env(MatchingGame, 2, seed=0)
    policy = policies(venv.team)[kind]
    assert isinstance(policy, BasePolicy)
    evaluate_policy(policy, venv, n_eval_episodes=4, warn=False)
    agent = policy.agent(0)
    assert isinstance(agent, AgentPolicy | EnsembleAgent)
    assert agent.observation_space == venv.team.observation_spaces[agent.name]
    assert agent.action_space == venv.team.action_spaces[agent.name]
    env = Alone(agent.observation_space, agent.action_space)
    mean, _ = evaluate_policy(agent, env, n_eval_episodes=2, warn=False)
    assert 0 <= mean <= 6


@pytest.mark.parametrize("kind", KINDS)
def test_an_agent_is_saved_as_sb3_saves_policies(kind, tmp_path):
    team = TeamSpaces.from_parallel_env(MatchingGame())
    agent = policies(team)[kind].agent(1)
    agent.save(tmp_path / "agent.pth")
    loaded = type(agent).load(tmp_path / "agent.pth", device="cpu")
    assert (loaded.name, str(loaded.device)) == (agent.name, "cpu")
    th.testing.assert_close(loaded.state_dict(), agent.state_dict())
    state, other = None, None
    for _ in range(6):
        seen = agent.observation_space.sample()
        action, state = agent.predict(seen, state, deterministic=True)
        again, other = loaded.predict(seen, other, deterministic=True)
        assert action == again


@pytest.mark.parametrize(
    "space",
    [
        spaces.Box(-1.0, 1.0, (2, 3), np.float32),
        spaces.Discrete(4, start=2),
        spaces.Dict({"a": spaces.Box(-1.0, 1.0, (2,), np.float32), "b": spaces.MultiDiscrete([2, 3])}),
        spaces.Tuple([spaces.Discrete(3), spaces.Box(-1.0, 1.0, (1,), np.float32)]),
        spaces.Dict({"obs": spaces.Box(-1.0, 1.0, (2,), np.float32), "action_mask": spaces.MultiBinary(3)}),
    ],
    ids=lambda space: type(space).__name__,
)
def test_a_batch_is_each_observation_by_itself(space):
    team = TeamSpaces(["a"], {"a": space}, {"a": spaces.Discrete(3, start=1)})
    agent = team_policy(team).agent("a")
    space.seed(0)
    rows = [space.sample() for _ in range(5)]

    def stacked(values):
        if isinstance(values[0], dict):
            return {key: stacked([value[key] for value in values]) for key in values[0]}
        if isinstance(values[0], tuple):
            return tuple(stacked(list(members)) for members in zip(*values, strict=True))
        return np.stack(values)

    together, _ = agent.predict(stacked(rows), deterministic=True)
    assert together.shape == (5,)
    for row, action in zip(rows, together, strict=True):
        alone, _ = agent.predict(row, deterministic=True)
        assert alone == action
        assert agent.action_space.contains(alone)


def test_it_samples_unless_asked_for_the_likeliest_action():
    team = TeamSpaces(["a"], {"a": spaces.Box(-1.0, 1.0, (2,))}, {"a": spaces.Discrete(3)})
    agent = team_policy(team).agent("a")
    seen = np.zeros((200, 2), np.float32)
    assert set(agent.predict(seen)[0]) == {0, 1, 2}
    assert len(set(agent.predict(seen, deterministic=True)[0])) == 1
    masks = np.tile([True, False, False], (200, 1))
    assert set(agent.predict(seen, action_masks=masks)[0]) == {0}


def test_what_is_no_observation_or_mask_is_refused_by_the_agents_name():
    seen = spaces.Dict({"obs": spaces.Box(-1.0, 1.0, (2,)), "action_mask": spaces.MultiBinary(3)})
    agent = team_policy(TeamSpaces(["a"], {"a": seen}, {"a": spaces.Discrete(3)})).agent("a")
    masks = np.ones((2, 3), dtype=bool)
    with pytest.raises(SpaceError, match="a: keys"):
        agent.predict({"other": np.zeros(2), "action_mask": masks[0]})
    with pytest.raises(SpaceError, match="a: shape"):
        agent.predict(np.zeros((2, 2, 2)), action_masks=masks[0])
    with pytest.raises(SpaceError, match="a: 2 action masks for 3 observations"):
        agent.predict(np.zeros((3, 2)), action_masks=masks)


@pytest.mark.parametrize("kind", KINDS)
def test_a_team_is_saved_and_loaded_as_sb3s_policies_are(kind, tmp_path):
    venv = joint_vec_env(MatchingGame, 2, seed=0)
    policy = policies(venv.team)[kind]
    policy.save(tmp_path / "team.zip")
    again = type(policy).load(tmp_path / "team.zip")
    observations = venv.reset()
    expected, _ = policy.predict(observations, deterministic=True)
    np.testing.assert_array_equal(again.predict(observations, deterministic=True)[0], expected)
