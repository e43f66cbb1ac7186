"""One agent's spaces as flat arrays: observations as float32 vectors, actions as columns."""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

import numpy as np
from gymnasium import spaces

from cesma_sb3.errors import SpaceError
from cesma_sb3.spaces.types import Array, Flags, Floats, Index, Space

MASK = "action_mask"
"""The key of an action mask, in an agent's Dict observation or in its info."""


def are_equal(first: Space, second: Space) -> bool:
    """Whether two spaces are the same.

    Older Gymnasium raises where two MultiDiscretes of different lengths are compared.
    """
    return first.shape == second.shape and bool(first == second)


def without_mask(space: Space) -> tuple[Space, bool]:
    """The space of the observation proper, and whether an action mask comes with it.

    An observation with a mask is a Dict with the key `action_mask`, as in PettingZoo. Its only other key,
    whatever its name, is the observation proper; of several others, the Dict of these.
    """
    key = observation_key(space)
    if isinstance(space, spaces.Dict) and MASK in space.spaces:
        # Ordered: gymnasium sorts the keys of a plain dict.
        others = OrderedDict((name, member) for name, member in space.spaces.items() if name != MASK)
        return spaces.Dict(others) if key is None else others[key], True
    return space, False


def observation_key(space: Space) -> str | None:
    """The key of the observation proper, where a Dict has one other key than the mask's; else None."""
    if not (isinstance(space, spaces.Dict) and MASK in space.spaces):
        return None
    others = [name for name in space.spaces if name != MASK]
    return others[0] if len(others) == 1 else None


def flat_bounds(space: Space) -> tuple[Floats, Floats]:
    """The lowest and the highest value of each entry of the flattened space.

    Returns:
        Two arrays [size] float32; infinite where the space has no bound.

    Raises:
        SpaceError: The space is of another kind than Box, Discrete, MultiDiscrete, MultiBinary, Dict or
            Tuple.
    """
    if isinstance(space, spaces.Box):
        with np.errstate(over="ignore"):  # float64's largest number is a way to say "unbounded"
            return space.low.astype(np.float32).ravel(), space.high.astype(np.float32).ravel()
    if isinstance(space, spaces.Dict | spaces.Tuple):
        members = list(_members(space))
        bounds = [flat_bounds(member) for member in members]
        none = np.zeros(0, dtype=np.float32)
        lows, highs = [low for low, _ in bounds], [high for _, high in bounds]
        return np.concatenate([none, *lows]), np.concatenate([none, *highs])
    size = _flat_size(space)
    return np.zeros(size, dtype=np.float32), np.ones(size, dtype=np.float32)


def flatten(space: Space, value: Any) -> Floats:
    """An element of the space as one vector.

    Categories are one-hot, members of Dict and Tuple stand in the space's order. The same as gymnasium's own
    `flatten`, except that the result is float32, that `start` of MultiDiscrete counts in every release, and
    that a wrong shape is refused.

    Returns:
        [size] float32.

    Raises:
        SpaceError: The value does not have the space's shape, keys or categories.
    """
    if isinstance(space, spaces.Box | spaces.MultiBinary):
        return _numbers(value, space.shape).astype(np.float32, copy=False).reshape(-1)
    if isinstance(space, spaces.Dict):
        if not isinstance(value, Mapping):
            raise SpaceError(f"{_kind(value)}, expected a dict with the keys {list(space.spaces)}")
        missing = [key for key in space.spaces if key not in value]
        if missing:
            raise SpaceError(f"keys {sorted(map(str, value))}, without {missing}")
        parts = [flatten(member, value[key]) for key, member in space.spaces.items()]
        return np.concatenate([np.zeros(0, dtype=np.float32), *parts])
    if isinstance(space, spaces.Tuple):
        if not isinstance(value, Sequence | np.ndarray) or isinstance(value, str):
            raise SpaceError(f"{_kind(value)}, expected a tuple of {len(space.spaces)} members")
        if len(value) != len(space.spaces):
            raise SpaceError(f"{len(value)} members, expected {len(space.spaces)}")
        parts = [flatten(member, item) for member, item in zip(space.spaces, value, strict=True)]
        return np.concatenate([np.zeros(0, dtype=np.float32), *parts])
    return _one_hot(space, value)


