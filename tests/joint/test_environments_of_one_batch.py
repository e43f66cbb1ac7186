"""Environments that are stepped together: each is one of its own, and all are like the first."""

from contextlib import closing
from functools import partial

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from pettingzoo.utils.wrappers import BaseParallelWrapper

from cesma_sb3.config.registry import make_experiment
from cesma_sb3.envs import joint_vec_env as vec_env
from cesma_sb3.envs.joint_env import JointEnv
from cesma_sb3.envs.joint_vec_env import joint_vec_env
from cesma_sb3.envs.subproc import EnvGroup
from cesma_sb3.errors import ConfigError, EnvError, SpaceError
from cesma_sb3.spaces.layout import AgentLayout, ObservationLayout, Part
from cesma_sb3.training.evaluator import joint_env
from tests.envs_for_tests import MatchingGame, MortalEnv


class Numbered(MatchingGame):
    """The environments differ from the one called `odd` on in what `change` changes."""

    made = 0

    def __init__(self, change, odd: int = 2) -> None:
        super().__init__()
        type(self).made += 1
        if type(self).made > odd:
            change(self)


def reversed_agents(env):
    env.possible_agents = ["player_1", "player_0"]


def another_agent(env):
    env.possible_agents = ["player_0", "player_2"]


def more_agents(env):
    env.possible_agents = ["player_0", "player_1", "player_2"]


def other_bounds(env):
    env.seen = spaces.Box(0.0, 2.0, (3,), np.float32)


def other_actions(env):
    env.played = spaces.MultiDiscrete([3])


def another_layout(env):
    parts = (Part("first", "own", size=1), Part("rest", "entities", 2, 1))
    env.layout = lambda agent: AgentLayout(ObservationLayout(parts))


def masks(env):
    env.masks_in_infos = True


def pictures(env):
    env.render_mode = "rgb_array"


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        (reversed_agents, r"the agents: \['player_1', 'player_0'\], expected \['player_0', 'player_1'\]"),
        (another_agent, r"the agents: \['player_0', 'player_2'\], expected"),
        (more_agents, r"the agents: \['player_0', 'player_1', 'player_2'\], expected"),
        (other_bounds, r"the observation space of player_0: Box\(0.0, 2.0, .* expected Box\(0.0, 1.0, "),
        (other_actions, r"the action space of player_0: MultiDiscrete\(\[3\]\), expected Discrete\(3\)"),
        (another_layout, "the layout of player_0"),
        (masks, r"the agents with action masks: \['player_0', 'player_1'\], expected \[\]"),
        (pictures, "the render mode: 'rgb_array', expected None"),
    ],
)
def test_the_first_that_differs_is_named_and_how(change, difference, monkeypatch):
    monkeypatch.setattr(Numbered, "made", 0)
    with pytest.raises(SpaceError, match=f"^environment 2 differs from environment 0: {difference}") as told:
        joint_vec_env(partial(Numbered, change), 4)
    assert "\n" not in str(told.value)


def test_another_group_is_compared_with_the_first():
    first, odd = MatchingGame, partial(Numbered, other_actions, odd=0)
    makers = enumerate((first, first, odd))
    groups = [EnvGroup(lambda make=make: JointEnv(make()), [i]) for i, make in makers]
    with pytest.raises(
        SpaceError, match="environment 2 differs from environment 0: the action space of play"
    ):
        vec_env.GroupedVecEnv(groups)


class Wrapped(BaseParallelWrapper):
    """A wrapper of its own around what may be everybody's."""


ONE = MatchingGame()


@pytest.mark.parametrize(
    ("make", "processes"),
    [(lambda: ONE, 0), (lambda: Wrapped(ONE), 0), (lambda: Wrapped(Wrapped(ONE)), 0), (lambda: ONE, 1)],
)
def test_one_object_for_all_is_refused(make, processes):
    with pytest.raises(
        ConfigError, match=r"^environments 0 and 1 are one and the same object: the function th"
    ):
        joint_vec_env(make, 3, processes=processes)


def test_an_object_that_two_batches_share_is_noticed_where_it_is_stepped():
    training, measuring = (joint_vec_env(lambda: ONE, 1) for _ in range(2))
    training.reset()
    training.step(np.zeros((1, 2), int))
    measuring.reset()
    measuring.step(np.zeros((1, 2), int))
    with pytest.raises(EnvError, match=r"^environment 0: small, step 1: was reset by another joint env"):
        training.step(np.zeros((1, 2), int))
    training.reset()  # one after the other is what everybody may do
    training.step(np.zeros((1, 2), int))


