"""MuJoCo's robots as teams: MaMuJoCo's agents, entries and actions, on the robot that SB3's models know."""

from __future__ import annotations

import builtins

import gymnasium
import numpy as np
import pytest
from stable_baselines3 import SAC
from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

import cesma_sb3
from cesma_sb3.deploy.export import export
from cesma_sb3.envs import make_parallel_env, make_vec_env, undivided_view
from cesma_sb3.envs.robots import NAMES, ROBOTS, plain_robot, robot_team
from cesma_sb3.errors import ConfigError, MissingExtraError, UnknownNameError
from cesma_sb3.spaces.agent_slices import AgentSlice

MODERN = "HalfCheetah-v5" in gymnasium.registry
SCENARIOS = {name: robot.name for name, robot in ROBOTS.items()}


@pytest.fixture(scope="module")
def mujoco():
    return pytest.importorskip("mujoco", reason="the extra [mujoco] is not installed")


def test_a_joint_sees_itself_its_neighbours_and_the_torso():
    team, made = robot_team("mujoco-halfcheetah-6x1", {"obsk": 1, "version": 4, "max_episode_steps": 5})
    assert made == {"robot": "HalfCheetah-v4", "size": 17, "max_episode_steps": 5}
    assert list(team) == [f"agent_{i}" for i in range(6)]
    # The shin behind: its position and velocity, the foot's and the thigh's position, then the torso.
    assert team["agent_1"] == AgentSlice("3, 12, 4, 2, 0, 1, 8, 9, 10", "1")
    assert (
        robot_team("mujoco-halfcheetah-6x1", {"obsk": 0})[0]["agent_1"].observation == "3, 12, 0, 1, 8, 9, 10"
    )
    everything, _ = robot_team("mujoco-ant-4x2", {"obsk": None, "version": 4})
    assert everything["agent_3"] == AgentSlice(", ".join(map(str, range(27))), "0, 1")


@pytest.mark.parametrize("name", NAMES)
def test_every_column_has_one_agent_and_every_entry_is_seen(name):
    team, made = robot_team(name, {"obsk": 0})
    columns = sorted(int(i) for own in team.values() for i in own.action.split(","))
    assert columns == list(range(len(columns)))
    assert {int(i) for own in team.values() for i in own.observation.split(",")} == set(range(made["size"]))


@pytest.mark.parametrize(
    ("name", "kwargs", "error", "problem"),
    [
        ("mujoco-halfcheetah-6x2", {}, UnknownNameError, "did you mean 'mujoco-halfcheetah-6x1'"),
        ("mujoco-hopper-3x1", {"obsk": -1}, ConfigError, r"env\.kwargs\.obsk: expected .* got -1"),
        ("mujoco-hopper-3x1", {"obsk": "all"}, ConfigError, r"env\.kwargs\.obsk: expected .* got 'all'"),
        ("mujoco-hopper-3x1", {"version": "v4"}, ConfigError, r"env\.kwargs\.version: expected"),
    ],
)
def test_what_is_no_robot_is_told(name, kwargs, error, problem):
    with pytest.raises(error, match=problem):
        make_vec_env(name, kwargs=kwargs)


def test_a_robot_has_its_team():
    with pytest.raises(ConfigError, match="team: expected null, for mujoco-hopper-3x1 says itself"):
        make_vec_env("mujoco-hopper-3x1", team={"all": AgentSlice("0:11", "0:3")})


def test_without_mujoco_its_extra_is_named(monkeypatch):
    plain = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "mujoco":
            raise ModuleNotFoundError("No module named 'mujoco'", name="mujoco")
        return plain(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtraError, match=r"Hopper-v\d needs the extra \[mujoco\]: .*pip install"):
        make_vec_env("mujoco-hopper-3x1")


@pytest.mark.usefixtures("mujoco")
def test_arguments_that_change_what_is_observed_are_refused():
    problem = r"env\.kwargs: HalfCheetah-v\d: its observation is of shape \(18,\), expected \(17,\)"
    with pytest.raises(ConfigError, match=problem):
        make_parallel_env("mujoco-halfcheetah-2x3", {"exclude_current_positions_from_observation": False})
    with pytest.raises(ConfigError, match=r"env\.kwargs: .*unexpected keyword argument 'legs'"):
        make_parallel_env("mujoco-halfcheetah-2x3", {"legs": 3})
    with pytest.raises(ConfigError, match=r"env\.kwargs\.version: .*version `v17`"):
        plain_robot("Hopper-v17", 11)


