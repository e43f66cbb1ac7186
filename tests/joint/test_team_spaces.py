"""Splitting and joining undo each other over random teams, and nothing gets lost on the way to a file."""

import json
import pickle
from inspect import signature

import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.spaces.utils import flatten as gymnasium_flatten
from hypothesis import given
from hypothesis import strategies as st
from supersuit import black_death_v3, frame_stack_v1

from cesma_sb3.errors import LayoutError, SpaceError, UnknownNameError
from cesma_sb3.spaces.layout import ActionPart, AgentLayout, ObservationLayout, Part, flat_layout
from cesma_sb3.spaces.serialization import LARGEST, space_from_json
from cesma_sb3.spaces.team_spaces import TeamSpaces
from tests.envs_for_tests import MatchingGame, MixedEnv, MortalEnv

SHAPES = st.lists(st.integers(1, 3), min_size=1, max_size=3).map(tuple)
SIZES = st.lists(st.integers(1, 4), min_size=1, max_size=3)


@st.composite
def boxes(draw):
    shape = draw(SHAPES)
    dtype = draw(st.sampled_from([np.float32, np.float64, np.uint8]))
    if dtype is np.uint8:
        return spaces.Box(0, 255, shape, dtype)
    low = np.array(
        draw(st.lists(st.integers(-5, 2), min_size=1, max_size=1)) * int(np.prod(shape)), dtype=dtype
    )
    return spaces.Box(low.reshape(shape), low.reshape(shape) + 3, shape, dtype)


DISCRETE = st.builds(lambda n, start: spaces.Discrete(n, start=start), st.integers(1, 5), st.integers(-2, 2))
MULTI_DISCRETE = SIZES.map(lambda sizes: spaces.MultiDiscrete(np.array(sizes)))
MULTI_BINARY = st.one_of(st.integers(1, 3), SHAPES.map(list)).map(spaces.MultiBinary)
LEAVES = st.one_of(boxes(), DISCRETE, MULTI_DISCRETE, MULTI_BINARY)
OBSERVATIONS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.lists(inner, min_size=1, max_size=3).map(spaces.Tuple),
        st.dictionaries(st.sampled_from("zyxa"), inner, min_size=1, max_size=3).map(spaces.Dict),
    ),
    max_leaves=4,
)


@st.composite
def teams(draw, actions=LEAVES):
    n = draw(st.integers(1, 4))
    names = [f"agent_{i}" for i in range(n)]
    seen = {name: draw(OBSERVATIONS) for name in names}
    done = {name: draw(actions) for name in names}
    for index, name in enumerate(names):
        seen[name].seed(index)
        done[name].seed(index)
    return TeamSpaces(names, seen, done)


@given(teams())
def test_observations_split_into_what_was_joined(team):
    flat = {a: team.flatten_agent(a, team.observation_spaces[a].sample()) for a in team.agents}
    joint = team.join_observations(flat)
    assert joint.shape == (team.observation_size,)
    assert joint.dtype == np.float32
    assert team.observation_space.contains(joint)
    parts = team.split_observations(joint)
    for agent in team.agents:
        np.testing.assert_array_equal(parts[agent], flat[agent])
    np.testing.assert_array_equal(team.join_observations(parts), joint)
    batch = np.stack([joint, 2 * joint])
    np.testing.assert_array_equal(team.join_observations(team.split_observations(batch)), batch)


@given(OBSERVATIONS)
def test_flattening_is_gymnasiums(space):
    space.seed(0)
    team = TeamSpaces(["one"], {"one": space}, {"one": spaces.Discrete(2)})
    value = space.sample()
    expected = np.asarray(gymnasium_flatten(space, value), dtype=np.float32)
    np.testing.assert_array_equal(team.flatten_agent("one", value), expected)


@given(teams())
def test_actions_join_to_what_was_split(team):
    actions = {a: team.action_spaces[a].sample() for a in team.agents}
    packed = team.join_actions(actions)
    assert packed.dtype == team.action_dtype
    assert team.action_space.contains(packed)
    again = team.split_actions(packed)
    for agent in team.agents:
        assert team.action_spaces[agent].contains(again[agent])
        np.testing.assert_allclose(again[agent], actions[agent], rtol=1e-6)
    np.testing.assert_array_equal(team.join_actions(again), packed)


@given(teams(), st.integers(0, 2**32 - 1))
def test_any_element_of_the_joint_action_space_is_one_action_each(team, seed):
    team.action_space.seed(seed)
    actions = team.split_actions(team.action_space.sample())
    assert all(team.action_spaces[agent].contains(actions[agent]) for agent in team.agents)


