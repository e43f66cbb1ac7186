"""The dataset keeps what it says it keeps, in the memory that its samples need."""

import numpy as np
import pytest
import torch as th
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st

from cesma_sb3.imitation import AggregatedDataset, Samples
from cesma_sb3.imitation.dataset import sample_bytes
from cesma_sb3.spaces.row_arrays import compact_dtype
from cesma_sb3.spaces.team_spaces import TeamSpaces


def numbered(start, count):
    """Samples whose every field tells their number."""
    numbers = np.arange(start, start + count)
    observations = np.repeat(numbers[:, None], 3, axis=1).astype(np.float32)
    return Samples(observations, numbers[:, None].astype(np.int64), np.ones((count, 2), dtype=bool))


def stored_numbers(dataset):
    rows = dataset.rows.arrays["observations"][: len(dataset), 0].astype(int)
    assert np.array_equal(rows, dataset.rows.arrays["labels"][: len(dataset), 0]), (
        "fields of one sample came apart"
    )
    return rows


@given(st.integers(1, 20), st.lists(st.integers(1, 30), min_size=1, max_size=8))
@settings(max_examples=100)
def test_drop_oldest_keeps_the_newest(capacity, counts):
    dataset = AggregatedDataset(capacity)
    total = 0
    for count in counts:
        dataset.add(numbered(total, count))
        total += count
    assert sorted(stored_numbers(dataset)) == list(range(max(0, total - capacity), total))


@given(st.integers(1, 20), st.lists(st.integers(1, 30), min_size=1, max_size=8), st.integers(0, 10))
@settings(max_examples=100)
def test_reservoir_keeps_distinct_samples_that_were_added(capacity, counts, seed):
    dataset = AggregatedDataset(capacity, when_full="reservoir", rng=np.random.default_rng(seed))
    total = 0
    for count in counts:
        dataset.add(numbered(total, count))
        total += count
    kept = stored_numbers(dataset)
    assert len(kept) == len(set(kept)) == min(total, capacity)
    assert set(kept) <= set(range(total))


def test_reservoir_is_uniform_over_everything_seen():
    hits = np.zeros(200)
    for seed in range(400):
        dataset = AggregatedDataset(20, when_full="reservoir", rng=np.random.default_rng(seed))
        for start in range(0, 200, 25):
            dataset.add(numbered(start, 25))
        hits[stored_numbers(dataset)] += 1
    # Each sample is kept with probability 0.1: 40 of 400 expected. Eighths of the stream, 1000 expected each.
    eighths = hits.reshape(8, 25).sum(axis=1)
    assert np.abs(eighths - 1000).max() < 5 * np.sqrt(1000), eighths


def test_memory_is_allocated_once_for_what_is_expected():
    dataset = AggregatedDataset(1000)
    dataset.expect(20_000)
    dataset.add(numbered(0, 10))
    claimed, arrays = dataset.n_bytes, {name: id(array) for name, array in dataset.rows.arrays.items()}
    for start in range(10, 20_000, 500):
        dataset.add(numbered(start, 500))
    assert dataset.n_bytes == claimed
    assert {name: id(array) for name, array in dataset.rows.arrays.items()} == arrays


@pytest.mark.parametrize("when_full", ["drop-oldest", "reservoir"])
def test_growing_changes_neither_the_samples_kept_nor_those_drawn(when_full):
    """With memory for all at once, or as it comes: the same rows, and the same draws."""

    def drawn(expected):
        dataset = AggregatedDataset(300, when_full=when_full, rng=np.random.default_rng(3))
        dataset.expect(expected)
        batches = []
        for start in range(0, 700, 35):
            dataset.add(numbered(start, 35))
            batches.append(dataset.sample(50).labels.numpy())
        return np.concatenate(batches), stored_numbers(dataset)

    for one, other in zip(drawn(700), drawn(0), strict=True):
        assert np.array_equal(one, other)


def test_a_large_capacity_costs_nothing():
    dataset = AggregatedDataset(10**12)  # terabytes, if they were allocated
    dataset.add(numbered(0, 7))
    assert dataset.n_bytes == 7 * (3 * 4 + 8 + 2)