def _numbers(value: Any, shape: Sequence[int]) -> Array:
    """The value as an array of numbers of this shape."""
    try:
        array = np.asarray(value)
        if array.dtype.kind == "O" and value is not None:
            array = array.astype(np.float64)
    except Exception as error:  # rows of different lengths, or whatever somebody else's array type raises
        raise SpaceError(f"{_kind(value)}, expected numbers of shape {tuple(shape)}") from error
    if array.dtype.kind not in "biuf":
        raise SpaceError(f"{_kind(value)}, expected numbers of shape {tuple(shape)}")
    if array.shape != tuple(shape):
        raise SpaceError(f"shape {array.shape}, expected {tuple(shape)}")
    return array


def _kind(value: Any) -> str:
    return "None" if value is None else f"{type(value).__name__} {' '.join(repr(value).split())[:60]}"


def _one_hot(space: Space, value: Any) -> Floats:
    columns = ActionColumns.of(space)
    index = columns.encode(_numbers(value, np.shape(value)))
    if ((index < 0) | (index > columns.high)).any():
        raise SpaceError(f"{value} is not an element of {space}")
    starts = np.cumsum([0, *columns.categories[:-1]])
    flat = np.zeros(sum(columns.categories), dtype=np.float32)
    flat[starts + index.astype(np.int64)] = 1.0
    return flat


def _members(space: Any) -> Sequence[Space]:
    return tuple(space.spaces.values()) if isinstance(space, spaces.Dict) else tuple(space.spaces)


def _flat_size(space: Space) -> int:
    if isinstance(space, spaces.MultiBinary):
        return int(np.prod(space.shape))
    if isinstance(space, spaces.Discrete | spaces.MultiDiscrete):
        return sum(ActionColumns.of(space).categories)
    raise SpaceError(
        f"{type(space).__name__} space: expected Box, Discrete, MultiDiscrete, MultiBinary, Dict or Tuple"
    )


