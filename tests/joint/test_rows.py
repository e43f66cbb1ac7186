"""Rows are allocated as they are written, and a smaller dtype never changes a value."""

import numpy as np
import pytest
from gymnasium import spaces
from hypothesis import given, settings
from hypothesis import strategies as st

from cesma_sb3.errors import ConfigError
from cesma_sb3.spaces.agent_spaces import flatten
from cesma_sb3.spaces.row_arrays import Rows, compact_dtype
from cesma_sb3.spaces.team_spaces import TeamSpaces


def write(rows, places, values):
    rows.write(np.array(places, dtype=np.int64), {"x": np.array(values)})


def test_they_double_up_to_the_limit():
    rows, lengths = Rows(20), set()
    for place in range(20):
        write(rows, [place], [float(place)])
        lengths.add(len(rows.arrays["x"]))
    assert sorted(lengths) == [1, 2, 4, 8, 16, 20]
    assert rows.arrays["x"].tolist() == list(range(20))


def test_what_is_expected_is_allocated_at_once_and_no_more_than_the_limit():
    rows = Rows(100)
    rows.expect(30)
    write(rows, [0], [1.0])
    assert len(rows.arrays["x"]) == 30
    write(rows, [29, 30], [2.0, 3.0])  # more came than was expected
    assert len(rows.arrays["x"]) == 60
    rows.expect(1000)
    write(rows, [60], [4.0])
    assert len(rows.arrays["x"]) == 100
    assert rows.arrays["x"][[0, 29, 30, 60]].tolist() == [1.0, 2.0, 3.0, 4.0]


def test_no_rows_at_all():
    rows = Rows(5)
    write(rows, [], np.zeros((0, 3), np.float32))
    assert (len(rows.arrays["x"]), rows.n_bytes) == (0, 0)


def test_their_state_is_the_rows_that_were_written():
    rows, anew = Rows(100, {"x": np.uint8}), Rows(100, {"x": np.uint8})
    rows.expect(30)
    write(rows, range(3), [1.0, 2.5, 3.0])
    state = rows.state_dict()
    assert len(state["arrays"]["x"]) == 3
    anew.load_state_dict(state)
    for each in (rows, anew):
        write(each, [30], [4.0])
    assert anew.arrays["x"].dtype == rows.arrays["x"].dtype
    assert anew.arrays["x"].tolist() == rows.arrays["x"].tolist()


def test_what_does_not_fit_into_memory_is_one_line():
    rows = Rows(2**62)
    rows.expect(2**62)
    with pytest.raises(ConfigError) as caught:
        write(rows, [0], np.zeros((1, 2), np.float32))
    expected = (
        "4,611,686,018,427,387,904 samples of 8 bytes do not fit into memory; expected a smaller capacity"
    )
    assert str(caught.value) == expected


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["u1", "i1", "u2", "i2"]),
    st.lists(st.floats(allow_nan=True, width=32), min_size=1, max_size=12),
    st.integers(1, 12),
)
def test_nothing_is_rounded(dtype, values, at_once):
    """Values that a space promises and others, which an environment may give all the same."""
    rows = Rows(50, {"x": dtype})
    values = np.array(values, dtype=np.float32)
    for start in range(0, len(values), at_once):
        part = values[start : start + at_once]
        write(rows, np.arange(start, start + len(part)), part)
    stored = rows.arrays["x"]
    assert np.array_equal(stored[: len(values)].astype(np.float32), values, equal_nan=True)
    least, most = np.iinfo(dtype).min, np.iinfo(dtype).max
    fits = bool(((values >= least) & (values <= most) & (values == np.rint(values))).all())
    assert stored.dtype == (np.dtype(dtype) if fits else np.float32)


PIXELS = spaces.Box(0, 255, (2, 2), np.uint8)


@pytest.mark.parametrize(
    ("space", "dtype"),
    [
        (PIXELS, np.uint8),
        (spaces.Discrete(7, start=3), np.uint8),
        (spaces.MultiDiscrete([2, 9]), np.uint8),
        (spaces.MultiBinary(4), np.uint8),
        (spaces.Box(0, 1, (3,), np.bool_), np.uint8),
        (spaces.Box(-128, 127, (3,), np.int8), np.int8),
        (spaces.Box(0, 2**16 - 1, (3,), np.uint16), np.uint16),
        (spaces.Box(-1, 1, (3,), np.float32), np.float32),
        (spaces.Box(-1, 1, (3,), np.float16), np.float32),
        (spaces.Box(-(2**31), 2**31 - 1, (3,), np.int32), np.float32),  # float32 itself rounds these
        (spaces.Dict({"map": PIXELS, "id": spaces.Discrete(3)}), np.uint8),
        (spaces.Tuple([PIXELS, spaces.Box(-1, 1, (2,), np.float32)]), np.float32),
        (spaces.Dict({"observation": PIXELS, "action_mask": spaces.MultiBinary(2)}), np.uint8),
    ],
    ids=str,
)
def test_the_smallest_dtype_of_each_space(space, dtype):
    acts = spaces.Discrete(2)
    team = TeamSpaces(["a", "b"], {"a": space, "b": space}, {"a": acts, "b": acts})
    assert compact_dtype(team) == dtype
    mixed = TeamSpaces(["a", "b"], {"a": space, "b": spaces.Box(0, 1, (1,))}, {"a": acts, "b": acts})
    assert compact_dtype(mixed) == np.float32
    if dtype != np.float32:
        space.seed(0)
        proper = space["observation"] if "action_mask" in getattr(space, "spaces", {}) else space
        flat = flatten(proper, proper.sample())
        assert np.array_equal(flat.astype(dtype), flat)
