"""Whole episodes of batched environments, for learners with a memory: up to a cap, drawn with little padding.

Shape suffixes: B environments, T timesteps of the longest episode drawn, S samples of all episodes drawn.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from cesma_sb3.errors import ConfigError
from cesma_sb3.spaces.row_arrays import Rows
from cesma_sb3.spaces.types import Array
from cesma_sb3.utils.stateful import Stateful

_TOGETHER = 8
"""Timesteps in a row that hold the same episodes: more mean fewer calls of a network, and more padding."""


class Episodes(NamedTuple):
    """Episodes with little padding: all that have a first timestep in it, then all with a second, and so on.

    The order of the episodes is the same in each timestep: the longest is first.
    """

    fields: dict[str, Array]
    """Each [S, ...]; padding is zeros."""
    sizes: list[int]
    """How many episodes each timestep holds, T numbers of the sum S that never rise. Some timesteps in a row
    hold the same ones, which is what padding is for: they go through a network at once."""


class EpisodeStore(Stateful):
    """The newest whole episodes, up to a number of timesteps.

    Steps of all environments are appended together. An episode counts from its end on; what has begun and not
    ended yet cannot be drawn. Its timesteps stand one after the other in arrays (`Rows`), and the oldest
    episodes make room for the newest.

    Args:
        capacity: Most timesteps kept, at least 1. No episode may be longer.
        compact: By name of a field, what to store it as where that holds it exactly (`Rows`).

    Raises:
        ValueError: `capacity` is below 1.
    """

    state_attributes = ("rows", "_names", "_begun", "_episodes", "_end", "n_steps", "n_seen")

    def __init__(self, capacity: int, *, compact: Mapping[str, npt.DTypeLike] | None = None) -> None:
        if capacity < 1:
            raise ValueError(f"capacity={capacity}: expected at least 1")
        self.capacity = capacity
        self.rows = Rows(capacity, compact)
        self._names: list[str] = []
        self._begun: list[list[dict[str, Array]]] = []
        self._episodes: deque[tuple[int, int]] = deque()  # where each begins, and its length; oldest first
        self._end = 0  # where the next one begins
        self.n_steps = 0
        """Timesteps of the episodes kept."""
        self.n_seen = 0
        """Timesteps of all episodes that have ended."""

    def __len__(self) -> int:
        """Episodes kept."""
        return len(self._episodes)

    def append(
        self,
        fields: Mapping[str, Array],
        ended: npt.NDArray[np.bool_],
        last: Mapping[str, Array] | None = None,
    ) -> None:
        """Add a step of every environment; the arrays are copied.

        Args:
            fields: Arrays [B, ...] by name, the same names every time.
            ended: Whose episode ends with this step, [B].
            last: What an episode that has ended is closed with, as one more step; the same names.

        Raises:
            ValueError: Other names than before, or another number of environments.
            ConfigError: An episode is longer than `capacity`, or there is not enough memory.
        """
        if not self._names:
            self._names = sorted(fields)
        if not self._begun:
            self._begun = [[] for _ in ended]
        if sorted(fields) != self._names or len(ended) != len(self._begun):
            raise ValueError(
                f"a step of {len(ended)} environments with {sorted(fields)}, but the store holds "
                f"{self._names} of {len(self._begun)}"
            )
        copied = {name: np.array(array) for name, array in fields.items()}
        for env, steps in enumerate(self._begun):
            steps.append({name: array[env] for name, array in copied.items()})
            length = len(steps) + (last is not None)
            if length > self.capacity:  # it could never be drawn
                raise ConfigError(
                    f"an episode of environment {env} takes {length} steps or more, but capacity is "
                    f"{self.capacity}; expected a capacity of at least one whole episode"
                )
        for env in np.flatnonzero(ended).tolist():
            if last is not None:
                self._begun[env].append({name: np.array(last[name][env]) for name in fields})
            steps, self._begun[env] = self._begun[env], []
            self._keep({name: np.stack([step[name] for step in steps]) for name in self._names})

    def append_episode(self, fields: Mapping[str, Array]) -> None:
        """Add a whole episode from elsewhere; the arrays are copied.

        Args:
            fields: Arrays [T, ...] by name, the same names every time.

        Raises:
            ValueError: The names are others than before.
            ConfigError: The episode is longer than `capacity`, or there is not enough memory.
        """
        self._names = self._names or sorted(fields)
        if sorted(fields) != self._names:
            raise ValueError(f"an episode with {sorted(fields)}, but the store holds {self._names}")
        length = len(fields[self._names[0]])
        if length > self.capacity:
            raise ConfigError(
                f"an episode takes {length} steps, but capacity is {self.capacity}; expected a capacity of "
                "at least one whole episode"
            )
        self._keep(fields)

    def forget_begun(self) -> None:
        """Drop the episodes that have not ended: the environments were reset."""
        self._begun = [[] for _ in self._begun]

    def _keep(self, fields: Mapping[str, Array]) -> None:
        length = len(fields[self._names[0]])
        while self.n_steps + length > self.capacity:
            self.n_steps -= self._episodes.popleft()[1]
        places = (self._end + np.arange(length)) % self.capacity
        self.rows.write(places, fields)
        self._episodes.append((self._end, length))
        self._end = (self._end + length) % self.capacity
        self.n_steps += length
        self.n_seen += length

    def sample(self, n: int, rng: np.random.Generator) -> Episodes:
        """Episodes drawn uniformly with replacement, in the order of their lengths.

        Raises:
            ValueError: There is none yet.
        """
        if not self._episodes:
            raise ValueError("no episode has ended yet: there is nothing to draw from")
        starts, lengths = np.array(self._episodes)[rng.integers(0, len(self), size=n)].T
        order = np.argsort(-lengths, kind="stable")
        starts, lengths = starts[order], lengths[order]
        steps = np.arange(lengths.max())[:, None]
        kept = steps - steps % _TOGETHER < lengths
        fields = self._take((starts + steps)[kept], (steps < lengths)[kept])
        return Episodes(fields, kept.sum(axis=1).tolist())

    def _take(self, places: Array, real: npt.NDArray[np.bool_]) -> dict[str, Array]:
        """Every field at these places, [*places, ...]; zeros where nothing is real."""
        places = np.where(real, places % self.capacity, 0)
        fields = {}
        for name, array in self.rows.arrays.items():
            taken = array[places]
            taken[~real] = 0
            fields[name] = taken
        return fields