@pytest.mark.parametrize("separate", [False, True])
def test_pixels_are_stored_as_bytes_and_learned_from_as_floats(separate):
    pixels = spaces.Box(0, 255, (2, 3), np.uint8)
    team = TeamSpaces(["a", "b"], dict.fromkeys("ab", pixels), dict.fromkeys("ab", spaces.Discrete(2)))
    seen = np.random.default_rng(0).integers(0, 256, size=(40, 12)).astype(np.float32)
    batches = []
    for dtype in (np.float32, compact_dtype(team)):
        rng = np.random.default_rng(1)
        dataset = AggregatedDataset(
            100, rng=rng, separate=team if separate else None, observation_dtype=dtype
        )
        dataset.add(Samples(seen, np.zeros((40, 2), dtype=np.int64), np.ones((40, 2), dtype=bool)))
        assert dataset.rows.arrays["observations"].dtype == dtype
        batches.append(dataset.sample(500).observations)
    assert batches[1].dtype == th.float32
    assert th.equal(*batches)
    kinds = {"has_masks": False, "soft_labels": False, "communicates": False}
    assert dataset.n_bytes == 40 * sample_bytes(team, **kinds)


def test_the_bytes_of_a_sample_are_those_of_every_field():
    acts, seen = spaces.Discrete(3), spaces.Discrete(5)
    team = TeamSpaces(["a", "b"], {"a": seen, "b": seen}, {"a": acts, "b": acts})
    full = Samples(
        observations=np.zeros((4, 10), np.float32),
        labels=np.zeros((4, 2), np.int64),
        alive=np.ones((4, 2), bool),
        masks=np.ones((4, 6), bool),
        probabilities=np.zeros((4, 6), np.float32),
        previous=np.zeros((4, 10), np.float32),
        follows=np.ones((4, 2), bool),
        previous_masks=np.ones((4, 6), bool),
    )
    dataset = AggregatedDataset(4, observation_dtype=compact_dtype(team))
    dataset.add(full)
    assert dataset.n_bytes == 4 * sample_bytes(team, has_masks=True, soft_labels=True, communicates=True)


def test_batches_are_uniform_and_same_seed_same_batches():
    def batches(seed):
        dataset = AggregatedDataset(50, rng=np.random.default_rng(seed))
        dataset.add(numbered(0, 50))
        return np.concatenate([dataset.sample(100).labels.numpy()[:, 0] for _ in range(100)])

    drawn = batches(0)
    assert np.array_equal(drawn, batches(0))
    assert not np.array_equal(drawn, batches(1))
    assert np.abs(np.bincount(drawn, minlength=50) - 200).max() < 6 * np.sqrt(200)


def test_refuses_what_does_not_fit():
    dataset = AggregatedDataset(10)
    with pytest.raises(ValueError, match="empty"):
        dataset.sample(1)
    with pytest.raises(ValueError, match="different lengths"):
        dataset.add(numbered(0, 3)._replace(labels=np.zeros((2, 1), dtype=np.int64)))
    dataset.add(numbered(0, 3))
    with pytest.raises(ValueError, match="masks"):
        dataset.add(numbered(3, 2)._replace(masks=np.ones((2, 4), dtype=bool)))
    with pytest.raises(ValueError, match="at least 1"):
        AggregatedDataset(0)


def test_reservoir_of_one():
    """Of two samples either is kept, half of the time; of three each, a third of the time."""
    for total in (2, 3):
        hits = np.zeros(total)
        for seed in range(600):
            dataset = AggregatedDataset(1, when_full="reservoir", rng=np.random.default_rng(seed))
            for start in range(total):
                dataset.add(numbered(start, 1))
            hits[stored_numbers(dataset)] += 1
        assert np.abs(hits - 600 / total).max() < 5 * np.sqrt(600 / total), hits


def test_more_than_fits_at_once_and_generators_of_its_own():
    dataset = AggregatedDataset(4)
    dataset.add(numbered(0, 11))
    assert sorted(stored_numbers(dataset)) == [7, 8, 9, 10]
    assert len(dataset.sample(5).labels) == 5
    assert dataset.n_bytes > 0
    assert AggregatedDataset(4).n_bytes == 0
