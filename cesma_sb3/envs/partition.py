"""A joint Gymnasium environment as the team that an experiment declares it to be.

Its observation is one vector, a matrix, or a Dict of these, and its action several discrete or continuous
columns. The experiment says for each agent which entries it observes and which columns it controls; several
agents may observe an entry.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from gymnasium import spaces

from cesma_sb3.envs.gymnasium_team import OfGymnasium
from cesma_sb3.envs.return_checks import several
from cesma_sb3.errors import ConfigError, SpaceError
from cesma_sb3.spaces.agent_spaces import MASK, ActionColumns, flat_bounds, flatten
from cesma_sb3.spaces.declarations import check_names
from cesma_sb3.spaces.team_spaces import TeamSpaces
from cesma_sb3.spaces.team_views import TeamView
from cesma_sb3.spaces.types import Array, Flags, Index, Info, Space

JOINT_AGENT = "team"
"""The name of the one agent that controls the undivided environment."""


class AgentSlice(NamedTuple):
    """One agent's part of a joint environment: entries of the flat observation, and columns of the action.

    Both are written as in Python, ends excluded: `0:6`, `3`, or several: `0:3, 12, 15:18`.
    """

    observation: str
    action: str


class Partition:
    """A joint observation and action divided among agents.

    Args:
        slices: By agent, in the team's order.
        observation_space: Of the environment: Box, read row by row, or a Dict or Tuple of such, in its order.
        action_space: Of the environment: MultiDiscrete, MultiBinary or Box, of one axis, or a Dict or Tuple
            of these and Discrete, whose members' columns follow each other.

    Attributes:
        slices: As given.
        observation_spaces: By agent, Box.
        action_spaces: By agent.

    Raises:
        SpaceError: A space of another kind.
        ConfigError: A slice is no such text or leads out of the space, an action belongs to two agents or
            none, or no agent observes an entry.
    """

    def __init__(self, slices: Mapping[str, AgentSlice], observation_space: Any, action_space: Any) -> None:
        if not isinstance(observation_space, spaces.Box | spaces.Dict | spaces.Tuple):
            raise SpaceError(
                f"a declared team: the observation space is {observation_space}, expected Box, Dict or Tuple"
            )
        kinds = (spaces.MultiDiscrete, spaces.MultiBinary, spaces.Box)
        is_row = isinstance(action_space, kinds) and len(action_space.shape) == 1
        if not (is_row or isinstance(action_space, spaces.Dict | spaces.Tuple)):
            raise SpaceError(
                f"a declared team: the action space is {action_space}, expected MultiDiscrete, MultiBinary "
                "or Box, of one axis, or a Dict or Tuple"
            )
        low, high = flat_bounds(observation_space)
        n_entries, n_columns = len(low), ActionColumns.of(action_space).n_columns
        self.slices = dict(slices)
        self._entries = {
            agent: _indices(own.observation, n_entries, f"{agent}.observation")
            for agent, own in slices.items()
        }
        self._columns = {
            agent: _indices(own.action, n_columns, f"{agent}.action") for agent, own in slices.items()
        }
        self._check(n_entries, n_columns)
        kind: Any = np.float32
        if isinstance(observation_space, spaces.Box):  # in its own precision
            low, high = observation_space.low.ravel(), observation_space.high.ravel()
            kind = observation_space.dtype
        self.observation_spaces = {
            agent: spaces.Box(low[own], high[own], dtype=kind) for agent, own in self._entries.items()
        }
        self._whole = ActionColumns.of(action_space)
        part = self._whole.space_of if self._whole.members else partial(_part, action_space)
        self.action_spaces = {agent: part(own) for agent, own in self._columns.items()}
        self._own = {agent: ActionColumns.of(space) for agent, space in self.action_spaces.items()}
        self._observation_space, self._action_space = observation_space, action_space

    def _check(self, n_entries: int, n_columns: int) -> None:
        owners = np.bincount(
            np.concatenate([*self._columns.values(), np.zeros(0, np.int64)]), minlength=n_columns
        )
        if (owners != 1).any():
            column = int((owners != 1).argmax())
            raise ConfigError(
                f"a declared team: action {column} belongs to {owners[column]} agents, expected one"
            )
        observers = np.bincount(np.concatenate(list(self._entries.values())), minlength=n_entries)
        if (observers == 0).any():
            entries = np.flatnonzero(observers == 0).tolist()
            raise ConfigError(f"a declared team: entries {entries} of the observation are seen by nobody")

    def undivided_view(self, team: TeamSpaces) -> TeamView:
        """The view of the declared team in which one agent observes and controls the whole environment.

        Args:
            team: The declared team, in any order of its agents.

        Raises:
            SpaceError: These are other agents.
        """
        check_names(self.slices, team.agents, "a declared team")
        entries = np.concatenate([self._entries[agent] for agent in team.agents])
        columns = np.concatenate([self._columns[agent] for agent in team.agents])
        spaces_of_whole = {JOINT_AGENT: self._observation_space}, {JOINT_AGENT: self._action_space}
        # Of each entry of the whole observation the first place in the joint one, which has some twice.
        return TeamView(
            team,
            TeamSpaces([JOINT_AGENT], *spaces_of_whole),
            entries=np.unique(entries, return_index=True)[1],
            columns=np.arange(len(columns)),
            places=columns,
            sources=entries,
        )

    def split_observation(self, whole: Any) -> dict[str, Array]:
        """An observation of the environment as one for each agent.

        Raises:
            ValueError: It is of another shape than the space, a Box.
            SpaceError: It is no element of the space, a Dict or Tuple.
        """
        space = self._observation_space
        if not isinstance(space, spaces.Box):
            flat = flatten(space, whole)
        elif np.shape(whole) != space.shape:
            raise ValueError(f"observation of shape {np.shape(whole)}, expected {space.shape}")
        else:
            flat = np.asarray(whole).ravel()
        return {agent: flat[own] for agent, own in self._entries.items()}

    def merge_actions(self, actions: Mapping[str, Any]) -> Any:
        """The agents' actions as one of the environment; those of agents that are left out are 0."""
        space = self._action_space
        if self._whole.members:
            columns = np.clip(np.zeros(self._whole.n_columns), self._whole.low, self._whole.high)
            for agent, action in actions.items():
                columns[self._columns[agent]] = self._own[agent].encode(action)
            return self._whole.decode(columns)
        whole = np.zeros(space.shape, dtype=space.dtype)
        for agent, action in actions.items():
            whole[self._columns[agent]] = action
        return whole

    def split_mask(self, whole: Flags) -> dict[str, Flags]:
        """A mask of the environment, the categories of all columns in turn, as one mask for each agent."""
        flags = self._whole.flat_mask(whole)
        parts = np.split(flags, np.cumsum(self._whole.categories)[:-1])
        return {agent: np.concatenate([parts[i] for i in own]) for agent, own in self._columns.items()}


