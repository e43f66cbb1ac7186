"""Models that see a matrix or a Dict, or do a product; environments whose actions are Dicts or Tuples."""

from __future__ import annotations

from typing import Any, ClassVar

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st
from sb3_contrib import QRDQN
from stable_baselines3 import DQN, PPO
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

import cesma_sb3
from cesma_sb3.envs import make_vec_env, undivided_view
from cesma_sb3.envs.joint_env import JointEnv
from cesma_sb3.envs.partition import PartitionedEnv
from cesma_sb3.errors import ExpertError, SpaceError
from cesma_sb3.experts.adapt import adapt_expert
from cesma_sb3.experts.observation_forms import unflatten
from cesma_sb3.spaces.agent_slices import AgentSlice
from cesma_sb3.spaces.agent_spaces import ActionColumns, flatten
from cesma_sb3.spaces.team_spaces import TeamSpaces

SEEN = {
    "vector": spaces.Box(0.0, 1.0, (4,), np.float32),
    "matrix": spaces.Box(0.0, 1.0, (2, 2), np.float32),
    "dict": spaces.Dict({agent: spaces.Box(0.0, 1.0, (2,), np.float32) for agent in ("left", "right")}),
}
DONE = {
    "columns": spaces.MultiDiscrete([2, 2]),
    "tuple": spaces.Tuple([spaces.Discrete(2), spaces.Discrete(2)]),
    "dict": spaces.Dict({"left": spaces.Discrete(2), "right": spaces.Discrete(2)}),
}


class Switches(gymnasium.Env):
    """Two cues, one-hot, the left's first; a switch is right if it is set as its cue says."""

    metadata: ClassVar[dict[str, Any]] = {"render_modes": []}

    def __init__(self, seen: str = "vector", done: str = "columns", length: int = 4) -> None:
        self.observation_space, self.action_space, self.length = SEEN[seen], DONE[done], length

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return self.observe(), {}

    def observe(self):
        self.cues = self.np_random.integers(2, size=2)
        rows = np.eye(2, dtype=np.float32)[self.cues]
        if isinstance(self.observation_space, spaces.Dict):
            return {"left": rows[0], "right": rows[1]}
        return rows.reshape(self.observation_space.shape)

    def step(self, action):
        assert self.action_space.contains(action)
        set_to = list(action.values()) if isinstance(action, dict) else list(action)
        self.t += 1
        reward = float(sum(np.array(set_to) == self.cues))
        return self.observe(), reward, False, self.t >= self.length, {}


