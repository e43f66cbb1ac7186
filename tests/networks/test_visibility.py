"""The joint observation from each agent's point of view."""

import numpy as np
import pytest
import torch as th

from cesma_sb3.envs import make_vec_env
from cesma_sb3.policies import NetworkSpec
from cesma_sb3.policies.networks.factory import actor_net
from cesma_sb3.policies.networks.visibility import are_alike, egocentric_order
from cesma_sb3.spaces.team_views import message_free_view

TEAMS = {
    "spread-3": ("spread", {"n_agents": 3}),
    "spread-4": ("spread", {"n_agents": 4}),
    "navigation-comm-2": ("navigation-comm", {"n_agents": 2, "n_landmarks": 3}),
    "navigation-comm-4": ("navigation-comm", {"n_agents": 4, "n_landmarks": 5}),
}


@pytest.fixture(params=TEAMS)
def env(request):
    scenario, kwargs = TEAMS[request.param]
    env = make_vec_env(scenario, kwargs=kwargs, n_envs=9, seed=1)
    env.reset()
    state, rng = env.get_state(), np.random.default_rng(0)
    env.set_state({key: rng.normal(size=state[key].shape) for key in ("velocities", "messages")})
    return env


def everyone_is_the_next(env):
    """The same worlds, in which each agent is where the one after it was."""
    state = env.get_state()
    rolled = {key: np.roll(state[key], -1, axis=1) for key in ("positions", "velocities", "messages")}
    if "goals" in state:
        rolled["goals"] = np.roll(state["goals"], -1, axis=1)
    return env.set_state(state), env.set_state({**state, **rolled})


def test_who_changes_places_changes_what_it_tells(env):
    before, after = everyone_is_the_next(env)
    told = egocentric_order(env.team)
    for agent, columns in enumerate(told):
        np.testing.assert_array_equal(after[:, columns], before[:, told[(agent + 1) % len(told)]])


def test_everything_is_told_once_and_the_own_part_first(env):
    team = env.team
    for agent, columns in enumerate(egocentric_order(team, with_actions=True)):
        assert sorted(columns) == list(range(team.observation_size + team.output_size))
        own = team.observation_slices[agent]
        assert set(columns[: own.stop - own.start]) == set(range(own.start, own.stop))
        actions = columns[team.observation_size :]
        assert actions[0] == team.observation_size + team.output_slices[agent].start


def test_shared_joint_actors_do_as_the_agent_whose_place_they_take(env):
    net = actor_net(env.team, "joint", NetworkSpec(hidden_sizes=(16,), share_parameters=True))
    net._ids.zero_()  # nothing else tells the agents apart
    before, after = (
        net(th.as_tensor(each)).view(len(each), env.team.n_agents, -1) for each in everyone_is_the_next(env)
    )
    th.testing.assert_close(after, before.roll(-1, dims=1))


def test_without_messages_too():
    env = make_vec_env("navigation-comm", kwargs={"n_agents": 3, "n_landmarks": 5}, n_envs=2, seed=0)
    team = message_free_view(env.team).team
    assert are_alike(team)
    told = egocentric_order(team)
    assert all(sorted(columns) == list(range(team.observation_size)) for columns in told)


def test_agents_that_differ_have_one_component():
    team = make_vec_env("speaker-listener", n_envs=1, seed=0).team
    assert not are_alike(team)
    net = actor_net(team, "joint", NetworkSpec(hidden_sizes=(16,), share_parameters=True))
    assert net.n_components == 1
