"""Properties of the batched world and of cooperative navigation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cesma_sb3.envs.particle import Spread, World, make_scenario
from cesma_sb3.envs.particle.spread import KINDS
from cesma_sb3.errors import ConfigError, SpaceError, UnknownNameError

scenarios = st.builds(
    Spread,
    n_agents=st.integers(1, 5),
    heterogeneous=st.booleans(),
    continuous_actions=st.booleans(),
    reward=st.sampled_from(["paper", "mpe2"]),
)


def crowded(scenario: Spread, n_envs: int, rng: np.random.Generator) -> World:
    world = scenario.new_world(n_envs)
    world.place(np.arange(n_envs), rng.uniform(-0.4, 0.4, world.positions.shape))
    return world


def random_actions(scenario: Spread, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    n = len(scenario.agents)
    return rng.random((*shape, 5 * n)) if scenario.continuous_actions else rng.integers(0, 5, (*shape, n))


def play(scenario: Spread, world: World, actions: np.ndarray) -> list[np.ndarray]:
    """Positions, observations and rewards of all steps, worlds first."""
    trace = []
    for action in actions:
        world.step(*scenario.controls.apply(action))
        state = world.get_state()
        trace.append(
            [state["positions"], state["velocities"], scenario.observe(world), scenario.rewards(world).T]
        )
    return [np.stack(series, axis=1) for series in zip(*trace, strict=True)]


@settings(max_examples=25)
@given(scenarios, st.integers(1, 6), st.integers(0, 10_000))
def test_permuting_worlds_permutes_results(scenario: Spread, n_envs: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    world, shuffled = crowded(scenario, n_envs, rng), scenario.new_world(n_envs)
    order = rng.permutation(n_envs)
    shuffled.set_state({key: array[order] for key, array in world.get_state().items()})
    actions = random_actions(scenario, (10, n_envs), rng)
    expected = play(scenario, world, actions)
    for first, second in zip(expected, play(scenario, shuffled, actions[:, order]), strict=True):
        np.testing.assert_allclose(first[order], second, rtol=0, atol=1e-9)


@settings(max_examples=25)
@given(scenarios, st.integers(1, 6), st.integers(0, 10_000))
def test_a_batch_is_as_many_single_worlds(scenario: Spread, n_envs: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    world = crowded(scenario, n_envs, rng)
    start = world.get_state()
    actions = random_actions(scenario, (10, n_envs), rng)
    batch = play(scenario, world, actions)
    for index in range(n_envs):
        single = scenario.new_world(1)
        single.set_state({key: array[index : index + 1] for key, array in start.items()})
        alone = play(scenario, single, actions[:, index : index + 1])
        for many, one in zip(batch, alone, strict=True):
            # Sums may be ordered differently; collisions are stiff and magnify the last digit.
            np.testing.assert_allclose(many[index], one[0], rtol=0, atol=1e-6)


@pytest.mark.parametrize("n_agents", [1, 3, 6, 12])
@pytest.mark.parametrize("heterogeneous", [False, True])
def test_the_papers_reward_is_the_literal_sum(n_agents: int, heterogeneous: bool) -> None:
    scenario = Spread(n_agents, heterogeneous=heterogeneous)
    world = crowded(scenario, 20, np.random.default_rng(n_agents))
    rewards = scenario.rewards(world)
    assert rewards.shape == (n_agents, 20)
    state = world.get_state()
    for index in range(20):
        expected = 0.0
        for landmark in state["landmarks"][index]:
            expected -= min(np.hypot(*(agent - landmark)) for agent in state["positions"][index])
        for i in range(n_agents):
            for j in range(i):
                gap = np.hypot(*(state["positions"][index, i] - state["positions"][index, j]))
                expected -= gap < scenario.agents[i].size + scenario.agents[j].size
        np.testing.assert_allclose(rewards[:, index], expected, atol=1e-12)
    assert n_agents == 1 or world.touching().any()


def test_observation_parts_hold_what_the_layout_says() -> None:
    scenario = Spread(4, heterogeneous=True)
    world = crowded(scenario, 5, np.random.default_rng(0))
    world.step(*scenario.controls.apply(np.full((5, 4), 2)))
    state, team = world.get_state(), scenario.team()
    for index, (agent, seen) in enumerate(team.split_observations(scenario.observe(world)).items()):
        layout = team.layouts[agent].observation
        here = state["positions"][:, index]
        others = np.delete(state["positions"], index, axis=1)
        expected = {
            "velocity": state["velocities"][:, index],
            "position": here,
            "landmarks": state["landmarks"] - here[:, None],
            "others": others - here[:, None],
            "messages": np.zeros((5, 6)),
        }
        assert [part.name for part in layout.parts] == list(expected)
        for name, values in expected.items():
            np.testing.assert_allclose(seen[:, layout.slice(name)], values.reshape(5, -1), atol=1e-6)


def test_kinds_of_agents_repeat_and_differ_as_documented() -> None:
    agents = Spread(6, heterogeneous=True).agents
    assert [agent.size for agent in agents] == [kind.size for kind in KINDS * 2]
    scenario = Spread(3, heterogeneous=True)
    world = scenario.new_world(1)
    world.place(np.arange(1), np.array([[0.0, 3.0], [0.0, 0.0], [0.0, -3.0], *[[9.0, 9.0]] * 3])[:, :, None])
    for _ in range(40):
        world.step(*scenario.controls.apply(np.full((1, 3), 2)))
    np.testing.assert_allclose(world.velocities[:, 0, 0], [kind.max_speed for kind in KINDS])


def test_bodies_push_each_other_at_every_distance_as_the_soft_wall_says() -> None:
    distances = np.linspace(0.01, 1.5, 3_000)
    world = Spread(2).new_world(len(distances))
    positions = np.zeros((4, 2, len(distances)))
    positions[0, 0] = distances
    world.place(np.arange(len(distances)), positions)
    world.step(np.zeros((2, 2, len(distances))))
    expected = 0.1 * (100.0 * 1e-3 * np.logaddexp(0.0, (0.3 - distances) / 1e-3))  # 0 beyond 1.05
    assert 0 < np.count_nonzero(expected) < len(distances)
    np.testing.assert_allclose(world.velocities[0, 0], expected, rtol=1e-12, atol=1e-320)
    np.testing.assert_array_equal(world.velocities[1], -world.velocities[0])


def test_bodies_at_the_very_same_place_stay_finite() -> None:
    scenario = Spread(3)
    world = scenario.new_world(2)
    world.place(np.arange(2), np.zeros((6, 2, 2)))
    world.step(*scenario.controls.apply(np.zeros((2, 3), dtype=np.int64)))
    assert np.isfinite(world.positions).all()
    assert np.isfinite(world.velocities).all()


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        ({"n_agents": 0}, ConfigError, "n_agents is 0, expected 1 or more"),
        ({"max_cycles": 0}, ConfigError, "max_cycles is 0, expected 1 or more"),
        ({"local_ratio": 1.5}, ConfigError, "local_ratio is 1.5, expected 0 to 1"),
        ({"reward": "papr"}, ConfigError, "expected paper or mpe2"),
        ({"heterogenous": True}, UnknownNameError, "did you mean 'heterogeneous"),
    ],
)
def test_bad_arguments_are_refused_in_one_line(
    kwargs: dict[str, object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        make_scenario("spread", **kwargs)
    assert "\n" not in str(caught.value)


def test_an_unknown_scenario_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="spread"):
        make_scenario("spraed")


@pytest.mark.parametrize(
    ("actions", "message"),
    [
        (np.array([[0, 1, 5]]), "action 5 in column 2 of environment 0, expected 0 to 4"),
        (np.array([[0, -1, 2]]), "action -1 in column 1 of environment 0, expected 0 to 4"),
        (np.array([[0, 1]]), r"shape \(1, 2\), expected \(batch, 3\)"),
    ],
)
def test_actions_that_do_not_exist_are_refused(actions: np.ndarray, message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        Spread(3).controls.apply(actions)
    with pytest.raises(SpaceError, match="nan in column 0"):
        Spread(3, continuous_actions=True).controls.apply(np.full((2, 15), np.nan, dtype=np.float32))