def test_what_was_made_before_the_odd_one_is_closed(monkeypatch):
    closed = []
    monkeypatch.setattr(Numbered, "made", 0)
    monkeypatch.setattr(Numbered, "close", lambda env: closed.append(env.made))
    with pytest.raises(SpaceError, match="environment 2 differs"):
        joint_vec_env(partial(Numbered, other_bounds), 4)
    assert len(closed) == 3


class Endless(MatchingGame):
    def __init__(self) -> None:
        super().__init__(length=10**18)


class EndlessPlant(gymnasium.Env):
    """Joint already, for `env.team`, and without an end."""

    observation_space = spaces.Box(0, 1, (2,), np.float32)
    action_space = spaces.MultiDiscrete([2, 2])

    def reset(self, seed=None, options=None):
        return np.ones(2, np.float32), {}

    def step(self, action):
        return np.ones(2, np.float32), 1.0, False, False, {}


HERE = "tests.joint.test_environments_of_one_batch"
SHARES = {"a": {"observation": "0", "action": "0"}, "b": {"observation": "1", "action": "1"}}


@pytest.mark.parametrize(
    "env",
    [
        {"id": f"{HERE}:Endless"},
        {"id": f"{HERE}:EndlessPlant", "team": SHARES},
        {"id": "spread", "kwargs": {"n_agents": 2}},
        {"id": "spread", "kwargs": {"n_agents": 2}, "wrappers": [{"name": "frame_stack_v1"}]},
    ],
)
def test_an_experiment_says_max_steps_of_any_environment(env):
    expert = {"algorithm": "PPO", "total_timesteps": 1}
    values = {
        "name": "short",
        "env": {**env, "max_steps": 4},
        "expert": expert,
        "dagger": {"total_timesteps": 1},
    }
    venv = joint_env(make_experiment(values, {}, called="here").env, 2, seed=0)
    venv.reset()
    ends = [venv.step(np.zeros((2, 2), int))[2].tolist() for _ in range(8)]
    assert ends == ([[False, False]] * 3 + [[True, True]]) * 2


def test_max_steps_truncates_and_keeps_the_last_observation():
    env = JointEnv(Endless(), max_steps=3)
    for _ in range(2):
        env.reset(seed=0)
        steps = [env.step(np.zeros(2, int)) for _ in range(3)]
        assert [step[2:4] for step in steps] == [(False, False), (False, False), (False, True)]
        observation, *_, info = steps[-1]
        assert info["alive"].all()
        assert observation.sum() == 2  # the cue of each
        assert sum(info["agent_returns"].values()) == 2 * sum(step[1] for step in steps)
        with pytest.raises(EnvError, match="after the end of the episode"):
            env.step(np.zeros(2, int))


def test_max_steps_leaves_earlier_ends_and_earlier_deaths_as_they_are():
    env = JointEnv(MortalEnv(deaths=(1, None), length=4, masks=None), team_reward="sum", max_steps=2)
    env.reset(seed=0)
    env.step(np.zeros(2, int))
    observation, _, terminated, truncated, info = env.step(np.zeros(2, int))
    assert (terminated, truncated) == (False, True)
    assert info["alive"].tolist() == [False, True]
    np.testing.assert_array_equal(observation, [0, 0, 2, 2])
    env = JointEnv(MortalEnv(deaths=(2, 2), masks=None), team_reward="sum", max_steps=2)
    env.reset(seed=0)
    env.step(np.zeros(2, int))
    assert env.step(np.zeros(2, int))[2:4] == (True, False)  # all died in the very step of the limit
    with pytest.raises(ConfigError, match="max_steps: expected at least 1, got 0"):
        JointEnv(Endless(), max_steps=0)


@pytest.mark.parametrize("processes", [0, 1])
def test_max_steps_holds_for_every_environment_of_a_batch(processes):
    with closing(joint_vec_env(Endless, 2, seed=0, max_steps=2, processes=processes)) as venv:
        venv.reset()
        ends = []
        for _ in range(4):
            _, _, dones, infos = venv.step(np.zeros((2, 2), int))
            ends.append(dones.tolist())
        assert ends == [[False, False], [True, True]] * 2
        assert infos[0]["TimeLimit.truncated"]
        assert infos[0]["episode"]["l"] == 2


@pytest.mark.parametrize(("max_steps", "warnings"), [(None, 1), (20, 0)])
def test_an_episode_without_an_end_is_told_once(max_steps, warnings, monkeypatch, recwarn):
    monkeypatch.setattr(vec_env, "LONG_EPISODE", 5)
    venv = joint_vec_env(Endless, 2, max_steps=max_steps)
    venv.reset()
    for _ in range(15):
        venv.step(np.zeros((2, 2), int))
    told = [str(warning.message) for warning in recwarn]
    assert len(told) == warnings
    assert all(t.startswith("small (environment 0): an episode has not ended after 5 steps; ") for t in told)
    assert all("env.max_steps" in t for t in told)
