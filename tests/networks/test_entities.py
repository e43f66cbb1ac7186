"""`EntityNet`: blind to order, shared by all agents, and no wider in sight than its visibility."""

import pytest
import torch as th
from gymnasium.spaces import Box, Discrete
from hypothesis import given, settings
from hypothesis import strategies as st

from cesma_sb3.envs.particle import Spread
from cesma_sb3.errors import LayoutError
from cesma_sb3.policies import EntityNet
from cesma_sb3.spaces.layout import ActionPart, AgentLayout, ObservationLayout, Part
from cesma_sb3.spaces.team_spaces import TeamSpaces
from tests.envs_for_tests import MatchingGame


def net_of(n_agents, visibility="own", **kwargs):
    th.manual_seed(0)
    team = Spread(n_agents).team()
    return team, EntityNet(team, visibility, [5] * n_agents, hidden_sizes=(16, 16), **kwargs)


def permuted(team, x, part, order):
    """Every agent's entities of a part in another order."""
    x = x.clone()
    for agent, where in zip(team.agents, team.observation_slices, strict=True):
        layout = team.layouts[agent].observation
        inside, size = layout.slice(part), layout.part(part).size
        block = x[:, where.start + inside.start : where.start + inside.stop].reshape(len(x), -1, size)
        x[:, where.start + inside.start : where.start + inside.stop] = block[:, order].reshape(len(x), -1)
    return x


@given(st.permutations(range(4)), st.permutations(range(3)))
@settings(max_examples=25)
def test_the_order_of_landmarks_and_of_other_agents_does_not_matter(landmarks, others):
    team, net = net_of(4)
    x = th.randn(6, team.observation_size)
    changed = permuted(team, permuted(team, x, "landmarks", landmarks), "others", others)
    th.testing.assert_close(net(x), net(changed), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("use_agent_id", [False, True])
def test_own_visibility_sees_its_own_observation_alone(use_agent_id):
    team, net = net_of(3, use_agent_id=use_agent_id)
    x = th.randn(8, team.observation_size)
    for agent, where in enumerate(team.observation_slices):
        changed = th.randn_like(x)
        changed[:, where] = x[:, where]
        assert th.equal(net(x)[:, 5 * agent : 5 * agent + 5], net(changed)[:, 5 * agent : 5 * agent + 5])


def test_joint_visibility_sees_the_others_velocities():
    team, net = net_of(3, "joint")
    x = th.randn(8, team.observation_size)
    changed = x.clone()
    changed[:, team.observation_slices[2].start] += 1.0  # agent_2's velocity, which nobody else observes
    assert not th.allclose(net(x)[:, :5], net(changed)[:, :5])


def test_alike_agents_that_see_the_same_do_the_same_unless_told_apart():
    for use_agent_id, same in ((False, True), (True, False)):
        team, net = net_of(3, use_agent_id=use_agent_id)
        outputs = net(th.randn(4, team.observation_sizes[0]).repeat(1, 3))
        assert th.allclose(outputs[:, :5], outputs[:, 5:10]) is same


@pytest.mark.parametrize("use_agent_id", [False, True])
def test_an_agent_taken_out_acts_as_it_did_in_the_team(use_agent_id):
    team, net = net_of(4, use_agent_id=use_agent_id)
    x = th.randn(6, team.observation_size)
    for agent, where in enumerate(team.observation_slices):
        th.testing.assert_close(net.component(agent)(x[:, where]), net(x)[:, 5 * agent : 5 * agent + 5])


def test_weights_fit_a_team_of_another_size():
    _, small = net_of(3)
    team, large = net_of(7)
    large.load_state_dict(small.state_dict())
    assert large(th.randn(2, team.observation_size)).shape == (2, 35)


@pytest.mark.parametrize("visibility", ["own", "joint"])
def test_actions_that_join_the_input_matter_to_whom_they_should(visibility):
    team, net = net_of(3, visibility, with_actions=True)
    x = th.randn(8, team.observation_size + team.output_size)
    changed = x.clone()
    changed[:, team.observation_size + 10 :] += 1.0  # agent_2's action
    unmoved = th.equal(net(x)[:, :5], net(changed)[:, :5])
    assert unmoved is (visibility == "own")
    assert not th.equal(net(x)[:, 10:], net(changed)[:, 10:])


@pytest.mark.parametrize("visibility", ["own", "joint"])
def test_only_the_nearest_are_seen(visibility):
    team, net = net_of(6, visibility, n_neighbours=2)
    x, layout = th.randn(8, team.observation_size), team.layouts["agent_0"].observation
    for part in ("landmarks", "others"):
        where = layout.slice(part)
        block = x[:, where].reshape(8, -1, 2)
        order = block.norm(dim=-1).argsort(dim=1)
        for rank, is_seen in ((0, True), (1, True), (2, False), (4, False)):
            moved = block.clone()
            moved[th.arange(8), order[:, rank]] *= 1.0 + 1e-3 if is_seen else 3.0
            changed = x.clone()
            changed[:, where] = moved.flatten(1)
            assert th.equal(net(x)[:, :5], net(changed)[:, :5]) is not is_seen


@pytest.mark.parametrize("visibility", ["own", "joint"])
def test_where_there_are_no_more_all_are_seen(visibility):
    team, some = net_of(4, visibility, n_neighbours=4)
    _, everything = net_of(4, visibility)
    x = th.randn(8, team.observation_size)
    assert th.equal(some(x), everything(x))


def test_an_agent_taken_out_sees_the_nearest_too():
    team, net = net_of(5, n_neighbours=2, use_agent_id=True)
    x = th.randn(6, team.observation_size)
    for agent, where in enumerate(team.observation_slices):
        th.testing.assert_close(net.component(agent)(x[:, where]), net(x)[:, 5 * agent : 5 * agent + 5])


def test_nobody_is_nearest_where_entities_have_no_places():
    observation = ObservationLayout((Part("own", "own"), Part("signs", "entities", count=2, size=2)))
    layout = AgentLayout(observation, (ActionPart("move", "move", 0),))
    boxes = {agent: Box(-1.0, 1.0, (5,)) for agent in "ab"}
    team = TeamSpaces(("a", "b"), boxes, {a: Discrete(2) for a in "ab"}, dict.fromkeys("ab", layout))
    EntityNet(team, "own", [2, 2])
    with pytest.raises(LayoutError, match="expected layouts with a planar group"):
        EntityNet(team, "own", [2, 2], n_neighbours=1)


def test_messages_nobody_sends_do_not_count():
    team, net = net_of(3)
    x = th.randn(4, team.observation_size)
    assert th.equal(net(x), net(permuted(team, x, "messages", [1, 0])))


def test_teams_without_entities_are_told_to_use_other_networks():
    team = TeamSpaces.from_parallel_env(MatchingGame())
    with pytest.raises(LayoutError, match="have no entities; use feed-forward"):
        EntityNet(team, "own", team.output_sizes)