@dataclasses.dataclass(frozen=True)
class ActionColumns:
    """One agent's action as columns: a discrete one for each choice, a continuous one for each scalar.

    The columns of a Dict or Tuple are those of its members, in the space's order.
    """

    space: Space
    categories: tuple[int, ...]
    """The number of categories of each column; 0 for a continuous one."""
    start: Index
    """The space's own value of category 0 of each column, [n_columns]."""
    low: Floats
    """The smallest value of each column, [n_columns]; 0 for a discrete one."""
    high: Floats
    """The largest value of each column, [n_columns]; categories - 1 for a discrete one."""
    members: tuple[ActionColumns, ...] = ()
    """Of a Dict or Tuple, the columns of each member."""

    @classmethod
    def of(cls, space: Space) -> ActionColumns:
        """The columns of an action space.

        Raises:
            SpaceError: The space is of another kind than Discrete, MultiDiscrete, MultiBinary, Box, Dict or
                Tuple.
        """
        if isinstance(space, spaces.Dict | spaces.Tuple):
            return cls._of_members(space, tuple(cls.of(member) for member in _members(space)))
        if isinstance(space, spaces.Box):
            low, high = flat_bounds(space)
            return cls(space, (0,) * len(low), np.zeros(len(low), dtype=np.int64), low, high)
        start: Index
        if isinstance(space, spaces.Discrete):
            categories, start = [int(space.n)], np.array([space.start], dtype=np.int64)
        elif isinstance(space, spaces.MultiDiscrete):
            categories = [int(n) for n in space.nvec.ravel()]
            # `start` of MultiDiscrete is younger than the oldest gymnasium release that is supported.
            start = np.asarray(getattr(space, "start", np.zeros_like(space.nvec)), dtype=np.int64).ravel()
        elif isinstance(space, spaces.MultiBinary):
            categories = [2] * int(np.prod(space.shape))
            start = np.zeros(len(categories), dtype=np.int64)
        else:
            name = type(space).__name__
            raise SpaceError(
                f"{name} action space: expected Discrete, MultiDiscrete, MultiBinary, Box, Dict or Tuple"
            )
        high = np.array(categories, dtype=np.float32) - np.float32(1.0)
        return cls(space, tuple(categories), start, np.zeros(len(categories), dtype=np.float32), high)

    @classmethod
    def _of_members(cls, space: Space, members: tuple[ActionColumns, ...]) -> ActionColumns:
        none: Any = np.zeros(0, dtype=np.float32)
        start: Index = np.concatenate([np.zeros(0, dtype=np.int64), *(member.start for member in members)])
        low = np.concatenate([none, *(member.low for member in members)])
        high = np.concatenate([none, *(member.high for member in members)])
        categories = tuple(n for member in members for n in member.categories)
        return cls(space, categories, start, low, high, members)

    @property
    def n_columns(self) -> int:
        """The number of columns."""
        return len(self.categories)

    @property
    def is_continuous(self) -> bool:
        """Whether the columns are continuous."""
        return not any(self.categories)

    def space_of(self, columns: Index) -> Space:
        """A space of some of the columns alone, at least one; categories count from 0."""
        categories = [self.categories[column] for column in columns]
        if not any(categories):
            return spaces.Box(self.low[columns], self.high[columns], dtype=np.float32)
        if 0 in categories:  # of a Dict or Tuple that has both
            return spaces.Tuple([self.space_of(columns[i : i + 1]) for i in range(len(columns))])
        return spaces.Discrete(categories[0]) if len(categories) == 1 else spaces.MultiDiscrete(categories)

    def check_bounded(self) -> None:
        """Checks that every scalar has finite bounds, to which outputs and random actions are scaled.

        Raises:
            SpaceError: A bound is infinite, or the dtype's largest number.
        """
        for member in self.members:
            member.check_bounded()
        if not isinstance(self.space, spaces.Box):
            return
        dtype = np.dtype(self.space.dtype)
        most = min(np.finfo(dtype).max if dtype.kind == "f" else np.inf, np.finfo(np.float32).max)
        missing = ~((abs(self.low) < most) & (abs(self.high) < most))
        if missing.any():
            entry = int(missing.argmax())
            raise SpaceError(
                f"entry {entry} of its action space is without bounds ({self.low[entry]:g} to "
                f"{self.high[entry]:g}), expected finite ones: in action_space, the range that is taken"
            )

    def decode(self, columns: Array) -> Any:
        """Columns [n_columns] as an action of the space, of the type and dtype that its `sample()` gives.

        Scalars are clipped to the bounds of the space, whose last digit float32 may have rounded.

        Raises:
            SpaceError: A column holds no such category.
        """
        space = self.space
        if isinstance(space, spaces.Dict | spaces.Tuple):
            ends = np.cumsum([member.n_columns for member in self.members])[:-1]
            parts = [
                member.decode(own)
                for member, own in zip(self.members, np.split(np.asarray(columns), ends), strict=True)
            ]
            return (
                dict(zip(space.spaces, parts, strict=True))
                if isinstance(space, spaces.Dict)
                else tuple(parts)
            )
        if isinstance(space, spaces.Box):
            action = np.asarray(columns, dtype=np.float64).reshape(space.shape)
            if np.issubdtype(space.dtype, np.integer):
                action = np.rint(action)
            return np.asarray(np.clip(action, space.low, space.high)).astype(space.dtype)
        index = np.rint(columns).astype(np.int64)
        if ((index < 0) | (index > self.high)).any():
            sizes = list(self.categories)
            raise SpaceError(f"categories {index.tolist()} of columns with {sizes} categories")
        if isinstance(space, spaces.Discrete):
            dtype: Any = space.dtype  # typed as if a space might have none
            return np.dtype(dtype).type(index[0] + self.start[0])
        return (index + self.start).reshape(space.shape).astype(space.dtype)

    def encode(self, action: Any) -> Array:
        """An action of the space as columns [n_columns]: int64, or float32 where there are scalars.

        Raises:
            SpaceError: The action does not have the space's shape, or a category is no whole number.
        """
        if self.members:
            return self._encode_members(action)
        array = np.asarray(action)
        if array.size != self.n_columns:
            raise SpaceError(f"action of shape {array.shape}, expected {self.space.shape}")
        if self.is_continuous:
            return array.astype(np.float32).reshape(-1)
        if not is_whole(array).all():
            raise SpaceError(f"action {array.tolist()}, expected whole numbers")
        index: Index = np.rint(array).astype(np.int64).reshape(-1) - self.start
        return index

    def _encode_members(self, action: Any) -> Array:
        keys = list(self.space.spaces) if isinstance(self.space, spaces.Dict) else range(len(self.members))
        try:
            parts = [member.encode(action[key]) for member, key in zip(self.members, keys, strict=True)]
        except (LookupError, TypeError):
            raise SpaceError(f"action {_kind(action)}, expected an element of {self.space}") from None
        dtype = np.float32 if 0 in self.categories else np.int64
        return np.concatenate([np.zeros(0, dtype=dtype), *parts]).astype(dtype, copy=False)

    def flat_mask(self, mask: Any) -> Flags:
        """An action mask as one vector [sum of categories] bool.

        A tuple may have a part for each column or member, a dict one for each member of a Dict.

        Raises:
            SpaceError: The mask has another length, or holds something else than 0 and 1.
        """
        if isinstance(mask, Mapping) and isinstance(self.space, spaces.Dict):
            mask = tuple(mask[key] for key in self.space.spaces if key in mask)
        parts = mask if isinstance(mask, tuple | list) else (mask,)
        flat = np.concatenate([np.zeros(0, dtype=bool), *map(_flags, parts)])
        if len(flat) != sum(self.categories):
            raise SpaceError(f"action mask of length {len(flat)}, expected {sum(self.categories)}")
        # A choice with nothing to choose from (a player who waits for its turn) still needs one category.
        start = 0
        for n in self.categories:
            if n and not flat[start : start + n].any():
                flat[start] = True
            start += n
        return flat