@given(teams(), st.integers(0, 2**32 - 1))
def test_masks(team, seed):
    rng = np.random.default_rng(seed)
    alive = rng.random(team.n_agents) < 0.7
    masks = {
        agent: None if rng.random() < 0.3 else rng.random(where.stop - where.start) < 0.5
        for agent, where in zip(team.agents, team.mask_slices, strict=True)
    }
    joint = team.join_masks(masks, alive)
    assert joint.shape == (team.mask_size,)
    for where, n in zip(team.column_masks, team.column_categories, strict=True):
        assert n == 0 or joint[where].any()
    for agent, lives, where in zip(team.agents, alive, team.mask_slices, strict=True):
        if not lives:
            columns = team.only(agent).column_categories
            assert joint[where].sum() == sum(n > 0 for n in columns)
        elif masks[agent] is None:
            assert joint[where].all()
        else:
            assert (joint[where] | ~masks[agent]).all()


@given(teams())
def test_json_and_pickle_bring_the_same_team_back(team):
    text = json.dumps(team.to_json(), allow_nan=False)
    for again in (TeamSpaces.from_json(json.loads(text)), pickle.loads(pickle.dumps(team))):
        assert again == team
        assert hash(again) == hash(team)
        assert again.observation_space == team.observation_space
        assert again.action_space == team.action_space


@given(teams())
def test_offsets_add_up(team):
    assert team.observation_slices[-1].stop == team.observation_size == sum(team.observation_sizes)
    assert team.action_columns[-1].stop == team.n_columns == len(team.column_categories)
    assert team.output_slices[-1].stop == team.output_size == team.column_outputs[-1].stop
    assert team.mask_slices[-1].stop == team.mask_size
    assert team.is_discrete == (0 not in team.column_categories)
    alone = [team.only(agent) for agent in team.agents]
    assert sum(one.output_size for one in alone) == team.output_size


def test_unbounded_boxes_survive_json():
    box = spaces.Box(np.array([-np.inf, 0.0]), np.array([np.finfo(np.float64).max, np.inf]), dtype=np.float64)
    team = TeamSpaces(["a"], {"a": box}, {"a": spaces.Discrete(2)})
    assert TeamSpaces.from_json(json.loads(json.dumps(team.to_json(), allow_nan=False))) == team
    assert np.isinf(team.observation_space.high).all()


def test_bounds_make_room_for_a_dead_agents_zeros():
    team = TeamSpaces(["a"], {"a": spaces.Box(2.0, 3.0, (1,))}, {"a": spaces.Discrete(2)})
    assert team.observation_space.contains(team.join_observations({}))
    assert team.observation_space.high[0] == 3.0


def test_masked_observations_are_taken_apart():
    team = TeamSpaces.from_parallel_env(MortalEnv())
    assert team.has_masks
    assert team.observation_sizes == (2, 2, 2)
    raw = {"observation": np.array([1.0, 2.0]), "action_mask": np.ones(3, dtype=np.int8)}
    np.testing.assert_array_equal(team.flatten_agent("mortal_0", raw), [1, 2])
    np.testing.assert_array_equal(team.flatten_agent("mortal_0", raw["observation"]), [1, 2])


def test_agents_that_are_numbers_go_by_their_names():
    team = TeamSpaces.from_parallel_env(MixedEnv())
    assert team.agents == ("0", "1", "2", "3")
    assert team.column_categories == (3, 2, 3, 2, 2, 0, 0)
    assert team.action_dtype is np.float32
    assert team.agent_index("2") == team.agent_index(2) == 2


def test_layouts_from_the_environment_and_checked():
    layout = AgentLayout(
        ObservationLayout((Part("self", "own", 1, 2), Part("others", "entities", 2, 2))),
        (ActionPart("move", "move", 0),),
    )
    assert layout.observation.slice("others") == slice(2, 6)
    assert AgentLayout.from_json(json.loads(json.dumps(layout.to_json()))) == layout
    seen, done = {"a": spaces.Box(-1, 1, (6,))}, {"a": spaces.Discrete(2)}
    assert TeamSpaces(["a"], seen, done, {"a": layout}).layouts["a"] is layout
    with pytest.raises(LayoutError, match=r"layout of a: parts add up to 6 \(self 2, others 4\), .* has 5"):
        TeamSpaces(["a"], {"a": spaces.Box(-1, 1, (5,))}, done, {"a": layout})
    with pytest.raises(LayoutError, match="layouts: unknown agent 'b'"):
        TeamSpaces(["a"], seen, done, {"b": layout})
    with pytest.raises(LayoutError, match="two parts are called 'x'"):
        ObservationLayout((Part("x", "own"), Part("x", "own")))
    with pytest.raises(LayoutError, match=r"^part 'x': unknown kind 'thing'; allowed: agents, "):
        Part("x", "thing")
    with pytest.raises(LayoutError, match=r"^part 'x': count 1 x size -1, expected at least 0$"):
        Part("x", "own", 1, -1)
    flat = TeamSpaces(["a"], seen, done).layouts["a"]
    assert flat.observation.parts == (Part("observation", "own", 1, 6),)


