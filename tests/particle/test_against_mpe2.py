"""The batched world against mpe2, step by step: positions, observations and rewards equal to 1e-6.

mpe2 1.0 and 1.1 have the same physics (their sources differ in types and rendering), so the same tests hold
for both.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

import numpy as np
import pytest

from cesma_sb3.envs.particle import Body, Spread, World
from cesma_sb3.envs.pettingzoo import find_builder
from cesma_sb3.errors import UnknownNameError

make_simple_spread = find_builder("mpe2.simple_spread_v3")
core = import_module("mpe2._mpe_utils.core")

TOLERANCE = 1e-6


def give_body(entity: Any, body: Body) -> None:
    entity.size, entity.initial_mass = body.size, body.mass
    entity.accel, entity.movable, entity.collide = body.accel, body.movable, body.collide
    entity.max_speed = body.max_speed if np.isfinite(body.max_speed) else None


def give_state(reference: Any, state: dict[str, Any], index: int) -> None:
    rows = [*state["positions"][index], *state["landmarks"][index]]
    for entity, position in zip([*reference.agents, *reference.landmarks], rows, strict=True):
        entity.state.p_pos, entity.state.p_vel = position.copy(), np.zeros(2)
    for agent, velocity in zip(reference.agents, state["velocities"][index], strict=True):
        agent.state.p_vel = velocity.copy()


def crowd(scenario: Spread, n_envs: int, rng: np.random.Generator, spread: float) -> World:
    """Worlds whose entities start close together, some of them moving."""
    world = scenario.new_world(n_envs)
    world.place(np.arange(n_envs), rng.uniform(-spread, spread, world.positions.shape))
    world.velocities[...] = rng.normal(0.0, 0.5, world.velocities.shape) * (rng.random(n_envs) < 0.5)
    return world


@pytest.mark.no_cover
@pytest.mark.parametrize("continuous", [False, True], ids=["discrete", "continuous"])
@pytest.mark.parametrize("heterogeneous", [False, True], ids=["homogeneous", "heterogeneous"])
@pytest.mark.parametrize(("n_agents", "n_envs", "spread"), [(3, 60, 0.3), (6, 24, 0.5)])
def test_every_step_equals_mpe2(
    n_agents: int, n_envs: int, spread: float, heterogeneous: bool, continuous: bool
) -> None:
    rng = np.random.default_rng(n_agents)
    scenario = Spread(n_agents, heterogeneous=heterogeneous, continuous_actions=continuous, reward="mpe2")
    world = crowd(scenario, n_envs, rng, spread)
    team = scenario.team()
    reference = make_simple_spread(N=n_agents, continuous_actions=continuous, max_cycles=25)
    start = world.get_state()
    shape = (25, n_envs, n_agents)
    actions = rng.random((*shape, 5), dtype=np.float32) if continuous else rng.integers(0, 5, shape)

    ours, collided = [], 0.0
    for step in range(25):
        world.step(*scenario.controls.apply(actions[step].reshape(n_envs, -1)))
        ours.append((world.get_state(), scenario.observe(world), scenario.rewards(world).T))
        collided += world.touching().sum()
    assert collided > n_envs

    for index in range(n_envs):
        reference.reset(seed=0)
        inside = reference.unwrapped.world
        for agent, body in zip(inside.agents, scenario.agents, strict=True):
            give_body(agent, body)
        give_state(inside, start, index)
        for step, (state, observations, rewards) in enumerate(ours):
            mine = dict(zip(team.agents, actions[step, index], strict=True))
            seen, earned, _, truncated, _ = reference.step(mine)
            for key, attribute in (("positions", "p_pos"), ("velocities", "p_vel")):
                theirs = [getattr(agent.state, attribute) for agent in inside.agents]
                np.testing.assert_allclose(state[key][index], theirs, rtol=0, atol=TOLERANCE)
            expected = np.concatenate([seen[agent] for agent in team.agents])
            np.testing.assert_allclose(observations[index], expected, rtol=0, atol=TOLERANCE)
            np.testing.assert_allclose(
                rewards[index], [earned[agent] for agent in team.agents], rtol=0, atol=TOLERANCE
            )
            assert all(truncated.values()) == (step == 24)


def test_local_ratio_and_spaces_equal_mpe2() -> None:
    scenario = Spread(3, reward="mpe2", local_ratio=0.2)
    team = scenario.team()
    reference = make_simple_spread(N=3, local_ratio=0.2)
    reference.reset(seed=0)
    for agent in team.agents:
        assert team.observation_spaces[agent] == reference.observation_space(agent)
        assert team.action_spaces[agent] == reference.action_space(agent)
    continuous = make_simple_spread(N=3, continuous_actions=True)
    ours = Spread(3, continuous_actions=True).team()
    assert ours.action_spaces["agent_1"] == continuous.action_space("agent_1")

    world = crowd(scenario, 1, np.random.default_rng(0), 0.2)
    give_state(reference.unwrapped.world, world.get_state(), 0)
    world.step(*scenario.controls.apply(np.zeros((1, 3), dtype=np.int64)))
    earned = reference.step(dict.fromkeys(team.agents, 0))[1]
    assert world.touching().any()
    np.testing.assert_allclose(scenario.rewards(world)[:, 0], list(earned.values()), atol=TOLERANCE)


@pytest.mark.parametrize("seed", range(4))
def test_any_bodies_move_as_in_mpe2(seed: int) -> None:
    """Masses, top speeds, agents that stand still or collide with nothing, landmarks that push, messages."""
    rng = np.random.default_rng(seed)
    agents = [
        Body(
            f"agent_{i}",
            size=rng.uniform(0.05, 0.25),
            mass=rng.uniform(0.5, 3.0),
            max_speed=float(rng.choice([0.4, 1.0, np.inf])),
            movable=i != 1,
            collide=i != 2,
            silent=i != 3,
        )
        for i in range(6)
    ]
    landmarks = [Body(f"landmark_{i}", size=0.1, collide=i != 0) for i in range(3)]
    world = World(agents=agents, landmarks=landmarks, n_envs=8, message_size=3)
    world.place(np.arange(8), rng.uniform(-0.5, 0.5, world.positions.shape))
    start = world.get_state()
    pushes = rng.normal(0.0, 3.0, (40, 6, 2, 8))
    messages = rng.random((40, 6, 3, 8))
    messages[:, [i != 3 for i in range(6)]] = 0.0
    ours = []
    for push, message in zip(pushes, messages, strict=True):
        world.step(push, message)
        ours.append(world.get_state())

    for index in range(8):
        reference = core.World()
        reference.dim_c = 3
        reference.agents = [core.Agent() for _ in agents]
        reference.landmarks = [core.Landmark() for _ in landmarks]
        for entity, body in zip(reference.entities, [*agents, *landmarks], strict=True):
            give_body(entity, body)
        for landmark in reference.landmarks:
            landmark.movable = False
        for agent, body in zip(reference.agents, agents, strict=True):
            agent.silent = body.silent
        give_state(reference, start, index)
        for step, state in enumerate(ours):
            for i, agent in enumerate(reference.agents):
                agent.action.u, agent.action.c = pushes[step, i, :, index], messages[step, i, :, index]
            reference.step()
            for i, agent in enumerate(reference.agents):
                np.testing.assert_allclose(state["positions"][index, i], agent.state.p_pos, atol=TOLERANCE)
                np.testing.assert_allclose(state["velocities"][index, i], agent.state.p_vel, atol=TOLERANCE)
                np.testing.assert_allclose(state["messages"][index, i], agent.state.c, atol=TOLERANCE)


def test_an_unknown_mpe2_environment_is_named_with_its_neighbours() -> None:
    with pytest.raises(UnknownNameError, match="simple_spread_v3"):
        find_builder("mpe2.simple_spred_v3")
