"""Whole episodes of batched environments, for learners with a memory: preallocated, with a cap, padded.

Shape suffixes: B environments or episodes drawn, T timesteps of the longest episode drawn.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


class Episodes(NamedTuple):
    """Episodes side by side, in the order of time; the shorter ones end in padding."""

    fields: dict[str, Array]
    """Each [T, B, ...]; padding is zeros."""
    real: npt.NDArray[np.bool_]
    """What is no padding, [T, B]."""


class EpisodeStore:
    """Keeps the newest whole episodes, as many as have room.

    Steps of all environments are appended together. An episode counts from its end on; what has begun and not
    ended yet cannot be drawn. Its timesteps stand one after the other in arrays that are claimed once, and
    the oldest episodes make room for the newest.

    Args:
        capacity: Most timesteps kept, at least 1. An episode that is longer is not kept.

    Raises:
        ValueError: `capacity` is below 1.
    """

    def __init__(self, capacity: int) -> None:
        if capacity < 1:
            raise ValueError(f"capacity={capacity}: expected at least 1")
        self.capacity = capacity
        self._arrays: dict[str, Array] = {}
        self._begun: list[list[dict[str, Array]]] = []
        self._episodes: deque[tuple[int, int]] = deque()  # where each begins, and its length; oldest first
        self._end = 0  # where the next one begins
        self._filled = 0  # rows that were ever written
        self.n_steps = 0
        """Timesteps of the episodes kept."""

    def __len__(self) -> int:
        """Episodes kept."""
        return len(self._episodes)

    @property
    def rows_in_use(self) -> tuple[int, int]:
        """Length of the arrays, and how many of their rows hold something: what a checkpoint keeps."""
        return self.capacity, self._filled

    @property
    def n_bytes(self) -> int:
        """Memory claimed by the arrays, in bytes."""
        return sum(array.nbytes for array in self._arrays.values())

    def append(
        self,
        fields: Mapping[str, Array],
        ended: npt.NDArray[np.bool_],
        last: Mapping[str, Array] | None = None,
    ) -> None:
        """Adds a step of every environment; the arrays are copied.

        Args:
            fields: Arrays [B, ...] by name, the same names every time.
            ended: Whose episode ends with this step, [B].
            last: What an episode that has ended is closed with, as one more step; the same names.

        Raises:
            ValueError: Other names than before, or another number of environments.
        """
        if not self._arrays:
            self._arrays = {
                name: np.zeros((self.capacity, *array.shape[1:]), array.dtype)
                for name, array in fields.items()
            }
            self._begun = [[] for _ in ended]
        if fields.keys() != self._arrays.keys() or len(ended) != len(self._begun):
            raise ValueError(
                f"a step of {len(ended)} environments with {sorted(fields)}, but the store holds "
                f"{sorted(self._arrays)} of {len(self._begun)}"
            )
        copied = {name: np.array(array) for name, array in fields.items()}
        for env, steps in enumerate(self._begun):
            steps.append({name: array[env] for name, array in copied.items()})
        for env in np.flatnonzero(ended).tolist():
            if last is not None:
                self._begun[env].append({name: np.array(last[name][env]) for name in fields})
            self._keep(self._begun[env])
            self._begun[env] = []

    def forget_begun(self) -> None:
        """Drops what has begun and not ended: the environments were reset."""
        self._begun = [[] for _ in self._begun]

    def _keep(self, steps: list[dict[str, Array]]) -> None:
        length = len(steps)
        if length > self.capacity:
            return
        while self.n_steps + length > self.capacity:
            self.n_steps -= self._episodes.popleft()[1]
        places = (self._end + np.arange(length)) % self.capacity
        for name, array in self._arrays.items():
            array[places] = np.stack([step[name] for step in steps])
        self._episodes.append((self._end, length))
        self._filled = min(self.capacity, max(self._filled, self._end + length))
        self._end = (self._end + length) % self.capacity
        self.n_steps += length

    def sample(self, n: int, rng: np.random.Generator) -> Episodes:
        """Episodes drawn uniformly with replacement.

        Raises:
            ValueError: There is none yet.
        """
        if not self._episodes:
            raise ValueError("no episode has ended yet: there is nothing to draw from")
        starts, lengths = np.array(self._episodes)[rng.integers(0, len(self), size=n)].T
        steps = np.arange(lengths.max())[:, None]
        real = steps < lengths
        places = np.where(real, (starts + steps) % self.capacity, 0)
        fields = {}
        for name, array in self._arrays.items():
            taken = array[places]
            taken[~real] = 0
            fields[name] = taken
        return Episodes(fields, real)
