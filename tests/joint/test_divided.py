"""A divided environment: cutting and joining lose nothing, messages arrive, experts see what nobody does."""

from __future__ import annotations

from typing import Any, ClassVar

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st
from pettingzoo.test import parallel_api_test
from stable_baselines3 import SAC

import cesma_sb3
from cesma_sb3.envs import make_vec_env, undivided_view
from cesma_sb3.envs.joint_env import JointEnv
from cesma_sb3.envs.partition import Partition, PartitionedEnv
from cesma_sb3.errors import ConfigError, EnvError
from cesma_sb3.spaces.agent_slices import AgentSlice, partition_indices
from cesma_sb3.spaces.communication import MessageChannel
from cesma_sb3.spaces.team_spaces import TeamSpaces

ENV = "tests.joint.test_divided:Arm"
TEAM = {"shoulder": AgentSlice("0, 2", "0"), "elbow": AgentSlice("1:3", "1")}
SLICES = {agent: own._asdict() for agent, own in TEAM.items()}


class Arm(gymnasium.Env):
    """Two joints shall take the angles of two targets; the entries are the angles, their sum, the targets."""

    metadata: ClassVar[dict[str, Any]] = {"render_modes": []}

    def __init__(self, n_choices: int = 0) -> None:
        self.observation_space = spaces.Box(-np.inf, np.inf, (5,), np.float64)
        self.action_space = spaces.Box(-1.0, 1.0, (2,), np.float32)
        if n_choices:
            self.action_space = spaces.MultiDiscrete([n_choices, n_choices])

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.angles, self.targets, self.t = np.zeros(2), self.np_random.uniform(-1, 1, 2), 0
        return self.observe(), {}

    def observe(self):
        return np.concatenate([self.angles, [self.angles.sum()], self.targets])

    def step(self, action):
        self.angles = np.asarray(action, dtype=np.float64)
        self.t += 1
        return self.observe(), -float(np.abs(self.angles - self.targets).sum()), False, self.t == 5, {}


def reach(observations):
    """The best controller of the whole arm, which alone sees the targets."""
    return observations[:, 3:]


def declared(**kwargs):
    return make_vec_env(ENV, team=TEAM, n_envs=2, seed=0, **kwargs)


def test_what_no_agent_observes_is_the_end_of_the_joint_observation():
    venv = declared()
    joint = venv.reset()
    view = undivided_view(venv)
    assert venv.team.observation_sizes == (2, 2)
    assert joint.shape == (2, 6)
    assert TeamSpaces.from_json(venv.team.to_json()) == venv.team
    np.testing.assert_array_equal(view.full_observations(view.observations(joint)), joint)
    joint, _, _, _ = venv.step(np.array([[0.25, -0.5], [0.5, 0.5]]))
    np.testing.assert_allclose(joint[0, :4], [0.25, -0.25, -0.5, -0.25])  # own angle, sum; own angle, sum
    np.testing.assert_allclose(view.observations(joint)[0, :3], [0.25, -0.5, -0.25])
    assert partition_indices(TEAM, venv.team)["elbow"]["observation"]["size"] == 5


def test_the_order_of_agents_leaves_what_is_unseen_at_the_end():
    venv = declared(agents=["elbow", "shoulder"])
    joint, whole = venv.reset(), Arm().reset(seed=0)[0]
    np.testing.assert_allclose(joint[0, 4:], whole[3:], rtol=1e-6)
    np.testing.assert_allclose(undivided_view(venv).observations(joint)[0], whole, rtol=1e-6)


@pytest.mark.parametrize(("seen", "problem"), [([np.nan, 0.0], r"entry 0 is nan"), ([0.0], r"shape \(1,\)")])
def test_what_is_unseen_is_checked(seen, problem):
    env = PartitionedEnv(Arm(), TEAM)
    env.unseen = lambda: np.array(seen)
    with pytest.raises(EnvError, match=rf"Arm, step 0: unseen\(\): {problem}"):
        JointEnv(env).reset(seed=0)


@settings(max_examples=25, deadline=None)
@given(st.data())
def test_cutting_and_joining_is_the_identity(data):
    n_entries, n_columns = data.draw(st.integers(1, 8)), data.draw(st.integers(2, 5))
    names = [f"agent_{i}" for i in range(data.draw(st.integers(2, n_columns)))]
    more = [data.draw(st.sampled_from(names)) for _ in range(n_columns - len(names))]
    owners = data.draw(st.permutations([*names, *more]))
    columns = {name: [i for i, owner in enumerate(owners) if owner == name] for name in names}
    seen = st.lists(st.integers(0, n_entries - 1), min_size=1, unique=True)
    slices = {
        name: AgentSlice(", ".join(map(str, data.draw(seen))), ", ".join(map(str, columns[name])))
        for name in names
    }
    message_size = data.draw(st.integers(0, 2))
    partition = Partition(
        slices, spaces.Box(-np.inf, np.inf, (n_entries,)), spaces.Box(-1.0, 1.0, (n_columns,)), message_size
    )
    team = TeamSpaces(
        names,
        partition.observation_spaces,
        partition.action_spaces,
        {name: partition.layout(name) for name in names},
        unseen_space=partition.unseen_space,
    )
    rng, view = np.random.default_rng(0), partition.undivided_view(team)
    whole = rng.normal(size=n_entries).astype(np.float32)
    action = rng.uniform(-1, 1, n_columns).astype(np.float32)
    heard = np.zeros((len(names) - 1) * message_size)
    split = {name: np.append(own, heard) for name, own in partition.split_observation(whole).items()}
    joint = team.join_observations(split)
    joint[team.unseen_slice] = partition.unseen(whole)
    np.testing.assert_array_equal(view.observations(joint), whole)
    np.testing.assert_array_equal(view.full_observations(whole), joint)
    packed = view.actions(action[None])[0]
    np.testing.assert_array_equal(partition.merge_actions(team.split_actions(packed)), action)


