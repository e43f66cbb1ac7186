"""Arrays whose rows are allocated when they are written, up to a limit: storage of datasets and buffers."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from cesma_sb3.errors import ConfigError
from cesma_sb3.spaces.agent_spaces import without_mask
from cesma_sb3.spaces.team_spaces import TeamSpaces
from cesma_sb3.spaces.types import Array, Index, Space
from cesma_sb3.utils.stateful import Stateful


class Rows(Stateful):
    """Arrays by name, [n_rows, ...] each, with as many rows as were needed so far.

    The first write allocates what `expect` announced; without an announcement the arrays at least double when
    they grow, so that a sample is copied twice on average.

    Args:
        limit: Most rows.
        compact: By name of a field, a smaller dtype to store it in. A value that this dtype does not hold
            exactly changes the field back to its own dtype: nothing is rounded.
    """

    def __init__(self, limit: int, compact: Mapping[str, npt.DTypeLike] | None = None) -> None:
        self.limit = limit
        self.arrays: dict[str, Array] = {}
        self._compact = {name: np.dtype(dtype).str for name, dtype in (compact or {}).items()}
        self._expected = 0
        self._used = 0

    def state_dict(self) -> dict[str, Any]:
        """The rows that were ever written, and how many there is room for."""
        return {
            "arrays": {name: array[: self._used] for name, array in self.arrays.items()},
            "length": self._length,
            "limit": self.limit,
            "expected": self._expected,
            "compact": self._compact,
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Takes over what `state_dict` returned."""
        self.limit, self._expected = state_dict["limit"], state_dict["expected"]
        self._compact, self.arrays = state_dict["compact"], {}
        self._used = len(next(iter(state_dict["arrays"].values()), ()))
        for name, array in state_dict["arrays"].items():
            self.arrays[name] = np.zeros((state_dict["length"], *array.shape[1:]), array.dtype)
            self.arrays[name][: self._used] = array

    @property
    def n_bytes(self) -> int:
        """Memory that is allocated, in bytes."""
        return sum(array.nbytes for array in self.arrays.values())

    def expect(self, n_rows: int) -> None:
        """Announces that so many rows will be needed in all: they are allocated at once, not step by step."""
        self._expected = min(n_rows, self.limit)

    def write(self, places: Index, fields: Mapping[str, Array]) -> None:
        """Copies samples into rows.

        Args:
            places: The row of each sample, [S], below `limit`.
            fields: Arrays [S, ...] by name, the same names every time.

        Raises:
            ConfigError: There is not enough memory.
        """
        if not self.arrays:
            self.arrays = {
                name: np.zeros((0, *array.shape[1:]), self._compact.get(name, array.dtype))
                for name, array in fields.items()
            }
        self._used = max(self._used, int(places.max(initial=-1)) + 1)
        if self._used > self._length:
            self._grow(self._used)
        for name, array in fields.items():
            self._fit(name, array)
            self.arrays[name][places] = array

    @property
    def _length(self) -> int:
        return len(next(iter(self.arrays.values()), ()))

    def _grow(self, needed: int) -> None:
        before = self._length
        n_rows = self._expected if self._expected >= needed else min(self.limit, max(needed, 2 * before))
        for name, array in self.arrays.items():
            try:
                larger = np.zeros((n_rows, *array.shape[1:]), array.dtype)
            except (MemoryError, ValueError):  # more than there is, or than can be addressed
                row = sum(each.itemsize * math.prod(each.shape[1:]) for each in self.arrays.values())
                raise ConfigError(
                    f"{n_rows:,} samples of {row:,} bytes do not fit into memory; expected a smaller capacity"
                ) from None
            larger[:before] = array
            self.arrays[name] = larger

    def _fit(self, name: str, array: Array) -> None:
        """Gives a compact field its own dtype back if the compact one does not hold these values."""
        if name not in self._compact or array.dtype == self.arrays[name].dtype:
            return
        with np.errstate(invalid="ignore", over="ignore"):
            is_exact = np.array_equal(array.astype(self._compact[name]), array)
        if not is_exact:
            del self._compact[name]
            self.arrays[name] = self.arrays[name].astype(array.dtype)


def compact_dtype(team: TeamSpaces) -> np.dtype[Any]:
    """The smallest dtype that holds every joint observation exactly: of images and categories uint8.

    Spaces of whole numbers of at most two bytes are compact; with any other space among them it is float32,
    the dtype of joint observations.
    """
    kinds = [_dtype(without_mask(team.observation_spaces[agent])[0]) for agent in team.agents]
    kinds += [] if team.unseen_space is None else [_dtype(team.unseen_space)]
    found = np.result_type(*kinds)
    return found if found.kind in "iu" and found.itemsize <= 2 else np.dtype(np.float32)


def _dtype(space: Space) -> np.dtype[Any]:
    if isinstance(space, spaces.Box):
        return np.dtype(np.uint8) if space.dtype == np.bool_ else np.dtype(space.dtype)
    if isinstance(space, spaces.Dict | spaces.Tuple):
        members = space.spaces.values() if isinstance(space, spaces.Dict) else space.spaces
        return np.result_type(np.uint8, *map(_dtype, members))
    return np.dtype(np.uint8)  # one-hot, or bits
