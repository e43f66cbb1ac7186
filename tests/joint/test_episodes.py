"""Whole episodes: what is kept, what makes room, what is drawn."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cesma_sb3.algorithms.episode_store import EpisodeStore
from cesma_sb3.errors import ConfigError


def episodes_of(drawn):
    """The rows of each episode of `Episodes`, those of padding too, the longest episode first."""
    begins = np.cumsum([0, *drawn.sizes])
    return [[begins[t] + b for t, size in enumerate(drawn.sizes) if b < size] for b in range(drawn.sizes[0])]


def run(store, lengths_of_envs):
    """Environments that play episodes of these lengths; a value is 1000 * environment + a running number.

    Returns the episodes in the order of their ends.
    """
    finished, begun = [], [[] for _ in lengths_of_envs]
    plans = [list(lengths) for lengths in lengths_of_envs]
    for step in range(max(sum(lengths) for lengths in lengths_of_envs)):
        values = np.array([1000.0 * env + step + 1 for env in range(len(plans))])
        ended = np.zeros(len(plans), dtype=bool)
        for env, plan in enumerate(plans):
            begun[env].append(values[env])
            if len(begun[env]) == (plan[0] if plan else 1):  # whoever is done plays episodes of one step
                del plan[:1]
                ended[env] = True
        store.append({"x": np.stack([values, -values], axis=1), "end": ended}, ended)
        for env in np.flatnonzero(ended):
            finished.append(begun[env])
            begun[env] = []
    return finished


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.integers(1, 7), min_size=1, max_size=6), min_size=1, max_size=4),
    st.integers(7, 40),
    st.integers(0, 100),
)
def test_the_newest_whole_episodes_that_have_room(lengths, capacity, seed):
    store = EpisodeStore(capacity)
    kept = []
    for episode in reversed(run(store, lengths)):
        if sum(map(len, kept)) + len(episode) > capacity:
            break
        kept.append(episode)
    assert len(store) == len(kept)
    assert store.n_steps == sum(map(len, kept)) <= capacity
    if not kept:
        return
    drawn = store.sample(64, np.random.default_rng(seed))
    x, ended = drawn.fields["x"], drawn.fields["end"]
    drawn_lengths = []
    for rows in episodes_of(drawn):
        real = ended[rows].argmax() + 1
        drawn_lengths.append(real)
        assert x[rows[:real], 0].tolist() in kept
        assert np.array_equal(x[rows, 0], -x[rows, 1])
        assert not x[rows[real:]].any()
        assert not ended[rows[real:]].any()
    assert len(drawn_lengths) == 64
    assert drawn_lengths == sorted(drawn_lengths, reverse=True)


def test_there_is_little_padding():
    store, lengths = EpisodeStore(200), [30, 3, 17, 9, 1, 24]
    run(store, [lengths])
    drawn = store.sample(20, np.random.default_rng(3))
    real = sum(drawn.fields["end"][rows].argmax() + 1 for rows in episodes_of(drawn))
    assert len(drawn.fields["x"]) == sum(drawn.sizes)
    assert drawn.sizes == sorted(drawn.sizes, reverse=True)
    assert 0 <= sum(drawn.sizes) - real < 20 * 8
    assert len(set(drawn.sizes)) <= 4, "eight timesteps in a row hold the same episodes"


def test_all_are_drawn_alike():
    store = EpisodeStore(100)
    run(store, [[1, 3, 5, 2]])
    drawn = store.sample(4000, np.random.default_rng(0))
    lengths = [drawn.fields["end"][rows].argmax() + 1 for rows in episodes_of(drawn)]
    counts = np.bincount(lengths)[[1, 3, 5, 2]]
    assert (np.abs(counts - 1000) < 120).all()


def test_a_step_is_copied():
    store, values = EpisodeStore(10), np.ones(1)
    store.append({"x": values}, np.array([False]))
    values[:] = 7.0
    store.append({"x": values}, np.array([True]))
    assert store.sample(1, np.random.default_rng(0)).fields["x"][:2].tolist() == [1.0, 7.0]


def test_what_had_begun_can_be_forgotten():
    store = EpisodeStore(10)
    store.append({"x": np.ones(2)}, np.array([False, False]))
    store.forget_begun()
    store.append({"x": np.ones(2)}, np.array([True, False]))
    assert store.n_steps == 1


@pytest.mark.parametrize(("capacity", "closes"), [(3, False), (3, True), (1, True), (6, False)])
def test_an_episode_that_can_never_be_drawn_is_refused_while_it_lasts(capacity, closes):
    """With its closing step, if there is one; environment 0, whose episodes are short, is no excuse."""
    store = EpisodeStore(capacity)
    last = {"x": np.zeros(2)} if closes else None
    step = ({"x": np.ones(2)}, np.array([capacity > 1, False]), last)
    for _ in range(capacity - closes):
        store.append(*step)
    with pytest.raises(ConfigError) as caught:
        store.append(*step)
    assert str(caught.value) == (
        f"an episode of environment {int(capacity > 1)} takes {capacity + 1} steps or more, but capacity is "
        f"{capacity}; expected a capacity of at least one whole episode"
    )


def test_a_large_capacity_costs_nothing():
    store = EpisodeStore(10**12)
    run(store, [[3, 4]])
    assert store.rows.n_bytes <= 2 * 7 * (2 * 8 + 1)


def test_what_is_refused():
    with pytest.raises(ValueError, match="capacity=0: expected at least 1"):
        EpisodeStore(0)
    store = EpisodeStore(10)
    with pytest.raises(ValueError, match="no episode has ended yet"):
        store.sample(1, np.random.default_rng(0))
    store.append({"x": np.ones(2)}, np.zeros(2, dtype=bool))
    with pytest.raises(
        ValueError, match=r"a step of 2 environments with \['y'\], but the store holds \['x'\] of 2"
    ):
        store.append({"y": np.ones(2)}, np.zeros(2, dtype=bool))
    with pytest.raises(ValueError, match="a step of 3 environments"):
        store.append({"x": np.ones(3)}, np.zeros(3, dtype=bool))


def test_an_episode_is_closed_with_its_last_step():
    """What was seen at the end, of the environment that has ended, is one more step of it."""
    store = EpisodeStore(20)
    for step in range(3):
        seen = np.array([10.0, 20.0]) + step
        ended = np.array([False, step == 2])
        store.append({"x": seen}, ended, last={"x": seen + 0.5})
    drawn = store.sample(1, np.random.default_rng(0))
    assert drawn.fields["x"][:4].tolist() == [20.0, 21.0, 22.0, 22.5]


def test_there_may_be_room_for_one_step_alone():
    store = EpisodeStore(1)
    for value in (3.0, 5.0):
        store.append({"x": np.array([value])}, np.array([True]))
    assert len(store) == 1
    assert store.sample(4, np.random.default_rng(0)).fields["x"][:4].tolist() == [5.0] * 4