@pytest.mark.usefixtures("mujoco")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("obsk", [0, 1, 2])
@pytest.mark.parametrize("name", NAMES)
def test_agents_observe_what_mamujoco_gives_them(name, obsk):
    mamujoco = pytest.importorskip(
        "gymnasium_robotics.envs.multiagent_mujoco.mamujoco_v1",
        reason="no MaMuJoCo v1 is installed",
    )
    _, robot, way = name.split("-")
    ours, theirs = make_parallel_env(name, {"obsk": obsk}), mamujoco.parallel_env(SCENARIOS[robot], way, obsk)
    assert ours.possible_agents == theirs.possible_agents
    rng = np.random.default_rng(0)
    seen, wanted = ours.reset(seed=1)[0], theirs.reset(seed=1)[0]
    for _ in range(5):
        for agent in ours.agents:
            assert ours.action_space(agent) == theirs.action_space(agent)
            # Gymnasium's Walker2d clips velocities; MaMuJoCo reads them from the simulator.
            expected = np.clip(wanted[agent], -10, 10) if robot == "walker2d" else wanted[agent]
            np.testing.assert_allclose(seen[agent], expected, rtol=1e-6)
        actions = {a: rng.uniform(-1, 1, ours.action_space(a).shape).astype(np.float32) for a in ours.agents}
        seen, rewards, *_ = ours.step(actions)
        wanted, their_rewards, *_ = theirs.step(actions)
        assert rewards["agent_0"] == pytest.approx(their_rewards["agent_0"], rel=1e-6)


@pytest.mark.usefixtures("mujoco")
@pytest.mark.filterwarnings("ignore:.*out of date:DeprecationWarning")
def test_a_zip_of_the_plain_robot_becomes_a_team(tmp_path):
    version = 5 if MODERN else 4
    plain = VecNormalize(DummyVecEnv([lambda: gymnasium.make(f"HalfCheetah-v{version}")]), norm_reward=False)
    model = SAC("MlpPolicy", plain, learning_starts=20, policy_kwargs={"net_arch": [8]}, seed=0).learn(30)
    model.save(tmp_path / "robot.zip")
    plain.save(str(tmp_path / "vecnormalize.pkl"))
    more = {
        "env.kwargs": {"obsk": 1, "max_episode_steps": 10},
        "env.message_size": 1,
        "dagger": {"n_envs": 2, "batch_size": 16, "experience.rollout_timesteps": 20},
        "evaluation": {"n_final_episodes": 2, "n_eval_episodes": 2, "n_envs": 2},
        "expert.deterministic": True,
    }
    result = cesma_sb3.decentralize(
        tmp_path / "robot.zip",
        "mujoco-halfcheetah-6x1",
        algorithm="SAC",
        trust=True,
        normalization=tmp_path / "vecnormalize.pkl",
        total_timesteps=20,
        out=tmp_path / "run",
        overrides=more,
    )
    assert result.students.team.observation_sizes == (14, 14, 13, 14, 14, 13)
    venv = make_vec_env("mujoco-halfcheetah-6x1", kwargs={"obsk": 1}, message_size=1, n_envs=2, seed=0)
    joint = venv.reset()
    whole = undivided_view(venv).observations(joint)
    wanted = model.predict(plain.normalize_obs(whole), deterministic=True)[0]
    labels = result.expert.labels(joint)
    np.testing.assert_allclose(labels[:, ::2], wanted, atol=1e-5)  # every second column is a message
    np.testing.assert_array_equal(labels[:, 1::2], 0)
    share = export(tmp_path / "run", format="torchscript")
    assert '"size": 17' in (share / "agent_1.json").read_text()


def test_a_registered_experiment_says_how_its_task_is_imitated(tmp_path):
    more = {
        "dagger": {"n_envs": 2, "batch_size": 16},
        "evaluation": {"n_final_episodes": 2, "n_eval_episodes": 2, "n_envs": 2},
    }
    result = cesma_sb3.decentralize(
        lambda seen: np.zeros((len(seen), 3), dtype=np.int64),
        "spread-3-hetero",
        total_timesteps=50,
        out=tmp_path / "run",
        overrides=more,
    )
    config = cesma_sb3.load_experiment(tmp_path / "run" / "config.yaml")
    assert config.students.network == cesma_sb3.load_experiment("spread-3-hetero").students.network
    assert config.env.kwargs == cesma_sb3.load_experiment("spread-3-hetero").env.kwargs
    assert config.dagger.total_timesteps == 50
    assert set(result.report["return"]) >= {"expert", "students"}
    with pytest.raises(ConfigError, match=r"spread-3-maddpg: a baseline, .*; expected spread-3"):
        cesma_sb3.decentralize(lambda seen: seen, "spread-3-maddpg")
