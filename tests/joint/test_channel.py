"""Who hears whom, from layouts alone."""

import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st

from cesma_sb3.errors import CesmaError, LayoutError
from cesma_sb3.spaces.communication import MessageChannel, message_columns, unheard_entries
from cesma_sb3.spaces.layout import ActionPart, AgentLayout, ObservationLayout, Part
from cesma_sb3.spaces.team_spaces import TeamSpaces
from tests.envs_for_tests import MixedEnv
from tests.signalling_game import SignallingGame


def talking_team(says, *, hears=None, own=2, moves=5):
    """Agents that say a symbol of `says[i]` categories (0: nothing), and hear `hears[i]` = (count, size)."""
    names = [f"agent_{i}" for i in range(len(says))]
    layouts, observed, acted = {}, {}, {}
    for i, (name, size) in enumerate(zip(names, says, strict=True)):
        count, width = (len(says) - 1, max(says)) if hears is None else hears[i]
        parts = (Part("own", "own", 1, own), Part("heard", "message", count, width), Part("after", "own"))
        actions = [ActionPart("move", "move")] + [ActionPart("say", "message", 1)] * (size > 0)
        layouts[name] = AgentLayout(ObservationLayout(parts), tuple(actions))
        observed[name] = spaces.Box(-1.0, 1.0, (own + count * width + 1,), np.float32)
        acted[name] = spaces.MultiDiscrete([moves, size]) if size else spaces.Discrete(moves)
    return TeamSpaces(names, observed, acted, layouts)


def test_of_a_speaker_and_a_listener():
    team = TeamSpaces.from_parallel_env(SignallingGame(4))
    channel = MessageChannel.of(team)
    assert channel.places.tolist() == [4, 5, 6, 7]
    assert channel.receivers.tolist() == [1] * 4
    assert channel.senders.tolist() == channel.columns.tolist() == [0] * 4
    assert channel.categories.tolist() == channel.outputs.tolist() == [0, 1, 2, 3]
    assert message_columns(team).tolist() == [True, False]


@given(st.integers(2, 5), st.integers(2, 4), st.integers(0, 3), st.integers(0, 1000))
def test_everybody_hears_the_others_in_the_teams_order(n_agents, size, own, seed):
    team = talking_team([size] * n_agents, own=own)
    channel = MessageChannel.of(team)
    rng = np.random.default_rng(seed)
    actions = np.stack([rng.integers(k, size=6) for k in team.column_categories], axis=1)
    joint = np.zeros((6, team.observation_size), dtype=np.float32)
    joint[:, channel.places] = channel.encode(actions)
    for i, (agent, observation) in enumerate(team.split_observations(joint).items()):
        heard = observation[:, team.layouts[agent].observation.slice("heard")]
        others = [np.eye(size)[actions[:, 2 * k + 1]] for k in range(n_agents) if k != i]
        assert np.array_equal(heard, np.concatenate(others, axis=1))
        assert observation.sum() == heard.sum(), "nothing else is touched"
    assert np.array_equal(channel.outputs % team.output_sizes[0], 5 + channel.categories), (
        "an agent's outputs are those of its move, and then of its message"
    )


def test_only_those_that_speak_are_heard_where_there_are_so_many():
    team = talking_team([3, 0, 3, 0], hears=[(1, 3), (2, 3), (1, 3), (2, 3)])
    channel = MessageChannel.of(team)
    pairs = {(int(r), int(s)) for r, s in zip(channel.receivers, channel.senders, strict=True)}
    assert pairs == {(0, 2), (1, 0), (1, 2), (2, 0), (3, 0), (3, 2)}


def test_a_slot_of_a_silent_agent_is_no_entry():
    channel = MessageChannel.of(talking_team([3, 0, 3]))
    pairs = {(int(r), int(s)) for r, s in zip(channel.receivers, channel.senders, strict=True)}
    assert pairs == {(0, 2), (1, 0), (1, 2), (2, 0)}


