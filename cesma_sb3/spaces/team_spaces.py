"""A team's spaces, and splitting and joining of observations, actions and masks. Pure NumPy.

A *joint observation* is the concatenation of the agents' flat observations, and of what a controller of the
whole team alone sees, if there is anything. A *packed joint action* has a discrete column for each choice and
a continuous one for each scalar of each agent. A *joint mask* has a flag for each category of each discrete
column. All three keep the order of `agents`, and a dead agent keeps its slot.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from cesma_sb3.errors import LayoutError, SpaceError, unknown_name
from cesma_sb3.spaces.agent_spaces import flatten, naming, unwrap_observation, without_mask
from cesma_sb3.spaces.declarations import (
    check_names,
    declared_layouts,
    has_info_masks,
    possible_agents,
    space_of,
)
from cesma_sb3.spaces.layout import AgentLayout, flat_layout
from cesma_sb3.spaces.offsets import TeamOffsets
from cesma_sb3.spaces.serialization import space_from_json, space_to_json
from cesma_sb3.spaces.types import Array, Floats, Masks, Space
from cesma_sb3.utils.tables import html_table

_NUMBER = re.compile(r"-?\d+")


class TeamSpaces(TeamOffsets):
    """The spaces of an ordered team of agents, and of the team as one agent. Immutable.

    Args:
        agents: Names, in the order that every joint array keeps.
        observation_spaces: One for each agent: Box, Discrete, MultiDiscrete, MultiBinary, Dict or Tuple. A
            Dict with the key `action_mask` brings the agent's mask, and its other keys the observation.
        action_spaces: One for each agent: Discrete, MultiDiscrete, MultiBinary, Box, or a Dict or
            Tuple of these.
        layouts: The parts of observations and actions, by agent; agents that are left out have one flat part.
        masks_in_infos: Whether the environment has action masks in its infos.
        unseen_space: Box of what no agent observes and a controller of the whole team does: the end of a
            joint observation; None: there is nothing.

    Raises:
        SpaceError: No agents, two of one name, an agent without a space, or a space of another kind.
        LayoutError: A layout does not add up to the agent's spaces, or is for no agent of the team.
    """

    layouts: Mapping[str, AgentLayout]
    masks_in_infos: bool

    def __init__(
        self,
        agents: Sequence[str],
        observation_spaces: Mapping[str, Space],
        action_spaces: Mapping[str, Space],
        layouts: Mapping[str, AgentLayout] | None = None,
        *,
        masks_in_infos: bool = False,
        unseen_space: Space | None = None,
    ) -> None:
        names = tuple(str(agent) for agent in agents)
        if not names or len(set(names)) != len(names):
            raise SpaceError(f"agents {list(names)}: expected at least one, each with a name of its own")
        for what, given in (("observation", observation_spaces), ("action", action_spaces)):
            for agent in names:
                if agent not in given:
                    raise SpaceError(f"{agent}: has no {what} space; there are some for {sorted(given)}")
        if not isinstance(unseen_space, spaces.Box | None):
            raise SpaceError(f"what no agent observes: {unseen_space}, expected Box")
        self.__dict__.update(
            agents=names,
            observation_spaces={agent: observation_spaces[agent] for agent in names},
            action_spaces={agent: action_spaces[agent] for agent in names},
            masks_in_infos=bool(masks_in_infos),
            unseen_space=unseen_space,
        )
        self.__dict__["layouts"] = self._checked_layouts(layouts or {})

    def _checked_layouts(self, given: Mapping[str, AgentLayout]) -> dict[str, AgentLayout]:
        for agent in given:
            if agent not in self.agents:
                raise LayoutError(f"layouts: {unknown_name('agent', agent, self.agents)}")
        layouts = {}
        sizes = zip(self.agents, self.observation_sizes, self._columns, strict=True)
        for agent, size, columns in sizes:
            layouts[agent] = given.get(agent) or flat_layout(size)
            layouts[agent].check(agent, size, columns.n_columns)
        return layouts

    @classmethod
    def from_parallel_env(
        cls,
        env: Any,
        *,
        agents: Sequence[str] | None = None,
        layouts: Mapping[str, AgentLayout] | None = None,
    ) -> TeamSpaces:
        """The spaces of a PettingZoo `ParallelEnv`, and whether it has action masks (`has_info_masks`).

        The layouts are those of a method `layout(agent)` of the environment, if it has one. One beneath a
        wrapper counts only where it still adds up to the wrapper's observations.

        Args:
            env: The environment.
            agents: The names of its agents in the team's order; None: the order of `possible_agents`.
            layouts: In place of the environment's own.

        Raises:
            SpaceError: The environment has no list of possible agents, or one with other names than `agents`;
                or a space is of no known kind.
            LayoutError: A layout does not add up to the spaces, or is of an order that `agents` changes.
        """
        ids = possible_agents(env)
        with warnings.catch_warnings():
            # PettingZoo warns of spaces that are dicts and no methods.
            warnings.simplefilter("ignore")
            observation_spaces = {name: space_of(env, "observation", agent) for name, agent in ids.items()}
            action_spaces = {name: space_of(env, "action", agent) for name, agent in ids.items()}
        team = cls(list(ids), observation_spaces, action_spaces)
        # Agents with masks in their spaces, and teams without any choice, need no look at infos.
        maskless = [ids[name] for name in ids if not without_mask(observation_spaces[name])[1]]
        team = cls(
            team.agents,
            observation_spaces,
            action_spaces,
            declared_layouts(env, list(ids.values()), team.observation_sizes) if layouts is None else layouts,
            masks_in_infos=bool(maskless and team.mask_size) and has_info_masks(env, maskless),
            unseen_space=getattr(env, "unseen_space", None),
        )
        return team if agents is None else team.in_order(agents, who=str(env))

    def in_order(self, agents: Sequence[str], *, who: str = "team") -> TeamSpaces:
        """The same team with its agents, and so all its joint arrays, in another order.

        Args:
            agents: The names of all its agents.
            who: The team's name in messages.

        Raises:
            SpaceError: These are the names of other agents.
            LayoutError: An agent observes several others, whose order is the team's own.
        """
        check_names(self.agents, agents, who)
        if tuple(agents) == self.agents:
            return self
        for name in agents:
            for part in self.layouts[name].observation.parts:
                if part.kind in {"agents", "message"} and part.count > 1:
                    raise LayoutError(
                        f"{who}: part {part.name!r} of {name}'s observation has the others in the order "
                        f"{', '.join(self.agents)}; expected agents in this order, not {', '.join(agents)}"
                    )
        return TeamSpaces(
            agents,
            self.observation_spaces,
            self.action_spaces,
            self.layouts,
            masks_in_infos=self.masks_in_infos,
            unseen_space=self.unseen_space,
        )

    @cached_property
    def masked_agents(self) -> frozenset[str]:
        """The agents that have action masks: by their observation spaces, or all where infos have masks."""
        if self.masks_in_infos:
            return frozenset(self.agents)
        return frozenset(agent for agent in self.agents if without_mask(self.observation_spaces[agent])[1])

    @property
    def has_masks(self) -> bool:
        """Whether the team has action masks."""
        return bool(self.masked_agents)

    def agent_index(self, which: int | str) -> int:
        """The index of an agent in the team, from its name or its index.

        Where the agents' names are numbers (`1`, or PettingZoo ids that are ints), a number is a name.

        Raises:
            SpaceError: There is no such agent.
        """
        if not isinstance(which, str) and any(_NUMBER.fullmatch(agent) for agent in self.agents):
            which = str(which)
        if isinstance(which, str):
            if which in self.agents:
                return self.agents.index(which)
            raise SpaceError(unknown_name("agent", which, self.agents))
        if not 0 <= which < self.n_agents:
            raise SpaceError(f"agent {which}: expected 0 to {self.n_agents - 1}")
        return int(which)

    def only(self, which: int | str) -> TeamSpaces:
        """The team of one agent alone.

        Raises:
            SpaceError: There is no such agent.
        """
        agent = self.agents[self.agent_index(which)]
        return TeamSpaces(
            [agent],
            self.observation_spaces,
            self.action_spaces,
            {agent: self.layouts[agent]},
            masks_in_infos=self.masks_in_infos,
        )

    def flatten_agent(self, agent: str, observation: Any) -> Floats:
        """One agent's observation, an element of its space, as a vector.

        Returns:
            [size of this agent] float32.

        Raises:
            SpaceError: The observation does not have the shape of the agent's space.
        """
        space = self.observation_spaces[self.agents[self.agent_index(agent)]]
        value = naming(agent, unwrap_observation, space, observation)
        flat: Floats = naming(agent, flatten, without_mask(space)[0], value)
        return flat

    def join_observations(self, observations: Mapping[str, npt.ArrayLike]) -> Floats:
        """Joins flat observations [..., size of the agent] by agent.

        Those of agents that are left out, and what no agent observes, are zeros.

        Returns:
            [..., observation_size] float32.
        """
        batch = next((np.shape(value)[:-1] for value in observations.values()), ())
        joint = np.zeros((*batch, self.observation_size), dtype=np.float32)
        for agent, where in zip(self.agents, self.observation_slices, strict=True):
            if agent in observations:
                joint[..., where] = observations[agent]
        return joint

    def split_observations(self, joint: Array) -> dict[str, Array]:
        """Splits joint observations [..., observation_size] into views [..., size of the agent] by agent."""
        slices = zip(self.agents, self.observation_slices, strict=True)
        return {agent: joint[..., where] for agent, where in slices}

    def split_actions(self, packed: Array) -> dict[str, Any]:
        """Splits a packed joint action [n_columns] into each agent's action, an element of its space.

        Raises:
            SpaceError: A column holds no such category, or the number of columns is wrong.
        """
        if np.shape(packed) != (self.n_columns,):
            raise SpaceError(f"packed action of shape {np.shape(packed)}, expected {(self.n_columns,)}")
        per_agent = zip(self.agents, self._columns, self.action_columns, strict=True)
        return {agent: naming(agent, columns.decode, packed[where]) for agent, columns, where in per_agent}

    def join_actions(self, actions: Mapping[str, Any]) -> Array:
        """Joins the agents' actions as a packed joint action.

        Agents that are left out have category 0, or the scalar nearest to 0.

        Returns:
            [n_columns], int64 or float32 (`action_dtype`).

        Raises:
            SpaceError: An action does not have the shape of the agent's space.
        """
        packed = np.zeros(self.n_columns, dtype=self.action_dtype)
        for agent, columns, where in zip(self.agents, self._columns, self.action_columns, strict=True):
            if agent in actions:
                packed[where] = naming(agent, columns.encode, actions[agent])
            else:
                packed[where] = np.clip(np.float32(0), columns.low, columns.high)
        return packed

    def join_masks(self, masks: Mapping[str, Any], alive: npt.ArrayLike | None = None) -> Masks:
        """Joins the agents' action masks.

        All categories of an agent without a mask are available; of a dead agent, and of a column without an
        available category, category 0 alone is.

        Args:
            masks: By agent, a mask as its environment returns it, or None.
            alive: Which agents are alive, [n_agents] bool; None: all.

        Returns:
            [mask_size] bool.

        Raises:
            SpaceError: A mask does not have the agent's number of categories.
        """
        joint = np.ones(self.mask_size, dtype=bool)
        lives = np.ones(self.n_agents, dtype=bool) if alive is None else np.asarray(alive, dtype=bool)
        per_agent = zip(self.agents, self._columns, self.mask_slices, lives, strict=True)
        for agent, columns, where, is_alive in per_agent:
            if not is_alive:
                joint[where] = columns.flat_mask(np.zeros(where.stop - where.start, dtype=bool))
            elif (mask := masks.get(agent)) is not None:
                joint[where] = naming(agent, columns.flat_mask, mask)
        return joint

    def to_json(self) -> dict[str, Any]:
        """The team as plain lists, strings and numbers."""
        return {
            "agents": [
                {
                    "name": agent,
                    "observation": space_to_json(self.observation_spaces[agent]),
                    "action": space_to_json(self.action_spaces[agent]),
                    "layout": self.layouts[agent].to_json(),
                }
                for agent in self.agents
            ],
            "masks_in_infos": self.masks_in_infos,
            **({} if self.unseen_space is None else {"unseen": space_to_json(self.unseen_space)}),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> TeamSpaces:
        """The team that `to_json` described; no code from a file is run.

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
                masks_in_infos=data["masks_in_infos"],
                unseen_space=space_from_json(data["unseen"]) if "unseen" in data else None,
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
            and self.masks_in_infos == other.masks_in_infos
            and self.unseen_space == other.unseen_space
        )

    def __hash__(self) -> int:
        return hash((self.agents, self.observation_sizes, self.column_categories))

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"TeamSpaces is immutable: {name!r} cannot be set")

    def _repr_html_(self) -> str:
        """What a notebook shows: what each agent sees and does."""
        rows = []
        for agent, size in zip(self.agents, self.observation_sizes, strict=True):
            layout, space = self.layouts[agent], self.action_spaces[agent]
            parts = [f"{part.name} ({part.width})" for part in layout.observation.parts if part.width]
            does = " and ".join(part.name for part in layout.action)
            sees = f"{size} entries: {', '.join(parts)}"
            rows.append((str(agent), sees, f"{does}: {space}" if does else str(space)))
        return html_table(f"{self.n_agents} agents", ("agent", "sees", "does"), rows)

    def __repr__(self) -> str:
        size, columns = self.observation_size, self.n_columns
        return f"TeamSpaces({self.n_agents} agents, {size} observation entries, {columns} action columns)"