def is_whole(values: Array) -> Flags:
    """Which numbers are whole up to the rounding of floats, as a category must be."""
    if values.dtype.kind in "biu":
        return np.ones(values.shape, dtype=bool)
    with np.errstate(invalid="ignore"):
        found: Flags = np.abs(values - np.rint(values)) <= 1e-3
    return found


def _flags(mask: Any) -> Flags:
    try:
        array = np.asarray(mask)
    except ValueError:  # parts of different lengths
        array = np.array(None)
    if array.dtype != np.bool_ and not ((array == 0) | (array == 1)).all():
        raise SpaceError(f"action mask {' '.join(repr(mask).split())[:60]}, expected flags: 0 or 1")
    return array.astype(bool).reshape(-1)


def unwrap_observation(space: Space, value: Any) -> Any:
    """The observation proper, an element of `without_mask(space)`, of an observation of the space.

    What is the observation proper already, without the Dict around it, is returned as it is.
    """
    key = observation_key(space)
    if key is None or not isinstance(value, Mapping):
        return value
    nested = isinstance(space, spaces.Dict) and isinstance(space.spaces[key], spaces.Dict)
    if nested and MASK not in value:
        return value
    if key not in value:
        raise SpaceError(f"keys {sorted(map(str, value))}, without {[key]}")
    return value[key]


def slices_of(sizes: Sequence[int]) -> tuple[slice, ...]:
    """Adjacent slices of these sizes."""
    ends = list(accumulate(sizes))
    return tuple(slice(end - size, end) for size, end in zip(sizes, ends, strict=True))


def naming(agent: str, function: Any, *args: Any) -> Any:
    """Calls the function; the agent's name is put before the message of a `SpaceError`."""
    try:
        return function(*args)
    except SpaceError as error:
        raise type(error)(f"{agent}: {error}") from None
