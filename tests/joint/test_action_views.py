"""Every view decodes what it encodes, and its masks say exactly which of its actions are legal."""

import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st

from cesma_sb3.errors import ActionViewError, UnknownNameError
from cesma_sb3.spaces.action_views import VIEW_NAMES, ActionView, make_view
from cesma_sb3.spaces.team_spaces import TeamSpaces

KINDS = st.one_of(
    st.integers(1, 4).map(spaces.Discrete),
    st.lists(st.integers(1, 3), min_size=1, max_size=2).map(spaces.MultiDiscrete),
    st.integers(1, 2).map(spaces.MultiBinary),
)
BOX = spaces.Box(np.array([-2.0, 0.5], dtype=np.float32), np.array([3.0, 4.0], dtype=np.float32))


def team_of(action_spaces) -> TeamSpaces:
    names = [f"agent_{i}" for i in range(len(action_spaces))]
    observation = spaces.Box(-1, 1, (2,))
    return TeamSpaces(names, dict.fromkeys(names, observation), dict(zip(names, action_spaces, strict=True)))


DISCRETE_TEAMS = st.lists(KINDS, min_size=1, max_size=3).map(team_of)
ALL_TEAMS = st.lists(st.one_of(KINDS, st.just(BOX)), min_size=1, max_size=3).map(team_of)
SEEDS = st.integers(0, 2**32 - 1)


def draw(view: ActionView, seed: int, n: int = 6) -> np.ndarray:
    view.space.seed(seed)
    return np.stack([np.asarray(view.space.sample()) for _ in range(n)])


def legal(team: TeamSpaces, packed: np.ndarray, mask: np.ndarray) -> bool:
    return all(mask[where.start + int(k)] for where, k in zip(team.column_masks, packed, strict=True))


@given(DISCRETE_TEAMS, st.sampled_from(VIEW_NAMES), SEEDS)
def test_decode_and_encode_are_inverse(team, name, seed):
    view = make_view(name, team)
    assert isinstance(view, ActionView)
    packed = view.decode(draw(view, seed))
    assert packed.shape == (6, team.n_columns)
    assert packed.dtype == team.action_dtype
    assert all(team.action_space.contains(row) for row in packed)
    again = view.encode(packed)
    assert all(view.space.contains(row) for row in np.asarray(again).astype(view.space.dtype))
    np.testing.assert_array_equal(view.decode(again), packed)


@given(ALL_TEAMS, st.sampled_from(["joint", "relaxed"]), SEEDS)
def test_decode_and_encode_are_inverse_with_real_numbers(team, name, seed):
    view = make_view(name, team)
    packed = view.decode(draw(view, seed))
    assert all(team.action_space.contains(row) for row in packed)
    np.testing.assert_allclose(view.decode(view.encode(packed)), packed, rtol=1e-5, atol=1e-5)


@given(DISCRETE_TEAMS, st.sampled_from(["product", "one-at-a-time"]), SEEDS)
def test_masks_allow_exactly_the_legal_actions(team, name, seed):
    view = make_view(name, team)
    rng = np.random.default_rng(seed)
    masks = rng.random((4, team.mask_size)) < 0.7
    masks[:, [where.start for where in team.column_masks]] = True  # everybody can do nothing
    flags = view.masks(masks)
    everything = view.decode(np.arange(view.space.n))
    for row, mask in zip(flags, masks, strict=True):
        np.testing.assert_array_equal(row, [legal(team, packed, mask) for packed in everything])


@given(DISCRETE_TEAMS, SEEDS)
def test_product_counts_every_combination_once_and_has_marginals(team, seed):
    view = make_view("product", team)
    everything = view.decode(np.arange(view.space.n))
    assert len(np.unique(everything, axis=0)) == view.space.n == np.prod(team.column_categories)
    rng = np.random.default_rng(seed)
    each = [rng.dirichlet(np.ones(n)) for n in team.column_categories]
    joint = np.array([np.prod([each[c][k] for c, k in enumerate(row)]) for row in everything])
    np.testing.assert_allclose(view.marginals(joint[None])[0], np.concatenate(each), rtol=1e-5, atol=1e-6)