class PartitionedEnv(OfGymnasium):
    """A joint Gymnasium environment as a PettingZoo `ParallelEnv`: each agent gets its reward and its flags.

    A method `action_masks()` of the environment, as sb3-contrib reads it, or `action_mask` in its infos
    becomes the agents' masks.

    Args:
        env: The environment.
        slices: By agent, the entries that it observes and the columns that it controls.

    Raises:
        SpaceError: The observation space or the action space cannot be divided.
        ConfigError: A slice leads out of its space, or the slices are no partition of the action.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], slices: Mapping[str, AgentSlice]) -> None:
        super().__init__(env, list(slices))
        self.partition = Partition(slices, env.observation_space, env.action_space)
        self.masks_in_infos: bool | None = None
        """True where masks come from `action_masks`; None where the infos have to be looked at."""
        try:
            self._masks = env.get_wrapper_attr("action_masks")  # its own, or an `ActionMasker`'s
            self.masks_in_infos = True
        except AttributeError:
            self._masks = None

    def observation_space(self, agent: str) -> Space:
        """The space of the agent's entries of the observation."""
        return self.partition.observation_spaces[agent]

    def action_space(self, agent: str) -> Space:
        """The space of the agent's columns of the action."""
        return self.partition.action_spaces[agent]

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Starts an episode of the environment."""
        answer = self.env.reset(seed=seed, options=options)
        observation, info = several("reset", answer, ("observation", "info"))
        self.agents = list(self.possible_agents)
        return self.partition.split_observation(observation), self._infos(info)

    def step(self, actions: Mapping[str, Any]) -> tuple[dict[str, Any], ...]:
        """One step of the environment."""
        answer = self.env.step(self.partition.merge_actions(actions))
        names = ("observation", "reward", "terminated", "truncated", "info")
        observation, reward, terminated, truncated, info = several("step", answer, names)
        agents = self.agents
        if terminated or truncated:
            self.agents = []
        return (
            self.partition.split_observation(observation),
            dict.fromkeys(agents, reward),
            dict.fromkeys(agents, terminated),
            dict.fromkeys(agents, truncated),
            self._infos(info),
        )

    def _infos(self, info: Mapping[str, Any] | None) -> dict[str, Info]:
        info = {} if info is None else info
        infos = {agent: dict(info) for agent in self.possible_agents}
        whole = info.get(MASK) if self._masks is None else self._masks()
        if whole is not None:
            for agent, mask in self.partition.split_mask(whole).items():
                infos[agent][MASK] = mask
        return infos


def _part(space: spaces.MultiDiscrete | spaces.MultiBinary | spaces.Box, own: Index) -> Space:
    """The space of some columns of an action."""
    if isinstance(space, spaces.Box):
        kind: Any = space.dtype
        return spaces.Box(space.low[own], space.high[own], dtype=kind)
    if isinstance(space, spaces.MultiBinary):
        return spaces.MultiBinary(len(own))
    first = np.asarray(getattr(space, "start", np.zeros_like(space.nvec)))  # only newer releases have it
    if len(own) == 1:
        return spaces.Discrete(int(space.nvec[own[0]]), start=int(first[own[0]]))
    if first[own].any():
        return spaces.MultiDiscrete(space.nvec[own], start=first[own])
    return spaces.MultiDiscrete(space.nvec[own])


def partition_indices(slices: Mapping[str, AgentSlice], team: TeamSpaces) -> dict[str, dict[str, Any]]:
    """The part of the undivided environment that each agent of a declared team has, as plain values.

    Args:
        slices: By agent.
        team: The declared team.

    Returns:
        By agent `observation` and `action`, each with the `share` as it was written, its `places`, and the
        `size` of the whole; and `mask`, with `places` and `size` alone, or None where the team has no masks.
    """
    places = {
        agent: {what: _indices(text, None, f"{agent}.{what}") for what, text in own._asdict().items()}
        for agent, own in slices.items()
    }
    sizes = {
        what: 1 + max(int(own[what].max()) for own in places.values()) for what in ("observation", "action")
    }
    found: dict[str, dict[str, Any]] = {}
    for agent, own in slices.items():
        found[agent] = {
            what: {"share": text, "places": places[agent][what].tolist(), "size": sizes[what]}
            for what, text in own._asdict().items()
        }
        found[agent]["mask"] = None
    if team.has_masks:
        categories = np.zeros(sizes["action"], dtype=int)
        for agent, columns in zip(team.agents, team.action_columns, strict=True):
            categories[places[agent]["action"]] = team.column_categories[columns]
        flags = np.split(np.arange(categories.sum()), np.cumsum(categories)[:-1])
        for agent, indices in places.items():
            mask = np.concatenate([flags[column] for column in indices["action"]])
            found[agent]["mask"] = {"places": mask.tolist(), "size": team.mask_size}
    return found


def _indices(text: str, size: int | None, where: str) -> Index:
    """The indices that a text such as `0:3, 5` names, all below `size` if it is known: [0, 1, 2, 5]."""
    found: list[int] = []
    for word in text.split(","):
        match = re.fullmatch(r"\s*(\d+)(?:\s*:\s*(\d+))?\s*", word)
        if match is None:
            raise ConfigError(f"a declared team: {where}: {text!r}, expected such as '0:3, 5'")
        first = int(match[1])
        last = first + 1 if match[2] is None else int(match[2])
        if not first < last or (size is not None and last > size):
            raise ConfigError(f"a declared team: {where}: {word.strip()!r}, expected places below {size}")
        found += range(first, last)
    if len(set(found)) < len(found):
        raise ConfigError(f"a declared team: {where}: {text!r} names a place twice")
    return np.array(found, dtype=np.int64)
