"""Spaces to plain JSON values and back, without running code from a file."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from gymnasium import spaces

from cesma_sb3.errors import SpaceError
from cesma_sb3.spaces.agent_spaces import ActionColumns, flat_bounds, observation_key, without_mask
from cesma_sb3.spaces.types import Array, Space

LARGEST = 10_000_000
"""The most entries or categories of a space that is read: several images have fewer."""


def space_to_json(space: Space) -> dict[str, Any]:
    """The kind, shape, dtype and bounds of a space.

    Raises:
        SpaceError: The space is of another kind than Box, Discrete, MultiDiscrete, MultiBinary, Dict or
            Tuple.
    """
    if isinstance(space, spaces.Box):
        return {
            "kind": "Box",
            "low": _numbers_to_json(space.low),
            "high": _numbers_to_json(space.high),
            "shape": list(space.shape),
            "dtype": np.dtype(space.dtype).name,
        }
    if isinstance(space, spaces.Discrete):
        return {"kind": "Discrete", "n": int(space.n), "start": int(space.start)}
    if isinstance(space, spaces.MultiDiscrete):
        start = np.asarray(getattr(space, "start", np.zeros_like(space.nvec)))
        dtype = np.dtype(space.dtype).name
        return {"kind": "MultiDiscrete", "nvec": space.nvec.tolist(), "start": start.tolist(), "dtype": dtype}
    if isinstance(space, spaces.MultiBinary):
        # gymnasium holds MultiBinary(2) and MultiBinary((2,)) for different: kept as it was given.
        n: int | list[int] = np.asarray(space.n).tolist()
        return {"kind": "MultiBinary", "n": n}
    if isinstance(space, spaces.Dict):
        members = [[_key(key), space_to_json(member)] for key, member in space.spaces.items()]
        return {"kind": "Dict", "members": members}
    if isinstance(space, spaces.Tuple):
        return {"kind": "Tuple", "members": [space_to_json(member) for member in space.spaces]}
    raise SpaceError(
        f"{type(space).__name__} space: expected Box, Discrete, MultiDiscrete, MultiBinary, Dict or Tuple"
    )


def flattening(space: Space) -> list[dict[str, Any]]:
    """How `TeamSpaces.flatten_agent` flattens an observation of the space: an entry for each leaf.

    Returns:
        For each Box, Discrete, MultiDiscrete or MultiBinary in it, in their order: `path`, the keys and
        indices that lead to it; `kind` and `shape`; `start` and `stop` of its entries. Categories, which are
        one-hot, have `categories` and `first`, the smallest value, of each choice as well. An action mask is
        left out.
    """
    bare, _ = without_mask(space)
    key = observation_key(space)
    leaves: list[dict[str, Any]] = []
    _add_leaves(bare, [] if key is None else [key], leaves)
    return leaves


def _add_leaves(space: Space, path: list[str | int], leaves: list[dict[str, Any]]) -> None:
    if isinstance(space, spaces.Dict | spaces.Tuple):
        named = space.spaces.items() if isinstance(space, spaces.Dict) else enumerate(space.spaces)
        for key, member in named:
            _add_leaves(member, [*path, key], leaves)
        return
    start = leaves[-1]["stop"] if leaves else 0
    size, categories = len(flat_bounds(space)[0]), {}
    if isinstance(space, spaces.Discrete | spaces.MultiDiscrete):
        columns = ActionColumns.of(space)
        categories = {"categories": list(columns.categories), "first": columns.start.tolist()}
    kind = next(kind.__name__ for kind in _LEAVES if isinstance(space, kind))
    shape = list(space.shape or ())
    leaves.append(
        {"path": path, "kind": kind, "shape": shape, "start": start, "stop": start + size, **categories}
    )


_LEAVES = (spaces.Box, spaces.Discrete, spaces.MultiDiscrete, spaces.MultiBinary)


def space_from_json(data: Mapping[str, Any]) -> Space:
    """The space that `space_to_json` described.

    Raises:
        SpaceError: `data` describes no such space.
    """
    try:
        _check_size(data)
        return _READERS[data["kind"]](data)
    except (KeyError, TypeError, ValueError, AssertionError, AttributeError, OverflowError) as error:
        raise SpaceError(f"not a space: {type(error).__name__}: {error}") from None
    except RecursionError:
        raise SpaceError("not a space: nested too deeply") from None


def _check_size(data: Mapping[str, Any]) -> None:
    """Refuses a space that would fill the memory."""
    n = data.get("n", 0)
    sizes = (
        math.prod(int(size) for size in data.get("shape", ())),
        math.prod(int(size) for size in n) if isinstance(n, list) else int(n),
        sum(np.ravel(np.asarray(data.get("nvec", ()), dtype=object)).tolist()),
    )
    if max(sizes) > LARGEST:
        raise ValueError(f"{max(sizes)} numbers or categories, expected at most {LARGEST:,}")


def _read_box(data: Mapping[str, Any]) -> Space:
    dtype = np.dtype(str(data["dtype"]))
    if dtype.kind not in "biuf":
        raise ValueError(f"dtype {dtype}, expected numbers")
    shape = tuple(int(n) for n in data["shape"])
    low, high = (_numbers_from_json(data[key], shape, dtype) for key in ("low", "high"))
    return spaces.Box(low, high, shape=shape, dtype=dtype.type)


def _read_multi_discrete(data: Mapping[str, Any]) -> Space:
    dtype = np.dtype(str(data["dtype"]))
    nvec, start = np.asarray(data["nvec"], dtype=dtype), np.asarray(data["start"], dtype=dtype)
    # `start` is younger than the oldest gymnasium release that is supported: named only where it says
    # something.
    extra: dict[str, Any] = {"start": start} if start.any() else {}
    space: Space = spaces.MultiDiscrete(nvec, dtype=dtype.type, **extra)
    return space


def _read_dict(data: Mapping[str, Any]) -> Space:
    # Ordered: a plain dict is sorted by its keys, which need not be the order in which observations are
    # flattened.
    members: Any = OrderedDict((_key(key), space_from_json(member)) for key, member in data["members"])
    return spaces.Dict(members)


def _key(key: Any) -> int | str:
    """A key of a Dict, which JSON keeps and which observations have."""
    if isinstance(key, int | np.integer) and not isinstance(key, bool):
        return int(key)
    if isinstance(key, str):
        return key
    raise SpaceError(f"Dict space: the key {key!r}, expected text or an integer")


_READERS: dict[str, Callable[[Mapping[str, Any]], Space]] = {
    "Box": _read_box,
    "Discrete": lambda data: spaces.Discrete(int(data["n"]), start=int(data["start"])),
    "MultiDiscrete": _read_multi_discrete,
    "MultiBinary": lambda data: spaces.MultiBinary(
        data["n"] if isinstance(data["n"], list) else int(data["n"])
    ),
    "Dict": _read_dict,
    "Tuple": lambda data: spaces.Tuple([space_from_json(member) for member in data["members"]]),
}


def _numbers_to_json(numbers: Array) -> Any:
    """A list of numbers, or one number where all are equal (an image has a million equal bounds)."""
    flat = _numpy_to_list(numbers)
    return flat[0] if flat and all(number == flat[0] for number in flat) else flat


def _numpy_to_list(numbers: Array) -> list[Any]:
    """Numbers as a flat list; infinities as strings, since strict JSON has none."""
    return [n if np.isfinite(n) else str(n) for n in numbers.ravel().tolist()]


def _numbers_from_json(data: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
    values = data if isinstance(data, list) else [data] * int(np.prod(shape))
    # Read in the dtype itself: a detour through float would round 64-bit integers.
    read = float if dtype.kind == "f" else int
    return np.array([read(value) for value in values], dtype=dtype).reshape(shape)