def test_numbers_are_heard_as_they_are():
    layout = AgentLayout(
        ObservationLayout((Part("heard", "message", 1, 2),)),
        (ActionPart("x", "message", 0), ActionPart("move", "move", 1), ActionPart("y", "message", 2)),
    )
    box, acts = spaces.Box(-1.0, 1.0, (2,), np.float32), spaces.Box(-1.0, 1.0, (3,), np.float32)
    names = ["a", "b"]
    team = TeamSpaces(
        names, dict.fromkeys(names, box), dict.fromkeys(names, acts), dict.fromkeys(names, layout)
    )
    channel = MessageChannel.of(team)
    assert channel.categories.tolist() == [-1] * 4
    heard = channel.encode(np.array([[0.1, 0.2, 0.3, 0.4, 0.5, 0.6]], dtype=np.float32))
    np.testing.assert_array_equal(heard, np.array([[0.4, 0.6, 0.1, 0.3]], dtype=np.float32))


def test_teams_that_say_or_hear_nothing_have_no_channel():
    assert MessageChannel.of(TeamSpaces.from_parallel_env(MixedEnv())) is None
    assert MessageChannel.of(talking_team([0, 0])) is None
    assert MessageChannel.of(talking_team([3, 3], hears=[(0, 3), (0, 3)])) is None


def heard_from(team, topology):
    channel = MessageChannel.of(team, topology)
    return sorted(set(zip(channel.receivers.tolist(), channel.senders.tolist(), strict=True)))


def test_a_topology_says_who_listens_to_whom():
    team = talking_team([3, 0, 3, 3])
    complete = [(i, j) for i in range(4) for j in (0, 2, 3) if i != j]
    assert heard_from(team, "complete") == complete
    assert heard_from(team, "ring") == [(0, 3), (1, 0), (2, 0), (3, 2)], "who says nothing is passed over"
    chosen = {"agent_0": ["agent_2"], "agent_3": []}
    assert heard_from(team, chosen) == [(0, 2), (1, 0), (1, 2), (1, 3), (2, 0), (2, 3)]
    unheard = unheard_entries(team, chosen)
    places = MessageChannel.of(team).places.tolist()
    assert unheard == set(places) - set(MessageChannel.of(team, chosen).places.tolist())
    assert unheard_entries(team, "complete") == set()
    assert MessageChannel.of(team, {agent: [] for agent in team.agents}) is None


@pytest.mark.parametrize(
    ("topology", "message"),
    [
        ("rings", r"topology 'rings'.*did you mean 'ring'"),
        (["ring"], r"topology .*ring.*allowed: complete, ring"),
        ({"agnt_0": ["agent_2"]}, r"agent 'agnt_0'.*did you mean 'agent_0'"),
        ({"agent_0": ["agent_0"]}, r"agent_0: .*sender 'agent_0'.*agent_2"),
        ({"agent_0": ["agent_1"]}, r"agent_0: .*sender 'agent_1'.*agent_2"),
    ],
)
def test_a_topology_of_others_than_senders_is_refused(topology, message):
    with pytest.raises(CesmaError, match=message):
        MessageChannel.of(talking_team([3, 0, 3]), topology)


def test_a_topology_of_a_team_that_is_silent_is_refused():
    silent = talking_team([0, 0])
    assert MessageChannel.of(silent, "complete") is None
    for topology in ("ring", {"agent_0": ["agent_1"]}, {"agent_7": []}):
        with pytest.raises(LayoutError, match="expected complete, for no agent sends messages"):
            MessageChannel.of(silent, topology)


def test_layouts_that_do_not_add_up_are_refused():
    with pytest.raises(LayoutError, match=r"agent_0: part 'heard': messages of 3 agents, expected of all 2"):
        MessageChannel.of(talking_team([3, 3, 0], hears=[(3, 3), (2, 3), (2, 3)]))
    with pytest.raises(
        LayoutError, match=r"agent_1: part 'heard': slots of 4, but what agent_0 sends takes 3"
    ):
        MessageChannel.of(talking_team([3, 3], hears=[(1, 3), (1, 4)]))


def test_what_is_heard_is_float32():
    assert MessageChannel.of(talking_team([4, 4])).encode(np.array([[0, 3, 0, 1]])).dtype == np.float32
