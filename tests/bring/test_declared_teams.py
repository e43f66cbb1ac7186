"""A Gymnasium environment that is joint already: the team is declared, controllers of the whole still fit."""

from __future__ import annotations

from inspect import signature
from typing import Any, ClassVar

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env
from pettingzoo.test import parallel_api_test
from sb3_contrib import MaskablePPO
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env as gym_vec_env

import cesma_sb3
from cesma_sb3.envs import make_vec_env, undivided_view
from cesma_sb3.envs.joint_env import JointEnv
from cesma_sb3.envs.partition import Partition, PartitionedEnv
from cesma_sb3.errors import CesmaError, ConfigError, EnvError, SpaceError
from cesma_sb3.spaces.agent_slices import AgentSlice
from cesma_sb3.training.evaluate_run import evaluate_run

ENV = "tests.bring.test_declared_teams:Cues"
TEAM = {"left": AgentSlice("1, 3:5", "1"), "right": AgentSlice("0:3", "0")}


class Cues(gymnasium.Env):
    """Two cues of two values each, and a number that both see; a choice is right if it is the other's place.

    Entries: cue of the right, the number, cue of the right again; then the left's. The choices of the right
    are three, of which the last is never right, and not available with `masked`.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": []}

    def __init__(self, masked: bool = False, length: int = 4) -> None:
        self.observation_space = spaces.Box(0.0, 1.0, (5,), np.float32)
        self.action_space = spaces.MultiDiscrete([3, 2])
        self.masked, self.length = masked, length
        if masked:
            self.action_masks = lambda: np.array([True, True, False, True, True])

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return self.observe(), {}

    def observe(self):
        self.right, self.left = self.np_random.integers(2, size=2)
        number = self.np_random.random()
        return np.array([self.right, number, self.right, self.left, self.left], dtype=np.float32)

    def step(self, action):
        reward = float(action[0] == self.right) + float(action[1] == self.left)
        self.t += 1
        return self.observe(), reward, False, self.t >= self.length, {}


def exact(observations):
    """A controller of the undivided environment."""
    return observations[:, [0, 3]]


def declared(**kwargs):
    return make_vec_env(ENV, kwargs=kwargs, team=TEAM, n_envs=3, seed=0)


def test_it_is_a_gymnasium_and_then_a_pettingzoo_environment():
    check_env(Cues(), skip_render_check=True)
    parallel_api_test(PartitionedEnv(Cues(), TEAM), num_cycles=20)


@pytest.mark.parametrize(
    ("method", "answer", "message"),
    [
        (
            "reset",
            np.zeros(5),
            r"step 0: raised ValueError: reset returned no \(observation, info\), but array",
        ),
        (
            "reset",
            (np.zeros(6), {}),
            r"step 0: raised ValueError: observation of shape \(6,\), expected \(5,\)",
        ),
        (
            "step",
            (np.zeros(5), 1.0, False, {}),
            r"step 1: raised ValueError: step returned no .*, but 4 values",
        ),
        ("step", (np.zeros(9), 1.0, False, False, {}), r"step 1: .*: observation of shape \(9,\), expected"),
        ("step", (np.zeros(5), None, False, False, {}), "step 1: left acted and has no reward"),
        (
            "step",
            (np.zeros(5), [1, 2], False, False, None),
            r"step 1: reward of left is \[1, 2\], expected a",
        ),
        (
            "step",
            (np.zeros(5), 1.0, False, "no", {}),
            "step 1: truncations of left are 'no', expected True or",
        ),
    ],
)
def test_answers_of_another_shape_are_one_line(method, answer, message):
    env = Cues()
    joint = JointEnv(PartitionedEnv(env, TEAM))
    joint.reset(seed=0)
    setattr(env, method, lambda *args, **kwargs: answer)
    with pytest.raises(EnvError, match=f"^Cues, {message}"):
        joint.reset() if method == "reset" else joint.step([0, 0])


def test_numbers_of_one_entry_are_numbers():
    env = Cues()
    joint = JointEnv(PartitionedEnv(env, TEAM))
    joint.reset(seed=0)
    env.step = lambda action: (np.ones(5), np.array([2]), np.array([False]), np.bool_(True), None)
    assert joint.step([0, 0])[1:4] == (2.0, False, True)


ONE = Cues()


def one_for_all():
    return ONE


def test_one_environment_for_all_is_refused():
    with pytest.raises(ConfigError, match="environments 0 and 1 are one and the same object"):
        make_vec_env(f"{__name__}:one_for_all", team=TEAM, n_envs=2)


def test_everybody_has_their_own():
    env = PartitionedEnv(Cues(), TEAM)
    observations, _ = env.reset(seed=3)
    whole, _ = Cues().reset(seed=3)
    np.testing.assert_array_equal(observations["left"], whole[[1, 3, 4]])
    np.testing.assert_array_equal(observations["right"], whole[[0, 1, 2]])
    assert env.action_space("right") == spaces.Discrete(3)
    assert env.action_space("left") == spaces.Discrete(2)
    _, rewards, terminations, truncations, _ = env.step({"left": int(whole[3]), "right": int(whole[0])})
    assert rewards == {"left": 2.0, "right": 2.0}
    assert not any((terminations | truncations).values())


def test_the_way_to_the_whole_and_back():
    venv = declared()
    partition = undivided_view(venv)
    joint = venv.reset()
    whole = partition.observations(joint)
    np.testing.assert_array_equal(whole[:, [1, 3, 4]], joint[:, :3])
    np.testing.assert_array_equal(whole[:, :3], joint[:, 3:])
    flags = np.arange(5)[None] + 10.0  # of the whole: three of the right, two of the left
    np.testing.assert_array_equal(partition.probabilities(flags)[0], [13, 14, 10, 11, 12])
    masks = np.array([[True, False, True, True, False]])
    np.testing.assert_array_equal(partition.probabilities(partition.masks(masks)), masks)
    np.testing.assert_array_equal(partition.actions(np.array([[2, 1]])), [[1, 2]])


def test_masks_of_the_environment():
    venv = declared(masked=True)
    venv.reset()
    np.testing.assert_array_equal(venv.agent_masks[0], [True, True, True, True, False])


@pytest.mark.no_cover
@pytest.mark.filterwarnings("ignore:.*env.action_masks to get variables:UserWarning")  # of 0.29
@pytest.mark.parametrize("kind", [PPO, MaskablePPO])
def test_a_model_of_the_undivided_environment(kind, tmp_path):
    masked = kind is MaskablePPO
    trained = gym_vec_env(lambda: Cues(masked), n_envs=4, seed=0)
    model = kind("MlpPolicy", trained, n_steps=64, gamma=0.0, learning_rate=3e-3, seed=0).learn(1800)
    env = {"id": ENV, "kwargs": {"masked": masked}, "team": {a: s._asdict() for a, s in TEAM.items()}}
    more = {"dagger.n_envs": 8, "evaluation": {"n_final_episodes": 32, "n_eval_episodes": 8, "n_envs": 4}}
    result = cesma_sb3.decentralize(
        model, env, total_timesteps=600, out=tmp_path / "run", **more, **{"dagger.labels": "soft"}
    )
    seen = np.stack([trained.reset()[0] for _ in range(20)])
    wanted = model.predict(seen, deterministic=True)[
        0
    ]  # the right's choice first; the team has the left first
    joint = seen[:, [1, 3, 4, 0, 1, 2]]  # what both see, the left first
    np.testing.assert_array_equal(result.expert.labels(joint), wanted[:, ::-1])
    halfway = (4 * (1 / 3 + 1 / 2) + 8) / 2  # from random to all right
    assert result.report["return"]["expert"] > halfway
    assert result.report["return"]["students"] > halfway
    assert evaluate_run(tmp_path / "run")["return"] == result.report["return"]


@pytest.mark.parametrize(
    "expert", [exact, {"left": lambda own: int(own[1]), "right": lambda own: int(own[0])}]
)
def test_functions(expert, tmp_path):
    env = {"id": ENV, "team": {a: s._asdict() for a, s in TEAM.items()}}
    more = {"dagger.n_envs": 8, "evaluation": {"n_final_episodes": 32, "n_eval_episodes": 8, "n_envs": 4}}
    result = cesma_sb3.decentralize(expert, env, total_timesteps=1000, out=tmp_path / "run", **more)
    assert result.report["return"]["expert"] == 8


@pytest.mark.parametrize(
    ("left", "right", "problem"),
    [
        (("1, 3:5", "1"), ("0:3", "1"), "action 0 belongs to 0 agents, expected one"),
        (("1, 3:5", "0:2"), ("0:3", "0"), "action 0 belongs to 2 agents, expected one"),
        (("3:6", "1"), ("0:3", "0"), r"left\.observation: '3:6', expected places below 5"),
        (("3:3", "1"), ("0:3", "0"), r"left\.observation: '3:3', expected places below 5"),
        (("all", "1"), ("0:3", "0"), r"left\.observation: 'all', expected such as '0:3, 5'"),
        (("3:5, 4", "1"), ("0:3", "0"), r"left\.observation: '3:5, 4' names a place twice"),
    ],
)
def test_what_is_no_division_is_told(left, right, problem):
    with pytest.raises(ConfigError, match=problem):
        PartitionedEnv(Cues(), {"left": AgentSlice(*left), "right": AgentSlice(*right)})


def test_other_spaces_are_refused():
    box, choices = spaces.Box(0, 1, (5,)), spaces.MultiDiscrete([3, 2])
    with pytest.raises(SpaceError, match=r"observation space is Discrete\(3\), expected Box"):
        Partition(TEAM, spaces.Discrete(3), choices)
    with pytest.raises(SpaceError, match=r"action space is Discrete\(3\), expected MultiDiscrete, "):
        Partition(TEAM, box, spaces.Discrete(3))
    numbers = Partition(TEAM, box, spaces.Box(-1, np.array([2, 3], np.float32)))
    assert numbers.action_spaces["right"] == spaces.Box(-1, 2, (1,))
    bits = Partition({"all": AgentSlice("0:5", "0:2")}, box, spaces.MultiBinary(2))
    assert bits.action_spaces["all"] == spaces.MultiBinary(2)


def test_the_hint_where_no_team_is_declared():
    with pytest.raises(CesmaError, match=r"Cues: expected a PettingZoo .*; env\.team says how another"):
        make_vec_env(ENV)
    with pytest.raises(CesmaError, match="a declared team, but no Gymnasium environment to divide"):
        make_vec_env("tests.envs_for_tests:MatchingGame", team=TEAM)


class Told(Cues):
    """Ends by itself after two steps, and remembers what it was told."""

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "name": "told"}

    def __init__(self) -> None:
        super().__init__()
        self.render_mode = "rgb_array"

    def reset(self, *, seed=None, options=None):
        self.options = options
        return super().reset(seed=seed)

    def step(self, action):
        observation, reward, _, _, info = super().step(action)
        return observation, reward, self.t == 2, False, info


def test_what_is_said_of_an_episode_reaches_everybody():
    env = PartitionedEnv(Told(), TEAM)
    assert env.metadata == {"render_modes": ["rgb_array"], "name": "told"}
    assert PartitionedEnv(Cues(), TEAM).metadata == {"render_modes": [], "name": "Cues"}
    assert env.render_mode == "rgb_array"
    env.reset(seed=0, options={"level": 3})
    assert env.env.options == {"level": 3}
    for ends in (False, True):
        _, _, terminations, truncations, _ = env.step({"left": 0, "right": 0})
        assert terminations == {"left": ends, "right": ends}
        assert truncations == {"left": False, "right": False}
    assert env.agents == []


def test_the_parts_of_other_spaces():
    numbers = spaces.Box(-1, np.array([2, 3], np.float64), dtype=np.float64)
    partition = Partition(TEAM, spaces.Box(0, 1, (5,), np.float64), numbers)
    assert partition.observation_spaces["left"] == spaces.Box(0, 1, (3,), np.float64)
    assert partition.action_spaces["right"] == spaces.Box(-1, 2, (1,), np.float64)
    assert partition.merge_actions({"left": np.array([2.5]), "right": np.array([0.25])}).dtype == np.float64
    two = {"one": AgentSlice("0:5", "0, 2"), "other": AgentSlice("0:5", "1")}
    box = spaces.Box(0, 1, (5,))
    choices = Partition(two, box, spaces.MultiDiscrete([3, 2, 4]))
    assert choices.action_spaces == {"one": spaces.MultiDiscrete([3, 4]), "other": spaces.Discrete(2)}
    switches = Partition(two, box, spaces.MultiBinary(3)).split_mask(np.array([1, 0, 1, 1, 0, 1]))
    assert {agent: flags.tolist() for agent, flags in switches.items()} == {
        "one": [True, False, False, True],
        "other": [True, True],
    }
    with pytest.raises(SpaceError, match="of one axis"):
        Partition(TEAM, box, spaces.MultiDiscrete([[3, 2]]))


@pytest.mark.skipif(
    "start" not in signature(spaces.MultiDiscrete).parameters, reason="this Gymnasium counts from 0"
)
def test_choices_that_are_counted_from_elsewhere():
    counted = spaces.MultiDiscrete([3, 2, 4], start=[5, 0, 1])
    two = {"one": AgentSlice("0:5", "0, 2"), "other": AgentSlice("0:5", "1")}
    partition = Partition(two, spaces.Box(0, 1, (5,)), counted)
    assert partition.action_spaces["one"] == spaces.MultiDiscrete([3, 4], start=[5, 1])
    assert partition.action_spaces["other"] == spaces.Discrete(2)
    alone = Partition(
        {"one": AgentSlice("0:5", "0"), "other": AgentSlice("0:5", "1:3")}, spaces.Box(0, 1, (5,)), counted
    )
    assert alone.action_spaces["one"] == spaces.Discrete(3, start=5)