class Product(gymnasium.ActionWrapper):
    """The two switches as one of four combinations, for DQN."""

    def __init__(self, env: gymnasium.Env) -> None:
        super().__init__(env)
        self.action_space = spaces.Discrete(4)

    def action(self, action):
        return np.array([action // 2, action % 2])


ENV = f"{__name__}:Switches"
# The right is the first agent, and sees the left's cue too.
TEAM = {"right": AgentSlice("2:4, 0:2", "1"), "left": AgentSlice("0:2", "0")}
JOINT = [2, 3, 0, 1, 0, 1]


def rows(n=8):
    cues = np.random.default_rng(0).integers(2, size=(n, 2))
    return np.eye(2, dtype=np.float32)[cues].reshape(n, 4)


@pytest.mark.parametrize("seen", SEEN)
@pytest.mark.parametrize("kind", [PPO, DQN, QRDQN])
def test_a_model_of_the_undivided_environment(kind, seen):
    policy = "MultiInputPolicy" if seen == "dict" else "MlpPolicy"
    env = Switches(seen) if kind is PPO else Product(Switches(seen))
    model = kind(policy, env, seed=0)
    venv = make_vec_env(ENV, kwargs={"seen": seen}, team=TEAM, n_envs=2, seed=0)
    expert = adapt_expert(model, venv.team, undivided=undivided_view(venv))
    whole = rows()
    wanted, _ = model.predict(unflatten(env.observation_space, whole), deterministic=True)
    columns = wanted if kind is PPO else np.stack([wanted // 2, wanted % 2], axis=1)
    np.testing.assert_array_equal(expert.labels(whole[:, JOINT]), columns[:, ::-1])
    soft = expert.probabilities(whole[:, JOINT])
    np.testing.assert_allclose(soft.sum(axis=1), 2.0, atol=1e-5)


@pytest.mark.parametrize("normalized", [False, True])
@pytest.mark.parametrize("seen", ["matrix", "dict"])
def test_a_model_with_a_row_or_a_name_for_each_agent(seen, normalized):
    team = TeamSpaces(
        ["right", "left"],
        dict.fromkeys(("left", "right"), spaces.Box(0.0, 1.0, (2,))),
        dict.fromkeys(("left", "right"), spaces.Discrete(2)),
    )
    env: Any = DummyVecEnv([lambda: Switches(seen)])
    env = VecNormalize(env, norm_reward=False) if normalized else env
    model = PPO("MultiInputPolicy" if seen == "dict" else "MlpPolicy", env, n_steps=8, batch_size=8, seed=0)
    model.learn(8)
    joint = rows()
    given = joint.reshape(-1, 2, 2) if seen == "matrix" else {"right": joint[:, :2], "left": joint[:, 2:]}
    given = model.get_vec_normalize_env().normalize_obs(given) if normalized else given
    wanted, _ = model.predict(given, deterministic=True)
    np.testing.assert_array_equal(adapt_expert(model, team).labels(joint), wanted)


def test_observations_of_others_are_refused():
    team = TeamSpaces(["a"], {"a": spaces.Box(0.0, 1.0, (3,))}, {"a": spaces.MultiDiscrete([2, 2])})
    for seen in SEEN:
        policy = "MultiInputPolicy" if seen == "dict" else "MlpPolicy"
        with pytest.raises(
            ExpertError, match=r"PPO: its observation space is .*, the team's is Box.*of a\b|for e"
        ):
            adapt_expert(PPO(policy, Switches(seen)), team)


def test_a_run_with_dqn_on_named_observations(tmp_path):
    values = {"learning_starts": 50, "gamma": 0.0, "learning_rate": 3e-3, "exploration_fraction": 0.5}
    model = DQN("MultiInputPolicy", Product(Switches("dict")), seed=0, **values).learn(1000)
    env = {
        "id": ENV,
        "kwargs": {"seen": "dict", "done": "dict"},
        "team": {agent: own._asdict() for agent, own in TEAM.items()},
    }
    more = {"dagger.n_envs": 8, "evaluation": {"n_final_episodes": 16, "n_eval_episodes": 8, "n_envs": 4}}
    result = cesma_sb3.decentralize(model, env, total_timesteps=800, out=tmp_path / "run", **more)
    assert result.report["return"]["expert"] == 8
    assert result.report["return"]["students"] > 6


@pytest.mark.parametrize("done", DONE)
def test_actions_are_columns(done):
    joint = JointEnv(PartitionedEnv(Switches("dict", done), TEAM))
    assert joint.action_space == spaces.MultiDiscrete([2, 2])
    observation, _ = joint.reset(seed=0)
    for _ in range(4):
        right, left = observation[1], observation[5]
        observation, reward, *_ = joint.step(np.array([int(right), int(left)]))
        assert reward == 2.0


def test_choices_and_numbers_by_name():
    class Arm(gymnasium.Env):
        observation_space = spaces.Box(0.0, 1.0, (2,), np.float32)
        action_space = spaces.Dict(
            {"grip": spaces.Discrete(3, start=1), "move": spaces.Box(-2.0, 2.0, (2,), np.float32)}
        )

        def reset(self, *, seed=None, options=None):
            return np.zeros(2, np.float32), {}

        def step(self, action):
            assert self.action_space.contains(action)
            self.sent = action
            return np.zeros(2, np.float32), 1.0, False, False, {}

    env = Arm()
    whole = {"hand": AgentSlice("0:2", "0, 2"), "elbow": AgentSlice("0:2", "1")}
    joint = JointEnv(PartitionedEnv(env, whole))
    joint.reset(seed=0)
    joint.step(np.array([2.0, 0.5, -1.5], dtype=np.float32))
    assert env.sent["grip"] == 3
    np.testing.assert_array_equal(env.sent["move"], np.array([-1.5, 0.5], np.float32))
    assert TeamSpaces.from_json(joint.team.to_json()) == joint.team


MEMBERS = st.sampled_from(
    [
        spaces.Discrete(3, start=-1),
        spaces.MultiDiscrete([2, 4]),
        spaces.MultiBinary(2),
        spaces.Box(-1.0, 2.0, (2, 2), np.float32),
    ]
)
SPACES = st.recursive(
    MEMBERS,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(spaces.Tuple),
        st.dictionaries(st.sampled_from("abc"), inner, min_size=1, max_size=3).map(spaces.Dict),
    ),
    max_leaves=5,
)


def same(first, second):
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[key], second[key]) for key in first)
    if isinstance(first, tuple):
        return len(first) == len(second) and all(map(same, first, second))
    return np.array_equal(first, second)


@given(space=SPACES, seed=st.integers(0, 1000))
def test_the_way_to_columns_and_back(space, seed):
    space.seed(seed)
    action = space.sample()
    columns = ActionColumns.of(space)
    packed = columns.encode(action)
    assert packed.shape == (columns.n_columns,)
    assert same(dict(action) if isinstance(action, dict) else action, columns.decode(packed))
    assert space.contains(columns.decode(packed))


@given(space=SPACES, seed=st.integers(0, 1000))
def test_the_way_to_a_vector_and_back(space, seed):
    space.seed(seed)
    value = space.sample()
    batch = unflatten(space, flatten(space, value)[None])
    assert same(first_of(batch), dict(value) if isinstance(value, dict) else value)


def first_of(batch):
    if isinstance(batch, dict):
        return {key: first_of(each) for key, each in batch.items()}
    return tuple(map(first_of, batch)) if isinstance(batch, tuple) else batch[0]


def test_actions_of_another_form_are_one_line():
    columns = ActionColumns.of(DONE["dict"])
    for action in ({"left": 0}, 3, None):
        with pytest.raises(SpaceError, match=r"^action .*, expected an element of Dict"):
            columns.encode(action)
    np.testing.assert_array_equal(columns.flat_mask({"left": [1, 0], "right": [0, 1]}), [1, 0, 0, 1])