@given(DISCRETE_TEAMS)
def test_one_at_a_time_moves_one(team):
    view = make_view("one-at-a-time", team)
    assert view.space.n == sum(n - 1 for n in team.column_categories) + 1
    everything = view.decode(np.arange(view.space.n))
    assert not everything[0].any()
    assert ((everything[1:] != 0).sum(axis=1) == 1).all()
    assert len(np.unique(everything, axis=0)) == view.space.n


def test_one_at_a_time_with_another_noop_and_somebody_dead():
    team = team_of([spaces.Discrete(3), spaces.Discrete(3)])
    view = make_view("one-at-a-time", team, noop=1)
    assert view.decode(np.arange(5)).tolist() == [[1, 1], [0, 1], [2, 1], [1, 0], [1, 2]]
    dead = team.join_masks({"agent_0": [0, 1, 1]}, [True, False])[None]
    assert view.masks(dead).tolist() == [
        [True, False, True, True, False]
    ]  # a dead agent's category 0 is harmless
    alive = np.ones_like(dead)
    np.testing.assert_array_equal(view.masks(np.concatenate([alive, dead]))[1:], view.masks(dead))
    with pytest.raises(ActionViewError, match="has two choices that differ from the no-op"):
        view.encode(np.array([[0, 2]]))
    stuck = np.array([[True, False, True] * 2])  # neither can do nothing
    with pytest.raises(ActionViewError, match=r"columns \[0, 1\] cannot take their no-op"):
        view.masks(stuck)


def test_relaxed_takes_the_largest_available_category_and_rescales():
    team = team_of([spaces.Discrete(3), BOX])
    view = make_view("relaxed", team)
    action = np.array([[0.1, 0.9, 0.5, -1.0, 1.0]], dtype=np.float32)
    np.testing.assert_allclose(view.decode(action), [[1, -2.0, 4.0]])
    np.testing.assert_allclose(view.decode(action, np.array([[True, False, True]])), [[2, -2.0, 4.0]])
    flags = view.masks(np.array([[True, False, True]]))
    assert flags.dtype == bool
    assert flags.tolist() == [[True, False, True, True, True]]


def test_what_a_view_cannot_hold_is_refused():
    many = team_of([spaces.Discrete(10)] * 5)
    with pytest.raises(
        ActionViewError, match=r"10 x 10 x 10 x 10 x 10 = 100,000 joint actions, at most 10,000"
    ):
        make_view("product", many)
    assert make_view("product", many, max_actions=100_000).space.n == 100_000
    mixed = team_of([spaces.Discrete(2), BOX])
    for name in ("product", "one-at-a-time"):
        with pytest.raises(ActionViewError, match="the action of agent_1 is continuous"):
            make_view(name, mixed)
    with pytest.raises(ActionViewError, match="without bounds"):
        make_view("relaxed", team_of([spaces.Box(-np.inf, np.inf, (1,))]))
    with pytest.raises(UnknownNameError, match="unknown action view 'relxed'; did you mean 'relaxed"):
        make_view("relxed", many)
    with pytest.raises(ActionViewError, match="unexpected keyword argument 'nop'"):
        make_view("one-at-a-time", many, nop=1)
    with pytest.raises(ActionViewError, match="noop 12, but the categories are"):
        make_view("one-at-a-time", many, noop=12)


def test_one_at_a_time_looks_at_each_row_by_itself():
    """Everybody is free, one of two must do category 1, or the first can do nothing at all."""
    view = make_view("one-at-a-time", team_of([spaces.Discrete(3), spaces.Discrete(3)]))
    free, must, dead = [1, 1, 1], [0, 1, 0], [1, 0, 0]
    masks = view.masks(np.array([free + free, must + free, free + must, dead + free], dtype=bool))
    assert masks.dtype == bool
    expected = [[1, 1, 1, 1, 1], [0, 1, 0, 0, 0], [0, 0, 0, 1, 0], [1, 0, 0, 1, 1]]
    np.testing.assert_array_equal(masks, np.array(expected, dtype=bool))
    with pytest.raises(ActionViewError, match=r"columns \[0, 1\] cannot take their no-op now"):
        view.masks(np.array([free + free, must + must], dtype=bool))
    with pytest.raises(
        ActionViewError, match=r"\[1, 2\] has two choices that differ from the no-op \[0, 0\]"
    ):
        view.encode(np.array([[0, 0], [0, 1], [1, 2], [2, 2]]))