def test_lists_of_parts_are_as_good():
    parts, moves = [Part("self", "own", 1, 2)], [ActionPart("move", "move", 0)]
    layout = AgentLayout(ObservationLayout(parts), moves)
    assert layout == AgentLayout(ObservationLayout(tuple(parts)), tuple(moves))
    assert hash(layout) == hash(AgentLayout(ObservationLayout(tuple(parts)), tuple(moves)))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: TeamSpaces([], {}, {}), r"agents \[\]: expected at least one"),
        (lambda: TeamSpaces(["a"], {}, {}), "a: has no observation space"),
        (
            lambda: TeamSpaces(["a"], {"a": spaces.Text(3)}, {"a": spaces.Discrete(2)}),
            "a: Text space: expected",
        ),
        (lambda: TeamSpaces(["a"], {"a": spaces.Discrete(2)}, {"a": spaces.Text(2)}), "a: Text action space"),
        (lambda: TeamSpaces.from_json({"agents": [{"name": "a"}]}), "not a team: KeyError: 'observation'"),
    ],
)
def test_what_has_no_joint_view_is_refused_in_one_line(build, message):
    with pytest.raises(SpaceError, match=message) as caught:
        build()
    assert "\n" not in str(caught.value)


def test_what_does_not_fit_is_refused():
    team = TeamSpaces(["scout", "tank"], dict.fromkeys(["scout", "tank"], spaces.Box(-1, 1, (2,))),
                      dict.fromkeys(["scout", "tank"], spaces.Discrete(3)))  # fmt: skip
    with pytest.raises(SpaceError, match="unknown agent 'scuot'; did you mean 'scout"):
        team.agent_index("scuot")
    with pytest.raises(SpaceError, match=r"^unknown agent 'x'; allowed: scout, tank$"):
        team.agent_index("x")
    with pytest.raises(SpaceError, match="agent 2: expected 0 to 1"):
        team.only(2)
    with pytest.raises(SpaceError, match=r"tank: shape \(3,\), expected \(2,\)"):
        team.flatten_agent("tank", np.zeros(3))
    with pytest.raises(SpaceError, match=r"tank: categories \[3\]"):
        team.split_actions(np.array([0, 3]))
    with pytest.raises(SpaceError, match=r"packed action of shape \(3,\), expected \(2,\)"):
        team.split_actions(np.zeros(3, dtype=np.int64))
    with pytest.raises(SpaceError, match="scout: action mask of length 2, expected 3"):
        team.join_masks({"scout": [1, 1]})
    with pytest.raises(AttributeError, match="immutable"):
        team.agents = ()


class LaidOut(MatchingGame):
    def layout(self, agent):
        return AgentLayout(ObservationLayout((Part("cue", "entities", self.n_cues, 1),)))


def test_an_environments_own_layout_is_found_and_a_wrapper_may_outdate_it():
    cue = TeamSpaces.from_parallel_env(LaidOut(n_cues=3)).layouts["player_1"].observation.part("cue")
    assert (cue.kind, cue.width) == ("entities", 3)
    same_size = black_death_v3(LaidOut(n_cues=3))
    assert TeamSpaces.from_parallel_env(same_size).layouts["player_0"].observation.part("cue") == cue
    stacked = frame_stack_v1(LaidOut(), stack_size=2)
    assert [p.kind for p in TeamSpaces.from_parallel_env(stacked).layouts["player_0"].observation.parts] == [
        "own"
    ]
    wrong = LaidOut()
    wrong.n_cues = 4
    wrong.observation_space = lambda agent: spaces.Box(0.0, 1.0, (3,))
    with pytest.raises(LayoutError, match=r"layout of player_0: parts add up to 4 \(cue 4\)"):
        TeamSpaces.from_parallel_env(wrong)
    with pytest.raises(UnknownNameError, match="unknown observation part 'cues'; did you mean 'cue"):
        TeamSpaces.from_parallel_env(LaidOut()).layouts["player_0"].observation.slice("cues")


