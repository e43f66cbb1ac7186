"""The batched worlds as SB3 sees them: episodes, seeds, states, rewards, learning."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stable_baselines3 import DDPG, DQN, PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import DummyVecEnv

from cesma_sb3.envs.joint_env import JointEnv
from cesma_sb3.envs.joint_vec_env import JointVecEnv
from cesma_sb3.envs.particle import ParticleParallelEnv, ParticleVecEnv, Spread
from cesma_sb3.envs.particle.rendering import SIZE
from cesma_sb3.errors import ConfigError, RewardError, SpaceError, UnknownNameError
from cesma_sb3.spaces.action_views import make_view


def random_actions(env: ParticleVecEnv, steps: int, seed: int = 0) -> np.ndarray:
    env.action_space.seed(seed)
    return np.array([[env.action_space.sample() for _ in range(env.num_envs)] for _ in range(steps)])


def trace(env: ParticleVecEnv, actions: np.ndarray) -> list[Any]:
    steps = [env.step(action) for action in actions]
    return [np.stack(series) for series in list(zip(*steps, strict=True))[:3]]


def test_it_has_the_interface_that_the_other_rooms_use() -> None:
    env = ParticleVecEnv(Spread(3), 4, seed=0)
    assert isinstance(env, JointVecEnv)
    assert env.observation_space == env.team.observation_space
    assert env.action_space == env.view.space
    assert env.agent_masks is None
    np.testing.assert_array_equal(env.alive, np.ones((4, 3), dtype=bool))
    assert env.action_masks().shape == (4, 15)
    observations = env.reset()
    assert observations.shape == (4, 54)
    assert observations.dtype == np.float32
    assert observations.flags.c_contiguous
    observations, rewards, dones, infos = env.step(np.zeros((4, 3), dtype=np.int64))
    assert (rewards.dtype, rewards.shape) == (np.float32, (4,))
    assert (dones.dtype, dones.shape) == (np.bool_, (4,))
    assert infos == [{}, {}, {}, {}]


def test_same_seed_same_trace_and_another_seed_another() -> None:
    actions = random_actions(ParticleVecEnv(Spread(3), 4), 60)
    traces = []
    for seed in (5, 5, 6):
        env = ParticleVecEnv(Spread(3), 4, seed=seed)
        env.reset()
        traces.append(trace(env, actions))
    env = ParticleVecEnv(Spread(3), 4, seed=6)
    assert env.seed(5)[0] == 5
    env.reset()
    traces.append(trace(env, actions))
    for first, again, reseeded in zip(traces[0], traces[1], traces[3], strict=True):
        np.testing.assert_array_equal(first, again)
        np.testing.assert_array_equal(first, reseeded)
    assert not np.array_equal(traces[0][0], traces[2][0])
    first, second = env.reset(), env.reset()
    assert not np.array_equal(first, second)


def test_an_unseeded_seed_is_drawn_without_the_global_generator() -> None:
    before = np.random.get_state()[1].copy()  # noqa: NPY002  # must stay as it is
    env = ParticleVecEnv(Spread(3), 2)
    assert env.seed()[0] != env.seed()[0]
    np.testing.assert_array_equal(before, np.random.get_state()[1])  # noqa: NPY002  # must stay as it is


@pytest.mark.parametrize("team_reward", ["sum", "mean"])
def test_the_last_step_tells_about_the_episode(team_reward: Any) -> None:
    env = ParticleVecEnv(Spread(3, reward="mpe2", max_cycles=5), 3, seed=0, team_reward=team_reward)
    env.reset()
    total = np.zeros(3)
    for step in range(10):
        before = env.world.get_state()["positions"]
        observations, rewards, dones, infos = env.step(np.full((3, 3), 1 + step % 4))
        total += rewards
        assert dones.all() == dones.any() == (step % 5 == 4)
        if not dones.all():
            assert infos == [{}, {}, {}]
            continue
        for index, info in enumerate(infos):
            assert info["TimeLimit.truncated"] is True
            assert info["episode"]["l"] == 5
            assert info["episode"]["t"] >= 0.0
            assert info["episode"]["r"] == pytest.approx(total[index], abs=1e-4)
            returns = info["agent_returns"]
            assert list(returns) == ["agent_0", "agent_1", "agent_2"]
            share = 1 if team_reward == "sum" else 3
            assert sum(returns.values()) / share == pytest.approx(info["episode"]["r"])
            # The last observation belongs to the old episode, the returned one to the next.
            position = info["terminal_observation"][2:4]
            assert np.abs(position - before[index, 0]).max() < 0.3
            np.testing.assert_array_equal(observations[index, :2], 0.0)
            assert not np.array_equal(info["terminal_observation"], observations[index])
        total[:] = 0.0


@pytest.mark.parametrize(("max_steps", "length"), [(3, 3), (99, 5), (None, 5)])
def test_max_steps_ends_an_episode_before_the_scenario_does(max_steps: int | None, length: int) -> None:
    env = ParticleVecEnv(Spread(n_agents=2, max_cycles=5), 2, seed=0, max_steps=max_steps)
    env.reset()
    ends = [env.step(np.zeros((2, 2), dtype=np.int64)) for _ in range(length)]
    assert [dones.tolist() for _, _, dones, _ in ends] == [[False] * 2] * (length - 1) + [[True] * 2]
    assert ends[-1][3][0]["episode"]["l"] == length
    assert ends[-1][3][0]["TimeLimit.truncated"]
    with pytest.raises(ConfigError, match="max_steps: expected at least 1, got 0"):
        ParticleVecEnv(Spread(n_agents=2), max_steps=0)


def test_worlds_that_end_apart_are_reset_apart() -> None:
    env = ParticleVecEnv(Spread(3, max_cycles=7), 5, seed=1)
    env.reset()
    env.set_state({"steps": np.array([0, 2, 2, 5, 6])})
    steps, returns = env.get_state()["steps"], np.zeros(5)
    for action in random_actions(env, 30):
        before = env.world.get_state()
        observations, rewards, dones, infos = env.step(action)
        steps, returns = steps + 1, returns + rewards
        np.testing.assert_array_equal(dones, steps >= 7)
        after = env.world.get_state()
        moved = np.abs(after["landmarks"] - before["landmarks"]).max(axis=(1, 2)) > 0
        np.testing.assert_array_equal(moved, dones)
        np.testing.assert_array_equal(observations, env.scenario.observe(env.world))
        for index in np.flatnonzero(dones):
            assert infos[index]["episode"]["r"] == pytest.approx(returns[index], abs=1e-4)
        assert all(not info for info, done in zip(infos, dones, strict=True) if not done)
        steps[dones], returns[dones] = 0, 0.0


def test_a_state_that_is_put_back_goes_on_alike_across_resets() -> None:
    env, other = (ParticleVecEnv(Spread(3), 4, seed=seed) for seed in (0, 99))
    actions = random_actions(env, 70)
    for each in (env, other):
        each.reset()
    trace(env, actions[:10])
    seen = other.set_state(env.get_state())
    np.testing.assert_array_equal(seen, env.scenario.observe(env.world))
    for first, second in zip(trace(env, actions[10:]), trace(other, actions[10:]), strict=True):
        np.testing.assert_array_equal(first, second)
    for key, array in env.get_state().items():
        np.testing.assert_array_equal(array, other.get_state()[key], err_msg=key)


def test_a_state_that_does_not_fit_is_refused() -> None:
    env = ParticleVecEnv(Spread(3), 4, seed=0)
    with pytest.raises(UnknownNameError, match="did you mean 'positions"):
        env.set_state({"position": np.zeros((4, 3, 2))})
    with pytest.raises(SpaceError, match=r"landmarks has shape \(1, 3, 2\), expected \(4, 3, 2\)"):
        env.set_state({"landmarks": np.zeros((1, 3, 2))})


def test_nothing_handed_out_is_overwritten_later() -> None:
    env = ParticleVecEnv(Spread(3, max_cycles=3), 4, seed=0)
    kept = [env.reset()]
    state = env.get_state()
    kept += state.values()
    for action in random_actions(env, 8):
        observations, rewards, dones, infos = env.step(action)
        kept += [observations, rewards, dones]
        kept += [info["terminal_observation"] for info in infos if info]
        for info in infos:
            info["mine"] = 1
    copies = [array.copy() for array in kept]
    for action in random_actions(env, 8, seed=1):
        assert not any("mine" in info for info in env.step(action)[3])
    for array, copy in zip(kept, copies, strict=True):
        np.testing.assert_array_equal(array, copy)


@pytest.mark.parametrize("continuous", [False, True])
@pytest.mark.parametrize(("reward", "team_reward"), [("paper", "shared"), ("mpe2", "sum"), ("mpe2", "mean")])
def test_it_equals_joint_environments_side_by_side(reward: Any, team_reward: Any, continuous: bool) -> None:
    """One definition, two faces: from the same states both give the same, until the end of the episode."""
    scenario = Spread(3, heterogeneous=True, continuous_actions=continuous, reward=reward, max_cycles=12)
    env = ParticleVecEnv(scenario, 4, seed=0, team_reward=team_reward)
    singles = [ParticleParallelEnv(scenario) for _ in range(4)]
    side_by_side = DummyVecEnv(
        [lambda single=single: JointEnv(single, team_reward=team_reward) for single in singles]
    )
    env.reset()
    side_by_side.reset()
    env.set_state({"positions": env.get_state()["positions"] * 0.2})
    state = env.get_state()
    for index, single in enumerate(singles):
        single.set_state(
            {key: state[key][index : index + 1] for key in ("positions", "velocities", "landmarks", "steps")}
        )
    assert env.action_space == side_by_side.action_space
    assert env.observation_space == side_by_side.observation_space
    collided = 0
    for step, action in enumerate(random_actions(env, 12)):
        observations, rewards, dones, infos = env.step(action)
        theirs, their_rewards, their_dones, their_infos = side_by_side.step(action)
        collided += env.world.touching().sum()
        np.testing.assert_allclose(rewards, their_rewards, atol=1e-5)
        np.testing.assert_array_equal(dones, their_dones)
        if step < 11:
            np.testing.assert_allclose(observations, theirs, atol=1e-5)
    assert collided
    for mine, other in zip(infos, their_infos, strict=True):
        np.testing.assert_allclose(mine["terminal_observation"], other["terminal_observation"], atol=1e-5)
        assert mine["TimeLimit.truncated"] == other["TimeLimit.truncated"]
        assert mine["agent_returns"] == pytest.approx(other["agent_returns"], abs=1e-4)


@pytest.mark.parametrize(
    ("algorithm", "view", "kwargs"),
    [
        (PPO, "joint", {"n_steps": 32, "batch_size": 64, "n_epochs": 2}),
        (DQN, "product", {"learning_starts": 50, "buffer_size": 1000}),
        (DDPG, "relaxed", {"learning_starts": 50, "buffer_size": 1000, "train_freq": 1}),
    ],
)
def test_sb3_learns_saves_loads_and_evaluates(
    algorithm: type[BaseAlgorithm], view: str, kwargs: dict[str, Any], tmp_path: Path
) -> None:
    env = ParticleVecEnv(Spread(3), 4, seed=0, view=view)
    model = algorithm("MlpPolicy", env, seed=0, policy_kwargs={"net_arch": [16]}, **kwargs)
    model.learn(300)
    assert {entry["l"] for entry in model.ep_info_buffer or ()} == {25}
    model.save(tmp_path / "model")
    loaded = algorithm.load(tmp_path / "model", env=env)
    assert loaded.n_envs == 4
    observations = env.reset()
    expected, _ = model.predict(observations, deterministic=True)
    np.testing.assert_array_equal(loaded.predict(observations, deterministic=True)[0], expected)
    returns, lengths = evaluate_policy(loaded, env, 6, return_episode_rewards=True)
    assert lengths == [25] * 6
    assert all(-400 < value < 0 for value in returns)


def test_attributes_and_methods_are_the_scenarios() -> None:
    env = ParticleVecEnv(Spread(3), 2, seed=0)
    assert env.get_attr("max_cycles") == [25, 25]
    env.set_attr("max_cycles", 30)
    assert env.get_attr("max_cycles", indices=1) == [30]
    assert env.env_method("layout", 0, indices=[0]) == [env.team.layouts["agent_0"]]
    assert env.env_method("action_masks", indices=0)[0].all()
    with pytest.raises(AttributeError):
        env.get_attr("no_such_thing")
    with pytest.raises(ConfigError, match="all environments share max_cycles"):
        env.set_attr("max_cycles", 30, indices=0)


def test_the_first_world_is_rendered() -> None:
    env = ParticleVecEnv(Spread(3), 3, seed=0)
    env.reset()
    frame = env.render()
    assert frame is not None
    assert frame.shape == (SIZE, SIZE, 3)
    positions = env.get_state()["positions"]
    positions[1:] = 0.0
    env.set_state({"positions": positions})
    np.testing.assert_array_equal(frame, env.render("rgb_array"))
    assert env.render("human") is None
    env.close()


def test_the_last_picture_of_an_episode_is_of_the_state_that_was_reached() -> None:
    env, longer = (ParticleVecEnv(Spread(3, max_cycles=cycles), 2, seed=0) for cycles in (5, 6))
    env.render_terminal()
    for each in (env, longer):
        each.reset()
    for action in random_actions(env, 5):
        infos = env.step(action)[3]
        longer.step(action)
    expected = env._renderer.frame(longer.world, caption="step 5 of 5")
    np.testing.assert_array_equal(infos[0]["terminal_frame"], expected)
    assert "terminal_frame" not in infos[1]
    assert (env.render() != expected).any()
    env.render_terminal(False)
    assert not any("terminal_frame" in env.step(action)[3][0] for action in random_actions(env, 5))


def test_mistakes_are_named() -> None:
    with pytest.raises(RewardError, match='expected team_reward="sum" or "mean"'):
        ParticleVecEnv(Spread(3, reward="mpe2"))
    with pytest.raises(UnknownNameError, match="team reward"):
        ParticleVecEnv(Spread(3), team_reward="summ")  # type: ignore[arg-type]  # the typo is the test
    with pytest.raises(ConfigError, match="n_envs: expected at least 1, got 0"):
        ParticleVecEnv(Spread(3), 0)
    with pytest.raises(SpaceError, match="another team"):
        ParticleVecEnv(Spread(3), view=make_view("joint", Spread(4).team()))
    env = ParticleVecEnv(Spread(3), 4)
    env.reset()
    with pytest.raises(SpaceError, match="actions for 3 environments, expected 4"):
        env.step(np.zeros((3, 3), dtype=np.int64))
    with pytest.raises(SpaceError, match="action 7 in column 1 of environment 2"):
        env.step(np.array([[0, 0, 0], [0, 0, 0], [0, 7, 0], [0, 0, 0]]))
