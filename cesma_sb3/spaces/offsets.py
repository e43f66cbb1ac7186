"""Sizes, offsets and joint spaces of a team's joint arrays."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import numpy as np
from gymnasium import spaces

from cesma_sb3.spaces.agent_spaces import ActionColumns, flat_bounds, naming, slices_of, without_mask
from cesma_sb3.spaces.types import Floats, Space


class TeamOffsets:
    """Sizes and offsets that follow from the spaces of an ordered team; the base of `TeamSpaces`."""

    agents: tuple[str, ...]
    observation_spaces: Mapping[str, Space]
    action_spaces: Mapping[str, Space]
    unseen_space: spaces.Box | None

    @property
    def n_agents(self) -> int:
        """The number of agents."""
        return len(self.agents)

    @cached_property
    def observation_sizes(self) -> tuple[int, ...]:
        """The number of entries of each agent's flat observation."""
        return tuple(len(low) for low, _ in self._bounds)

    @cached_property
    def observation_slices(self) -> tuple[slice, ...]:
        """The slice of each agent's observation in the joint one."""
        return slices_of(self.observation_sizes)

    @cached_property
    def observation_size(self) -> int:
        """The number of entries of the joint observation."""
        return sum(self.observation_sizes) + self.n_unseen

    @cached_property
    def n_unseen(self) -> int:
        """The number of entries at the end of the joint observation that no agent observes, often 0."""
        return 0 if self.unseen_space is None else int(np.prod(self.unseen_space.shape))

    @property
    def unseen_slice(self) -> slice:
        """The slice of these entries in the joint observation."""
        return slice(self.observation_size - self.n_unseen, self.observation_size)

    @cached_property
    def observation_space(self) -> spaces.Box:
        """Box [observation_size] float32 with the agents' bounds, widened to hold 0, a dead agent's value."""
        unseen = [] if self.unseen_space is None else [flat_bounds(self.unseen_space)]
        lows, highs = zip(*self._bounds, *unseen, strict=True)
        low = np.minimum(np.concatenate(lows), np.float32(0))
        high = np.maximum(np.concatenate(highs), np.float32(0))
        return spaces.Box(low, high, dtype=np.float32)

    @cached_property
    def action_columns(self) -> tuple[slice, ...]:
        """The slice of each agent's columns in a packed joint action."""
        return slices_of([columns.n_columns for columns in self._columns])

    @cached_property
    def n_columns(self) -> int:
        """The number of columns of a packed joint action."""
        return sum(columns.n_columns for columns in self._columns)

    @cached_property
    def column_categories(self) -> tuple[int, ...]:
        """The number of categories of each column; 0 for a continuous one."""
        return tuple(n for columns in self._columns for n in columns.categories)

    @cached_property
    def is_discrete(self) -> bool:
        """Whether all columns are discrete."""
        return all(n > 0 for n in self.column_categories)

    @cached_property
    def is_continuous(self) -> bool:
        """Whether all columns are continuous."""
        return all(n == 0 for n in self.column_categories)

    @property
    def action_dtype(self) -> type[np.int64] | type[np.float32]:
        """The dtype of packed joint actions: int64 where all columns are discrete, else float32."""
        return np.int64 if self.is_discrete else np.float32

    @cached_property
    def action_space(self) -> Space:
        """The space of packed joint actions: MultiDiscrete where all columns are discrete, else Box float32.

        A discrete column of a mixed team is a float in [0, categories - 1] that is rounded.
        """
        if self.is_discrete:
            return spaces.MultiDiscrete(np.array(self.column_categories, dtype=np.int64))
        low = np.concatenate([columns.low for columns in self._columns])
        high = np.concatenate([columns.high for columns in self._columns])
        return spaces.Box(low, high, dtype=np.float32)

    @cached_property
    def output_sizes(self) -> tuple[int, ...]:
        """The number of network outputs of each agent: one for each category and each continuous column."""
        return tuple(sum(max(n, 1) for n in columns.categories) for columns in self._columns)

    @cached_property
    def output_slices(self) -> tuple[slice, ...]:
        """The slice of each agent's network outputs."""
        return slices_of(self.output_sizes)

    @cached_property
    def output_size(self) -> int:
        """The number of network outputs of the team."""
        return sum(self.output_sizes)

    @cached_property
    def column_outputs(self) -> tuple[slice, ...]:
        """The slice of each column's network outputs."""
        return slices_of([max(n, 1) for n in self.column_categories])

    @cached_property
    def column_masks(self) -> tuple[slice, ...]:
        """The slice of each column's flags in a joint mask; empty for a continuous column."""
        return slices_of(self.column_categories)

    @cached_property
    def mask_slices(self) -> tuple[slice, ...]:
        """The slice of each agent's flags in a joint mask."""
        return slices_of([sum(columns.categories) for columns in self._columns])

    @cached_property
    def mask_size(self) -> int:
        """The number of flags of a joint mask: the categories of all columns."""
        return sum(self.column_categories)

    @cached_property
    def _columns(self) -> tuple[ActionColumns, ...]:
        return tuple(naming(agent, ActionColumns.of, self.action_spaces[agent]) for agent in self.agents)

    @cached_property
    def _bounds(self) -> tuple[tuple[Floats, Floats], ...]:
        return tuple(
            naming(agent, flat_bounds, without_mask(self.observation_spaces[agent])[0])
            for agent in self.agents
        )