def test_layouts_survive_json():
    parts = Part("own", "own", 1, 2), Part("marks", "entities", 3, 2), Part("rest", "own", 1, 1)
    layouts = {"a": AgentLayout(ObservationLayout(parts), (ActionPart("move", "move", 0),))}
    seen = dict.fromkeys("ab", spaces.Box(-1, 1, (9,)))
    team = TeamSpaces(["a", "b"], seen, dict.fromkeys("ab", spaces.Discrete(2)), layouts)
    again = TeamSpaces.from_json(json.loads(json.dumps(team.to_json())))
    for one in (team, again, team.only("a"), again.only("a")):
        assert one.layouts["a"] == layouts["a"]
        assert [one.layouts["a"].observation.slice(part.name) for part in parts] == [
            *(slice(0, 2), slice(2, 8), slice(8, 9)),
        ]
    assert len(again.layouts["b"].observation.parts) == 1
    data = team.to_json()
    data["agents"][0]["layout"] = {"observation": "flat"}
    with pytest.raises(LayoutError, match=r"^not a layout: ."):
        TeamSpaces.from_json(data)


def test_a_dead_agents_action_is_within_its_bounds():
    """As near to 0 as they allow."""
    low, high = np.float32([1.0, -1.0, -5.0]), np.float32([2.0, 1.0, -4.0])
    box = spaces.Box(low, high, dtype=np.float32)
    team = TeamSpaces(["a", "b"], dict.fromkeys("ab", spaces.Box(-1, 1, (1,))), dict.fromkeys("ab", box))
    assert team.join_actions({"a": np.array([1.5, 0.5, -4.5])}).tolist() == [1.5, 0.5, -4.5, 1.0, 0.0, -4.0]


def test_a_layouts_parts_stand_one_after_the_other():
    parts = (
        Part("a", "own", size=2),
        Part("b", "agents", 3, 4),
        Part("c", "own", size=1),
        Part("d", "own", size=5),
    )
    layout = ObservationLayout(parts)
    places = [layout.slice(part.name) for part in parts]
    assert [(place.start, place.stop) for place in places] == [(0, 2), (2, 14), (14, 15), (15, 20)]
    with pytest.raises(UnknownNameError, match="did you mean 'a"):
        layout.slice("aa")


def test_wrong_action_parts_are_told():
    with pytest.raises(LayoutError, match=r"action part 'x': unknown kind 'mov'; did you mean 'move'"):
        ActionPart("x", "mov", 0)
    with pytest.raises(LayoutError, match="action part 'x': column -1, expected at least 0"):
        ActionPart("x", "move", -1)


def test_one_agent_alone_keeps_its_layout():
    team = TeamSpaces.from_parallel_env(LaidOut())
    alone = team.only("player_1")
    assert alone.agents == ("player_1",)
    assert alone.layouts == {"player_1": team.layouts["player_1"]}
    assert hash(team) == hash(TeamSpaces.from_parallel_env(LaidOut()))
    assert hash(team) != hash(alone)


def test_whose_action_is_none_is_told():
    team = TeamSpaces.from_parallel_env(MatchingGame())
    with pytest.raises(SpaceError, match=r"^player_1: action of shape \(2,\)"):
        team.join_actions({"player_0": 0, "player_1": [0, 1]})
    with pytest.raises(SpaceError, match="has no possible_agents, so that the team is not known"):
        TeamSpaces.from_parallel_env(object())


def test_spaces_of_other_types_survive_json():
    numbers = spaces.Box(
        np.array([[-(2**62) - 1, 0]]), np.array([[2**62 + 1, 7]]), shape=(1, 2), dtype=np.int64
    )
    point = spaces.Box(-1.0, 2.0, (), np.float32)
    choices = spaces.MultiDiscrete(np.array([3, 2], dtype=np.int32), dtype=np.int32)
    names = ["a", "b"]
    team = TeamSpaces(names, {"a": numbers, "b": point}, dict.fromkeys(names, choices))
    again = TeamSpaces.from_json(json.loads(json.dumps(team.to_json())))
    assert again == team
    assert again.observation_spaces["a"].high[0, 0] == 2**62 + 1
    assert again.observation_spaces["a"].dtype == np.int64
    assert again.observation_spaces["b"].shape == ()
    assert again.action_spaces["a"].dtype == np.int32