@pytest.mark.parametrize("name", ["product", "one-at-a-time"])
def test_joint_actions_that_are_written_as_floats_are_counted_all_the_same(name):
    view = make_view(name, team_of([spaces.Discrete(3), spaces.Discrete(2)]))
    actions = np.arange(view.space.n)
    encoded = view.encode(view.decode(actions).astype(np.float32))
    assert encoded.dtype == np.int64
    np.testing.assert_array_equal(encoded, actions)


def test_relaxed_numbers_beyond_their_bounds_are_taken_for_the_bounds():
    narrow = spaces.Box(
        np.array([0.0, 2.0], np.float32), np.array([0.5, 2.0], np.float32)
    )  # the second is one number
    view = make_view("relaxed", team_of([BOX, narrow]))
    assert view.space == spaces.Box(-1.0, 1.0, (4,), np.float32)
    packed = view.decode(np.array([[-3.0, 7.0, 0.0, 0.3], [1.5, -1.5, -1.0, -0.3]], np.float32))
    np.testing.assert_allclose(packed, [[-2.0, 4.0, 0.25, 2.0], [3.0, 0.5, 0.0, 2.0]])
    assert view.encode(packed).dtype == np.float32
    np.testing.assert_allclose(view.encode(packed), [[-1, 1, 0, -1], [1, -1, -1, -1]])
    np.testing.assert_array_equal(view.decode(np.array([0.0, 0.0, 1e-12, 0.0])), view.decode(np.zeros(4)))


def test_one_noop_for_each_column():
    team = team_of([spaces.Discrete(3), spaces.Discrete(2)])
    view = make_view("one-at-a-time", team, noop=[2, 1])
    assert view.decode(np.arange(4)).tolist() == [[2, 1], [0, 1], [1, 1], [2, 0]]
    for wrong in ([2, 2], [2], [-1, 0]):
        with pytest.raises(ActionViewError, match=r"noop .*, but the categories are"):
            make_view("one-at-a-time", team, noop=wrong)
    with pytest.raises(ActionViewError, match="noop 2, but the categories are"):
        make_view("one-at-a-time", team, noop=2)


@given(DISCRETE_TEAMS, SEEDS)
def test_one_at_a_time_what_is_available_can_be_done(team, seed):
    """Whatever the no-ops, also for who is left with category 0 alone: what the masks allow is legal."""
    rng = np.random.default_rng(seed)
    view = make_view("one-at-a-time", team, noop=[int(rng.integers(n)) for n in team.column_categories])
    masks = rng.random((8, team.mask_size)) < 0.6
    for where in team.column_masks:
        masks[~masks[:, where].any(axis=1), where.start] = True
    for mask in masks:
        try:
            allowed = np.flatnonzero(view.masks(mask[None])[0])
        except ActionViewError:  # two are stuck
            continue
        for packed in view.decode(allowed, np.tile(mask, (len(allowed), 1))):
            assert legal(team, packed, mask)


def test_joint_actions_are_in_the_types_of_the_team():
    for team, wanted in ((team_of([spaces.Discrete(3)]), np.int64), (team_of([BOX]), np.float32)):
        view = make_view("joint", team)
        assert view.encode(np.zeros((1, team.n_columns))).dtype == wanted == team.action_dtype
    marginals = make_view("product", team_of([spaces.Discrete(3)])).marginals(np.full((1, 3), 1 / 3))
    assert marginals.dtype == np.float32


def test_joint_numbers_beyond_their_bounds_are_taken_for_the_bounds():
    view = make_view("joint", team_of([BOX]))
    packed = view.decode(np.array([[-9.0, 9.0], [9.0, -9.0], [0.0, 1.0]]))
    assert packed.dtype == np.float32
    np.testing.assert_array_equal(packed, [[-2.0, 4.0], [3.0, 0.5], [0.0, 1.0]])


def test_one_at_a_time_a_move_that_cannot_be_done_is_not_hidden():
    """Only who rests is taken for doing category 0; a move is for the environment to refuse."""
    view = make_view("one-at-a-time", team_of([spaces.Discrete(3), spaces.Discrete(3)]), noop=1)
    only = np.array([[True, False, False] * 2])
    assert view.decode(np.array([0]), only).tolist() == [[0, 0]]
    assert view.decode(np.array([2]), only).tolist() == [[2, 0]]
