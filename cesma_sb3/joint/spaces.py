"""A team's spaces: offsets, and splitting and joining of observations, actions and masks. Pure NumPy.

A *joint observation* is the concatenation of the agents' flat observations. A *packed joint action* has one
column for each choice or real number of each agent. A *joint mask* has one flag for each category of each
categorical column. All three keep the order of `agents`, and a dead agent keeps its slot.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from cesma_sb3.errors import LayoutError, SpaceError, nearest
from cesma_sb3.joint.agent_spaces import (
    ActionColumns,
    Floats,
    Space,
    flat_bounds,
    flatten,
    naming,
    slices_of,
    space_of,
    unwrap_observation,
    without_mask,
)
from cesma_sb3.joint.layout import AgentLayout, declared_layouts, flat_layout
from cesma_sb3.joint.space_json import space_from_json, space_to_json

Masks = npt.NDArray[np.bool_]


class TeamSpaces:
    """The spaces of an ordered team of agents, seen as one. Immutable.

    Args:
        agents: Names, in the order that every joint array keeps.
        observation_spaces: One for each agent: Box, Discrete, MultiDiscrete, MultiBinary, Dict or Tuple. A
            Dict with exactly the keys `observation` and `action_mask` is taken apart.
        action_spaces: One for each agent: Discrete, MultiDiscrete, MultiBinary or Box.
        layouts: What the parts of observations and actions mean; agents that are left out have one flat part.

    Raises:
        SpaceError: No agents, two of one name, an agent without a space, or a space of another kind.
        LayoutError: A layout does not add up to the agent's spaces, or is for no agent of the team.
    """

    agents: tuple[str, ...]
    observation_spaces: Mapping[str, Space]
    action_spaces: Mapping[str, Space]
    layouts: Mapping[str, AgentLayout]

    def __init__(
        self,
        agents: Sequence[str],
        observation_spaces: Mapping[str, Space],
        action_spaces: Mapping[str, Space],
        layouts: Mapping[str, AgentLayout] | None = None,
    ) -> None:
        names = tuple(str(agent) for agent in agents)
        if not names or len(set(names)) != len(names):
            raise SpaceError(f"agents {list(names)}: expected at least one, each with a name of its own")
        for what, given in (("observation", observation_spaces), ("action", action_spaces)):
            for agent in names:
                if agent not in given:
                    raise SpaceError(f"{agent}: has no {what} space; there are some for {sorted(given)}")
        self.__dict__.update(
            agents=names,
            observation_spaces={agent: observation_spaces[agent] for agent in names},
            action_spaces={agent: action_spaces[agent] for agent in names},
        )
        self.__dict__["layouts"] = self._checked_layouts(layouts or {})

    def _checked_layouts(self, given: Mapping[str, AgentLayout]) -> dict[str, AgentLayout]:
        for agent in given:
            if agent not in self.agents:
                near = nearest(agent, self.agents) or self.agents
                raise LayoutError(f"layout of {agent!r}: no such agent; expected one of {', '.join(near)}")
        layouts = {}
        sizes = zip(self.agents, self.observation_sizes, self._columns, strict=True)
        for agent, size, columns in sizes:
            layouts[agent] = given.get(agent) or flat_layout(size)
            layouts[agent].check(agent, size, columns.n_columns)
        return layouts

    @classmethod
    def from_parallel_env(cls, env: Any) -> TeamSpaces:
        """The spaces of a PettingZoo `ParallelEnv`, in the order of its `possible_agents`.

        The layouts are those of a method `layout(agent)`, which the environment may have. One that a wrapper
        hides counts only where it still adds up to what comes out of the wrapper.

        Raises:
            SpaceError: The environment does not say who its agents are, or a space is of no known kind.
            LayoutError: The environment's own layout does not add up to its spaces.
        """
        agents = list(getattr(env, "possible_agents", None) or ())
        if not agents:
            raise SpaceError(f"{env}: has no possible_agents, so that the team is not known before it plays")
        with warnings.catch_warnings():
            # Spaces that are given as dicts and not by functions are fine with us.
            warnings.simplefilter("ignore")
            observation_spaces = {str(agent): space_of(env, "observation", agent) for agent in agents}
            action_spaces = {str(agent): space_of(env, "action", agent) for agent in agents}
        team = cls([str(agent) for agent in agents], observation_spaces, action_spaces)
        return cls(
            team.agents,
            observation_spaces,
            action_spaces,
            declared_layouts(env, agents, team.observation_sizes),
        )

    @property
    def n_agents(self) -> int:
        """How many agents the team has."""
        return len(self.agents)

    @cached_property
    def observation_sizes(self) -> tuple[int, ...]:
        """Entries of each agent's flat observation."""
        return tuple(len(low) for low, _ in self._bounds)

    @cached_property
    def observation_slices(self) -> tuple[slice, ...]:
        """Where each agent's observation stands in the joint one."""
        return slices_of(self.observation_sizes)

    @cached_property
    def observation_size(self) -> int:
        """Entries of the joint observation."""
        return sum(self.observation_sizes)

    @cached_property
    def observation_space(self) -> spaces.Box:
        """Box [observation_size] float32 with the agents' bounds, widened to hold 0, a dead agent's value."""
        low = np.minimum(np.concatenate([low for low, _ in self._bounds]), np.float32(0))
        high = np.maximum(np.concatenate([high for _, high in self._bounds]), np.float32(0))
        return spaces.Box(low, high, dtype=np.float32)

    @cached_property
    def has_masks(self) -> bool:
        """Whether some agent's observation space brings an action mask."""
        return any(without_mask(self.observation_spaces[agent])[1] for agent in self.agents)

    @cached_property
    def action_columns(self) -> tuple[slice, ...]:
        """Which columns of a packed joint action are each agent's."""
        return slices_of([columns.n_columns for columns in self._columns])

    @cached_property
    def n_columns(self) -> int:
        """Columns of a packed joint action."""
        return sum(columns.n_columns for columns in self._columns)

    @cached_property
    def column_categories(self) -> tuple[int, ...]:
        """Categories of each column; 0 for a real number."""
        return tuple(n for columns in self._columns for n in columns.categories)

    @cached_property
    def is_discrete(self) -> bool:
        """Whether all columns are categorical."""
        return all(n > 0 for n in self.column_categories)

    @cached_property
    def is_continuous(self) -> bool:
        """Whether all columns are real numbers."""
        return all(n == 0 for n in self.column_categories)

    @property
    def action_dtype(self) -> type[np.int64] | type[np.float32]:
        """int64 where all columns are categorical, else float32."""
        return np.int64 if self.is_discrete else np.float32

    @cached_property
    def action_space(self) -> Space:
        """Packed joint actions: MultiDiscrete where all columns are categorical, else Box float32.

        A categorical column of a mixed team is a number in [0, categories - 1] that is rounded.
        """
        if self.is_discrete:
            return spaces.MultiDiscrete(np.array(self.column_categories, dtype=np.int64))
        low = np.concatenate([columns.low for columns in self._columns])
        high = np.concatenate([columns.high for columns in self._columns])
        return spaces.Box(low, high, dtype=np.float32)

    @cached_property
    def output_sizes(self) -> tuple[int, ...]:
        """Network outputs of each agent: one for each category and each real number."""
        return tuple(sum(max(n, 1) for n in columns.categories) for columns in self._columns)

    @cached_property
    def output_slices(self) -> tuple[slice, ...]:
        """Which network outputs are each agent's."""
        return slices_of(self.output_sizes)

    @cached_property
    def output_size(self) -> int:
        """Network outputs of the team."""
        return sum(self.output_sizes)

    @cached_property
    def column_outputs(self) -> tuple[slice, ...]:
        """Which network outputs are each column's."""
        return slices_of([max(n, 1) for n in self.column_categories])

    @cached_property
    def column_masks(self) -> tuple[slice, ...]:
        """Which flags of a joint mask are each column's (none for a real number)."""
        return slices_of(self.column_categories)

    @cached_property
    def mask_slices(self) -> tuple[slice, ...]:
        """Which flags of a joint mask are each agent's."""
        return slices_of([sum(columns.categories) for columns in self._columns])

    @cached_property
    def mask_size(self) -> int:
        """Flags of a joint mask: categories of all columns."""
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

    def agent_index(self, which: int | str) -> int:
        """The place of an agent in the team, from its name or its place.

        Raises:
            SpaceError: There is no such agent.
        """
        if isinstance(which, str):
            if which in self.agents:
                return self.agents.index(which)
            near = ", ".join(nearest(which, self.agents) or self.agents)
            raise SpaceError(f"no agent is called {which!r}; nearest: {near}")
        if not 0 <= which < self.n_agents:
            raise SpaceError(f"agent {which}: expected 0 to {self.n_agents - 1}")
        return int(which)

    def only(self, which: int | str) -> TeamSpaces:
        """The team of one agent alone.

        Raises:
            SpaceError: There is no such agent.
        """
        agent = self.agents[self.agent_index(which)]
        return TeamSpaces([agent], self.observation_spaces, self.action_spaces, {agent: self.layouts[agent]})

    def flatten_agent(self, agent: str, observation: Any) -> Floats:
        """One agent's observation, as its environment gives it, as a vector.

        Returns:
            [size of this agent] float32.

        Raises:
            SpaceError: The observation does not have the shape of the agent's space.
        """
        space, masked = without_mask(self.observation_spaces[self.agents[self.agent_index(agent)]])
        value = unwrap_observation(observation) if masked else observation
        flat: Floats = naming(agent, flatten, space, value)
        return flat

    def join_observations(self, observations: Mapping[str, npt.ArrayLike]) -> Floats:
        """Flat observations [..., size of the agent] of each agent as joint ones; agents left out are zeros.

        Returns:
            [..., observation_size] float32.
        """
        batch = next((np.shape(value)[:-1] for value in observations.values()), ())
        joint = np.zeros((*batch, self.observation_size), dtype=np.float32)
        for agent, where in zip(self.agents, self.observation_slices, strict=True):
            if agent in observations:
                joint[..., where] = observations[agent]
        return joint

    def split_observations(self, joint: npt.NDArray[Any]) -> dict[str, npt.NDArray[Any]]:
        """Joint observations [..., observation_size] as one view [..., size of the agent] for each agent."""
        slices = zip(self.agents, self.observation_slices, strict=True)
        return {agent: joint[..., where] for agent, where in slices}

    def split_actions(self, packed: npt.NDArray[Any]) -> dict[str, Any]:
        """A packed joint action [n_columns] as the action of each agent, as the environment takes it.

        Raises:
            SpaceError: A column holds no such category, or the number of columns is wrong.
        """
        if np.shape(packed) != (self.n_columns,):
            raise SpaceError(f"packed action of shape {np.shape(packed)}, expected {(self.n_columns,)}")
        per_agent = zip(self.agents, self._columns, self.action_columns, strict=True)
        return {agent: naming(agent, columns.decode, packed[where]) for agent, columns, where in per_agent}

    def join_actions(self, actions: Mapping[str, Any]) -> npt.NDArray[Any]:
        """The agents' actions as a packed joint action.

        Agents that are left out have category 0, or the number nearest to 0.

        Returns:
            [n_columns], int64 or float32 (`action_dtype`).

        Raises:
            SpaceError: An action does not have the shape of the agent's space.
        """
        packed = np.zeros(self.n_columns, dtype=self.action_dtype)
        for agent, columns, where in zip(self.agents, self._columns, self.action_columns, strict=True):
            if agent in actions:
                packed[where] = naming(agent, columns.encode, actions[agent])
            elif columns.is_continuous:
                packed[where] = np.clip(np.float32(0), columns.low, columns.high)
        return packed

    def join_masks(self, masks: Mapping[str, Any], alive: npt.ArrayLike | None = None) -> Masks:
        """The agents' action masks as a joint one.

        An agent without a mask may do everything; of a dead agent, and of a choice with nothing to choose
        from, only category 0 is left.

        Args:
            masks: For each agent a mask as its environment gives it, or None.
            alive: [n_agents] bool; all are alive where it is left out.

        Returns:
            [mask_size] bool.

        Raises:
            SpaceError: A mask does not have the agent's number of categories.
        """
        joint = np.ones(self.mask_size, dtype=bool)
        lives = np.ones(self.n_agents, dtype=bool) if alive is None else np.asarray(alive, dtype=bool)
        per_agent = zip(self.agents, self._columns, self.mask_slices, lives, strict=True)
        for agent, columns, where, lives_on in per_agent:
            if not lives_on:
                joint[where] = columns.flat_mask(np.zeros(where.stop - where.start, dtype=bool))
            elif (mask := masks.get(agent)) is not None:
                joint[where] = naming(agent, columns.flat_mask, mask)
        return joint

    def to_json(self) -> dict[str, Any]:
        """Everything as lists, strings and numbers."""
        return {
            "agents": [
                {
                    "name": agent,
                    "observation": space_to_json(self.observation_spaces[agent]),
                    "action": space_to_json(self.action_spaces[agent]),
                    "layout": self.layouts[agent].to_json(),
                }
                for agent in self.agents
            ]
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> TeamSpaces:
        """The inverse of `to_json`; no code from the file is run.

        Raises:
            SpaceError: `data` describes no team.
        """
        try:
            agents = {str(agent["name"]): agent for agent in data["agents"]}
            return cls(
                [str(agent["name"]) for agent in data["agents"]],
                {name: space_from_json(agent["observation"]) for name, agent in agents.items()},
                {name: space_from_json(agent["action"]) for name, agent in agents.items()},
                {name: AgentLayout.from_json(agent["layout"]) for name, agent in agents.items()},
            )
        except (KeyError, TypeError) as error:
            raise SpaceError(f"not a team: {type(error).__name__}: {error}") from None

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, TeamSpaces):
            return NotImplemented
        return (
            self.agents == other.agents
            and self.observation_spaces == other.observation_spaces
            and self.action_spaces == other.action_spaces
            and self.layouts == other.layouts
        )

    def __hash__(self) -> int:
        return hash((self.agents, self.observation_sizes, self.column_categories))

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"TeamSpaces is immutable: {name!r} cannot be set")

    def __repr__(self) -> str:
        size, columns = self.observation_size, self.n_columns
        return f"TeamSpaces({self.n_agents} agents, {size} observed numbers, {columns} action columns)"