def test_numbers_are_received_by_all_others_one_step_later():
    env = PartitionedEnv(Arm(), {**TEAM, "elbow": AgentSlice("1:3", "1")}, message_size=2)
    parallel_api_test(env, num_cycles=10)
    observations, _ = env.reset(seed=0)
    np.testing.assert_array_equal(observations["shoulder"], [0, 0, 0, 0])
    sent = {"shoulder": np.array([0.5, 1, -1], np.float32), "elbow": np.array([0.25, 0.5, 0], np.float32)}
    observations, *_ = env.step(sent)
    np.testing.assert_array_equal(observations["shoulder"], [0.5, 0.75, 0.5, 0])
    np.testing.assert_array_equal(observations["elbow"], [0.25, 0.75, 1, -1])
    joint = JointEnv(env)
    channel = MessageChannel.of(joint.team)
    joint.reset(seed=0)
    packed = np.array([0.5, 1, -1, 0.25, 0.5, 0], np.float32)
    np.testing.assert_array_equal(joint.step(packed)[0][channel.places], channel.encode(packed))


def test_symbols_are_received_one_hot():
    env = PartitionedEnv(Arm(n_choices=2), TEAM, message_size=3)
    assert env.action_space("elbow") == spaces.MultiDiscrete([2, 3])
    env.reset(seed=0)
    observations, *_ = env.step({"shoulder": np.array([1, 2]), "elbow": np.array([0, 1])})
    np.testing.assert_array_equal(observations["elbow"][2:], [0, 0, 1])
    np.testing.assert_array_equal(env.env.angles, [1, 0])
    masks = env.partition.split_mask(np.array([True, False, True, True]))
    np.testing.assert_array_equal(masks["shoulder"], [True, False, True, True, True])


def test_messages_need_a_divided_environment_and_somebody_to_hear_them():
    with pytest.raises(ConfigError, match=r"message_size: expected 0 without env\.team, got 2"):
        make_vec_env("tests.envs_for_tests:MatchingGame", message_size=2)
    with pytest.raises(ConfigError, match="message_size: expected 0 for a team of one agent"):
        PartitionedEnv(Arm(), {"all": AgentSlice("0:5", "0:2")}, message_size=2)


SHORT = {
    "dagger": {"n_envs": 4, "batch_size": 16, "samples_per_update": 4},
    "evaluation": {"n_final_episodes": 16, "n_eval_episodes": 4, "n_envs": 4},
}


def test_an_expert_sees_what_its_students_do_not(tmp_path):
    told = {"shoulder": AgentSlice("0, 2:4", "0")._asdict(), "elbow": AgentSlice("1:3", "1")._asdict()}
    env = {"id": ENV, "team": told, "message_size": 1}
    result = cesma_sb3.decentralize(reach, env, total_timesteps=800, out=tmp_path / "run", **SHORT)
    assert result.report["return"]["expert"] == pytest.approx(0, abs=1e-4)
    assert result.report["return"]["students"] > result.report["return"]["random"] + 1


def test_an_expert_is_trained_on_the_whole_environment(tmp_path):
    values = {
        "name": "arm",
        "env": {"id": ENV, "team": SLICES, "message_size": 2},
        "expert": {
            "algorithm": "SAC",
            "total_timesteps": 60,
            "n_envs": 2,
            "kwargs": {"learning_starts": 20, "batch_size": 8},
            "policy_kwargs": {"net_arch": [8]},
        },
        **SHORT,
    }
    values["dagger"] = {**SHORT["dagger"], "total_timesteps": 40}
    file = tmp_path / "arm.yaml"
    file.write_text(str(values).replace("'", '"'))
    result = cesma_sb3.run(file, out=tmp_path / "run")
    model = SAC("MlpPolicy", Arm(), policy_kwargs={"net_arch": [8]}, buffer_size=10)
    assert result.expert.expert.model.observation_space.shape == model.observation_space.shape
    model.policy.load_state_dict(result.expert.expert.model.policy.state_dict())
    assert cesma_sb3.evaluate_run(tmp_path / "run")["return"] == result.report["return"]