@pytest.mark.skipif(
    "start" not in signature(spaces.MultiDiscrete).parameters, reason="this Gymnasium counts from 0"
)
def test_where_choices_are_counted_from_survives_json():
    choices = spaces.MultiDiscrete([3, 2], start=[5, 0])
    team = TeamSpaces(["a"], {"a": spaces.Box(0, 1, (1,))}, {"a": choices})
    again = TeamSpaces.from_json(json.loads(json.dumps(team.to_json())))
    assert again.action_spaces["a"].start.tolist() == [5, 0]
    assert again == team
    assert again.join_actions({"a": np.array([7, 1])}).tolist() == [2, 1]


def test_spaces_that_would_fill_the_memory_are_refused():
    for data in (
        {"kind": "Box", "shape": [LARGEST, 2], "low": 0, "high": 1, "dtype": "float32"},
        {"kind": "Discrete", "n": LARGEST + 1, "start": 0},
        {"kind": "MultiBinary", "n": [LARGEST, 2]},
        {"kind": "MultiDiscrete", "nvec": [LARGEST, 1], "start": [0, 0], "dtype": "int64"},
    ):
        with pytest.raises(SpaceError, match=r"^not a space: ValueError: \d+ numbers or categories"):
            space_from_json(data)
    assert space_from_json({"kind": "Discrete", "n": LARGEST, "start": 0}).n == LARGEST
    with pytest.raises(SpaceError, match="not a space: ValueError: dtype <U3, expected numbers"):
        space_from_json({"kind": "Box", "shape": [1], "low": 0, "high": 1, "dtype": "<U3"})


def test_a_mask_may_have_a_part_for_each_column():
    choices = spaces.MultiDiscrete([2, 3])
    team = TeamSpaces(["a"], {"a": spaces.Box(0, 1, (1,))}, {"a": choices})
    for mask in (([1, 0], [0, 1, 1]), [[1, 0], [0, 1, 1]], [1, 0, 0, 1, 1], np.array([1, 0, 0, 1, 1])):
        flags = team.join_masks({"a": mask})
        assert flags.dtype == bool
        assert flags.tolist() == [True, False, False, True, True]


def test_a_choice_that_there_is_not_is_no_observation():
    team = TeamSpaces(["a"], {"a": spaces.Discrete(3)}, {"a": spaces.Discrete(2)})
    assert team.flatten_agent("a", 2).tolist() == [0, 0, 1]
    for wrong in (3, -1):
        with pytest.raises(SpaceError, match=rf"a: {wrong} is not an element of Discrete\(3\)"):
            team.flatten_agent("a", wrong)


def test_teams_that_differ_in_one_thing_are_not_the_same():
    seen, done = {"a": spaces.Box(0, 1, (2,))}, {"a": spaces.Discrete(2)}
    team = TeamSpaces(["a"], seen, done)
    two = AgentLayout(ObservationLayout((Part("x", "own", size=1), Part("y", "own", size=1))))
    others = (
        TeamSpaces(["b"], {"b": seen["a"]}, {"b": done["a"]}),
        TeamSpaces(["a"], {"a": spaces.Box(0, 2, (2,))}, done),
        TeamSpaces(["a"], seen, {"a": spaces.Discrete(2, start=1)}),
        TeamSpaces(["a"], seen, done, {"a": two}),
    )
    assert all(other != team for other in others)
    assert team == TeamSpaces(["a"], dict(seen), dict(done))
    assert team != "team"


def test_layouts_of_no_size_or_no_such_column_are_refused():
    for wrong in ({"count": -1}, {"size": -1}):
        with pytest.raises(LayoutError):
            Part("x", "own", **wrong)
    last = AgentLayout(flat_layout(2).observation, (ActionPart("move", "move", 1),))
    with pytest.raises(LayoutError, match="column 1"):
        TeamSpaces(["a"], {"a": spaces.Box(0, 1, (2,))}, {"a": spaces.Discrete(2)}, {"a": last})


def test_keys_of_a_dict_keep_their_kind_on_disk():
    members = spaces.Dict({3: spaces.Discrete(2), 11: spaces.Box(0, 1, (2,))})
    team = TeamSpaces(["a"], {"a": members}, {"a": spaces.Discrete(2)})
    again = TeamSpaces.from_json(json.loads(json.dumps(team.to_json())))
    assert again == team
    assert again.flatten_agent("a", {3: 1, 11: [0.5, 1.0]}).tolist() == [0, 1, 0.5, 1]
    odd = TeamSpaces(["a"], {"a": spaces.Dict({(1, 2): spaces.Discrete(2)})}, {"a": spaces.Discrete(2)})
    with pytest.raises(SpaceError, match=r"the key \(1, 2\), expected text or an integer"):
        odd.to_json()
