"""Tasks with messages: equal to mpe2, goals hidden from their own agents, messages heard one step late."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pettingzoo.test import parallel_api_test, parallel_seed_test

from cesma_sb3.envs import reward_definition
from cesma_sb3.envs.particle import (
    NavigationComm,
    ParticleParallelEnv,
    ParticleVecEnv,
    SpeakerListener,
    make_scenario,
)
from cesma_sb3.envs.particle.rendering import SIZE, agent_color
from cesma_sb3.envs.pettingzoo import find_builder
from cesma_sb3.errors import ConfigError, UnknownNameError

LARGE: dict[str, Any] = {"n_agents": 3, "n_landmarks": 5}
VARIANTS: list[tuple[str, dict[str, Any]]] = [
    ("speaker-listener", {}),
    ("speaker-listener", {"continuous_actions": True}),
    ("navigation-comm", {}),
    ("navigation-comm", {"continuous_actions": True, "reward": "mpe2"}),
    ("navigation-comm", LARGE),
]


def random_steps(env: ParticleVecEnv, steps: int) -> np.ndarray:
    env.action_space.seed(0)
    return np.array([[env.action_space.sample() for _ in range(env.num_envs)] for _ in range(steps)])


def give_start(reference: Any, start: dict[str, Any], index: int) -> None:
    rows = [*start["positions"][index], *start["landmarks"][index]]
    for entity, position in zip(reference.entities, rows, strict=True):
        entity.state.p_pos = position.copy()


@pytest.mark.parametrize("continuous", [False, True])
def test_speaker_and_listener_equal_mpe2(continuous: bool) -> None:
    env = ParticleVecEnv(SpeakerListener(continuous_actions=continuous), 8, seed=0)
    env.reset()
    start = env.get_state()
    actions = random_steps(env, 24)
    steps = [env.step(action) for action in actions]
    reference = find_builder("mpe2.simple_speaker_listener_v4")(continuous_actions=continuous)
    for agent in env.team.agents:
        assert env.team.observation_spaces[agent] == reference.observation_space(agent)
        assert env.team.action_spaces[agent] == reference.action_space(agent)
    for index in range(8):
        reference.reset(seed=0)
        inside = reference.unwrapped.world
        inside.agents[0].goal_b = inside.landmarks[start["goals"][index]]
        give_start(inside, start, index)
        for action, (observations, rewards, _, _) in zip(actions, steps, strict=True):
            seen, earned, _, _, _ = reference.step(env.team.split_actions(action[index]))
            np.testing.assert_allclose(observations[index], np.concatenate(list(seen.values())), atol=1e-6)
            # SB3 takes rewards in single precision.
            np.testing.assert_allclose(rewards[index], earned["listener_0"], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("local_ratio", [0.5, 0.2])
@pytest.mark.parametrize("continuous", [False, True])
def test_navigation_with_communication_equals_mpe2(continuous: bool, local_ratio: float) -> None:
    scenario = NavigationComm(continuous_actions=continuous, reward="mpe2", local_ratio=local_ratio)
    env = ParticleVecEnv(scenario, 8, seed=1, team_reward="mean")
    env.reset()
    start = env.get_state()
    actions = random_steps(env, 24)
    steps = [(env.step(action)[0], scenario.rewards(env.world)) for action in actions]
    reference = find_builder("mpe2.simple_reference_v3")(
        continuous_actions=continuous, local_ratio=local_ratio
    )
    for index in range(8):
        reference.reset(seed=0)
        inside = reference.unwrapped.world
        # mpe2's agent 0 keeps the goal of agent 1, and the other way round.
        inside.agents[0].goal_b = inside.landmarks[start["goals"][index, 1]]
        inside.agents[1].goal_b = inside.landmarks[start["goals"][index, 0]]
        give_start(inside, start, index)
        for action, (observations, rewards) in zip(actions, steps, strict=True):
            mine = env.team.split_actions(action[index])
            if not continuous:
                mine = {agent: int(move + 5 * symbol) for agent, (move, symbol) in mine.items()}
            seen, earned, _, _, _ = reference.step(mine)
            np.testing.assert_allclose(observations[index], np.concatenate(list(seen.values())), atol=1e-6)
            np.testing.assert_allclose(rewards[:, index], list(earned.values()), atol=1e-6)


@pytest.mark.parametrize(("name", "kwargs"), VARIANTS)
def test_pettingzoo_accepts_them(name: str, kwargs: dict[str, Any]) -> None:
    parallel_api_test(ParticleParallelEnv(make_scenario(name, **kwargs)), num_cycles=60)
    parallel_seed_test(lambda: ParticleParallelEnv(make_scenario(name, **kwargs)), num_cycles=30)


@pytest.mark.parametrize(("name", "kwargs"), VARIANTS)
def test_worlds_do_not_depend_on_how_many_there_are(name: str, kwargs: dict[str, Any]) -> None:
    scenario = make_scenario(name, **kwargs)
    reward: Any = None if scenario.shared_reward else "mean"
    few, many = (ParticleVecEnv(scenario, n, seed=3, team_reward=reward) for n in (2, 7))
    np.testing.assert_array_equal(few.reset(), many.reset()[:2])
    for action in random_steps(many, 24):
        ours, theirs = few.step(action[:2]), many.step(action)
        np.testing.assert_array_equal(ours[0], theirs[0][:2])
        np.testing.assert_array_equal(ours[1], theirs[1][:2])


@pytest.mark.parametrize(("name", "kwargs"), VARIANTS)
def test_a_goal_is_part_of_the_state_and_hidden_from_its_own_agent(name: str, kwargs: dict[str, Any]) -> None:
    scenario = make_scenario(name, **kwargs)
    reward: Any = None if scenario.shared_reward else "mean"
    env, other = (ParticleVecEnv(scenario, 6, seed=seed, team_reward=reward) for seed in (0, 1))
    before = env.team.split_observations(env.reset())
    other.reset()
    np.testing.assert_array_equal(other.set_state(env.get_state()), scenario.observe(env.world))
    goals = scenario.goals(env.world)
    assert goals is not None
    for agent, own in enumerate(goals):
        if own[0] < 0:
            continue
        changed = (own + 1) % len(scenario.landmarks)
        state = env.get_state()["goals"]
        state[(..., agent) if state.ndim > 1 else ...] = changed
        after = env.team.split_observations(other.set_state({"goals": state}))
        for observer, who in enumerate(env.team.agents):
            same = (before[who] == after[who]).all(axis=1)
            assert same.all() if observer == agent else not same.any()


@pytest.mark.parametrize("kwargs", [{}, LARGE])
def test_messages_are_heard_one_step_later_as_one_symbol(kwargs: dict[str, Any]) -> None:
    env = ParticleVecEnv(NavigationComm(**kwargs), 4, seed=0)
    n_agents, columns = env.team.n_agents, {}
    for index, agent in enumerate(env.team.agents):
        start, inside = env.team.observation_slices[index].start, env.team.layouts[agent].observation
        where = inside.slice("messages")
        columns[index] = slice(start + where.start, start + where.stop)
    observations = env.reset()
    for step, action in enumerate([None, *random_steps(env, 30)]):
        if action is not None:
            observations = env.step(action)[0]
        said = np.zeros((4, n_agents, 10))
        if action is not None and step % 25:  # the first observation of an episode has heard nothing
            said = np.eye(10)[action[:, 1::2]]
        for index in range(n_agents):
            heard = np.delete(said, index, axis=1).reshape(4, -1)
            np.testing.assert_array_equal(observations[:, columns[index]], heard)


@given(seed=st.integers(0, 1000), n_agents=st.integers(2, 4), n_landmarks=st.integers(1, 6))
def test_goals_are_coded_so_that_the_largest_number_names_them(
    seed: int, n_agents: int, n_landmarks: int
) -> None:
    scenario = NavigationComm(n_agents, n_landmarks=n_landmarks)
    env = ParticleVecEnv(scenario, 3, seed=seed)
    seen = env.team.split_observations(env.reset())
    goals = env.world.variables["goals"]
    for observer, agent in enumerate(env.team.agents):
        layout = env.team.layouts[agent].observation
        codes = seen[agent][:, layout.slice("goal")].reshape(3, n_agents - 1, -1)
        np.testing.assert_array_equal(codes.argmax(axis=2), np.delete(goals, observer, axis=1))
    assert codes.shape[2] == max(3, n_landmarks)


def test_the_papers_reward_is_the_sum_of_distances() -> None:
    scenario = NavigationComm(**LARGE)
    env = ParticleVecEnv(scenario, 5, seed=0)
    env.reset()
    state, rewards = env.get_state(), scenario.rewards(env.world)
    for world in range(5):
        goals = state["landmarks"][world, state["goals"][world]]
        total = np.linalg.norm(state["positions"][world] - goals, axis=1).sum()
        np.testing.assert_allclose(rewards[:, world], -total)


def test_the_largest_variant_has_the_spaces_of_the_paper() -> None:
    team = NavigationComm(**LARGE).team()
    # Velocity, five landmarks, two goals of five numbers, two messages of ten symbols.
    assert team.observation_sizes == (2 + 10 + 2 * 5 + 2 * 10,) * 3
    assert team.column_categories == (5, 10) * 3


def test_pictures_show_goals_as_colours_and_what_was_said() -> None:
    env = ParticleParallelEnv(SpeakerListener(), render_mode="rgb_array")
    env.reset(seed=0)
    far = {
        "positions": np.array([[[-0.8, 0.0], [0.0, 0.0]]]),
        "landmarks": np.array([[[-0.5, 0.8], [0.0, 0.8], [0.5, 0.8]]]),
    }
    scale, frames = SIZE / 2 / 1.3, []
    for goal in range(3):
        env.set_state(far | {"goals": np.array([goal])})
        frame = env.render()
        assert frame is not None
        frames.append(frame.astype(int))
    for goal, frame in enumerate(frames):
        x, y = far["landmarks"][0, goal]
        landmark = frame[round(SIZE / 2 - scale * y), round(SIZE / 2 + scale * x)]
        assert np.abs(landmark - agent_color(goal)).max() < 8
        # Beside the number and inside the edge: its goal's hue, lightened by the floor.
        listener = frame[SIZE // 2, round(SIZE / 2 + scale * 0.05)]
        assert np.abs(listener - (0.686 * np.array(agent_color(goal)) + 0.314 * 241)).max() < 8
    silent, spoken = frames[2], []
    for symbol in range(2):
        env.set_state({"messages": np.array([[np.eye(3)[symbol], np.zeros(3)]])})
        frame = env.render()
        assert frame is not None
        rows, columns = np.nonzero(np.abs(frame.astype(int) - silent).max(axis=2))
        # Words stand above the speaker and nowhere else.
        assert rows.max() < SIZE / 2
        assert np.abs(columns - (SIZE / 2 - 0.8 * scale)).max() < 30
        spoken.append(frame)
    assert not np.array_equal(*spoken)
    env.close()


def test_goals_are_drawn_independently() -> None:
    env = ParticleVecEnv(NavigationComm(), 900, seed=0)
    env.reset()
    goals = env.world.variables["goals"]
    assert abs((goals[:, 0] == goals[:, 1]).mean() - 1 / 3) < 0.05
    assert np.abs(np.bincount(goals.ravel(), minlength=3) / goals.size - 1 / 3).max() < 0.05


def test_every_scenario_says_what_its_reward_is() -> None:
    assert "nearest agent to each landmark" in (reward_definition("spread") or "")
    assert "mpe2's, combined" in (reward_definition("spread", {"reward": "mpe2"}) or "")
    assert "squared distance of the listener" in (reward_definition("speaker-listener") or "")
    assert "goal landmark" in (reward_definition("navigation-comm", LARGE) or "")
    assert "mpe2's, combined" in (reward_definition("navigation-comm", {"reward": "mpe2"}) or "")
    assert reward_definition("pettingzoo.mpe.simple_spread_v3:parallel_env") is None


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: NavigationComm(1), "n_agents is 1, expected 2 or more"),
        (lambda: NavigationComm(n_landmarks=0), "n_landmarks is 0, expected 1 or more"),
        (lambda: NavigationComm(n_symbols=0), "n_symbols is 0, expected 1 or more"),
        (lambda: NavigationComm(local_ratio=2.0), "local_ratio is 2.0"),
        (lambda: SpeakerListener(max_cycles=0), "max_cycles is 0"),
    ],
)
def test_bad_arguments_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


def test_an_unknown_reward_is_named_with_its_neighbour() -> None:
    with pytest.raises(UnknownNameError, match="reward of navigation-comm"):
        NavigationComm(reward="papers")  # type: ignore[arg-type]
