"""A joint Gymnasium environment as the team that an experiment declares it to be.

Its observation is one vector, a matrix, or a Dict of these, and its action several discrete or continuous
columns. The experiment says for each agent which entries it observes and which columns it controls. Several
agents may observe an entry; what none does, a controller of the whole alone sees. Agents may be given
messages, which the environment lacks.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from cesma_sb3.envs.gymnasium_team import OfGymnasium
from cesma_sb3.envs.return_checks import several
from cesma_sb3.errors import ConfigError, SpaceError
from cesma_sb3.spaces.agent_slices import AgentSlice, indices
from cesma_sb3.spaces.agent_spaces import MASK, ActionColumns, flat_bounds, flatten
from cesma_sb3.spaces.communication import message_columns
from cesma_sb3.spaces.declarations import check_names
from cesma_sb3.spaces.layout import ActionPart, AgentLayout, ObservationLayout, Part, flat_layout
from cesma_sb3.spaces.team_spaces import TeamSpaces
from cesma_sb3.spaces.team_views import TeamView
from cesma_sb3.spaces.types import Array, Flags, Index, Info, Space

JOINT_AGENT = "team"
"""The name of the one agent that controls the undivided environment."""


class Partition:
    """A joint observation and action divided among agents.

    With messages, an agent's observation goes on with what it has received, [others x message_size], and its
    action with what it sends: numbers in [-1, 1], or, where actions are choices, a symbol, received one-hot.

    Args:
        slices: By agent, in the team's order.
        observation_space: Of the environment: Box, read row by row, or a Dict or Tuple of such, in its order.
        action_space: Of the environment: MultiDiscrete, MultiBinary or Box, of one axis, or a Dict or Tuple
            of these and Discrete, whose members' columns follow each other.
        message_size: The numbers, or the symbols to choose from, of each agent's message to all others; 0:
            nobody talks.

    Attributes:
        slices: As given.
        observation_spaces: By agent, Box.
        action_spaces: By agent.
        unseen_space: Box of the entries that no agent observes; None where each is observed.

    Raises:
        SpaceError: A space of another kind.
        ConfigError: A slice is no such text or leads out of the space, an action belongs to two agents or
            none, or there are messages of one agent alone, or of actions that are Dicts or Tuples.
    """

    def __init__(
        self,
        slices: Mapping[str, AgentSlice],
        observation_space: Any,
        action_space: Any,
        message_size: int = 0,
    ) -> None:
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
        n_entries, n_columns = (
            len(flat_bounds(observation_space)[0]),
            ActionColumns.of(action_space).n_columns,
        )
        self.slices = dict(slices)
        self._entries = {
            agent: indices(own.observation, n_entries, f"{agent}.observation")
            for agent, own in slices.items()
        }
        self._columns = {
            agent: indices(own.action, n_columns, f"{agent}.action") for agent, own in slices.items()
        }
        self._check(n_columns)
        self._observation_space, self._action_space = observation_space, action_space
        self._whole = ActionColumns.of(action_space)
        part = self._whole.space_of if self._whole.members else partial(_part, action_space)
        own_spaces = {agent: part(own) for agent, own in self._columns.items()}
        self._own = {agent: ActionColumns.of(space) for agent, space in own_spaces.items()}
        self.message_size = message_size
        if message_size and (len(slices) < 2 or self._whole.members):
            what = "actions that are Dicts or Tuples" if self._whole.members else "a team of one agent"
            raise ConfigError(f"a declared team: message_size: expected 0 for {what}, got {message_size}")
        self.action_spaces = {
            agent: _with_message(space, message_size) if message_size else space
            for agent, space in own_spaces.items()
        }
        seen = np.concatenate(list(self._entries.values()))
        self._unseen = np.setdiff1d(np.arange(n_entries), seen)
        self.unseen_space = self._observed(self._unseen) if len(self._unseen) else None
        received = (len(slices) - 1) * message_size
        self.observation_spaces = {
            agent: self._observed(own, received) for agent, own in self._entries.items()
        }

    def _observed(self, entries: Index, n_received: int = 0) -> spaces.Box:
        """The space of some entries of the observation, and of received messages behind them."""
        space = self._observation_space
        low, high = flat_bounds(space)
        kind: Any = np.float32
        if isinstance(space, spaces.Box):  # in its own precision
            low, high, kind = space.low.ravel(), space.high.ravel(), space.dtype
        if n_received:
            kind = np.result_type(kind, np.float32 if self._whole.is_continuous else np.uint8)
        lowest = -1.0 if self._whole.is_continuous else 0.0
        low = np.concatenate([low[entries], np.full(n_received, lowest)])
        high = np.concatenate([high[entries], np.ones(n_received)])
        return spaces.Box(low.astype(kind), high.astype(kind), dtype=kind)

    def _check(self, n_columns: int) -> None:
        owners = np.bincount(
            np.concatenate([*self._columns.values(), np.zeros(0, np.int64)]), minlength=n_columns
        )
        if (owners != 1).any():
            column = int((owners != 1).argmax())
            raise ConfigError(
                f"a declared team: action {column} belongs to {owners[column]} agents, expected one"
            )

    def layout(self, agent: str) -> AgentLayout:
        """What is the agent's own and what are messages, in its observation and action."""
        own = flat_layout(len(self._entries[agent]))
        if not self.message_size:
            return own
        n_own = len(self._columns[agent])
        received = Part("messages", "message", count=len(self.slices) - 1, size=self.message_size)
        n_sent = self.message_size if self._whole.is_continuous else 1
        moves = [ActionPart(f"{column}", "move", column) for column in range(n_own)]
        sends = [ActionPart(f"message-{i}", "message", n_own + i) for i in range(n_sent)]
        return AgentLayout(ObservationLayout((*own.observation.parts, received)), (*moves, *sends))

    def undivided_view(self, team: TeamSpaces) -> TeamView:
        """The view of the declared team in which one agent observes and controls the whole environment.

        Args:
            team: The declared team, in any order of its agents.

        Raises:
            SpaceError: These are other agents.
        """
        check_names(self.slices, team.agents, "a declared team")
        received = np.full((len(self.slices) - 1) * self.message_size, -1)
        shown = [part for agent in team.agents for part in (self._entries[agent], received)]
        sources = np.concatenate([*shown, self._unseen])
        places = np.concatenate([self._columns[agent] for agent in team.agents])
        spaces_of_whole = {JOINT_AGENT: self._observation_space}, {JOINT_AGENT: self._action_space}
        # Of each entry of the whole observation the first place in the joint one, which has some twice.
        found, entries = np.unique(sources, return_index=True)
        return TeamView(
            team,
            TeamSpaces([JOINT_AGENT], *spaces_of_whole),
            entries=entries[found >= 0],
            columns=np.flatnonzero(~message_columns(team)),
            places=places,
            sources=sources,
        )

    def split_observation(self, whole: Any) -> dict[str, Array]:
        """An observation of the environment as one for each agent, without messages.

        Raises:
            ValueError: It is of another shape than the space, a Box.
            SpaceError: It is no element of the space, a Dict or Tuple.
        """
        flat = self._flat(whole)
        return {agent: flat[own] for agent, own in self._entries.items()}

    def unseen(self, whole: Any) -> Array:
        """The entries of an observation of the environment that no agent observes.

        Raises:
            ValueError, SpaceError: As of `split_observation`.
        """
        entries: Array = self._flat(whole)[self._unseen]
        return entries

    def _flat(self, whole: Any) -> Array:
        space = self._observation_space
        if not isinstance(space, spaces.Box):
            return flatten(space, whole)
        if np.shape(whole) != space.shape:
            raise ValueError(f"observation of shape {np.shape(whole)}, expected {space.shape}")
        return np.asarray(whole).ravel()

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
            whole[self._columns[agent]] = np.atleast_1d(action)[: len(self._columns[agent])]
        return whole

    def received(self, actions: Mapping[str, Any]) -> dict[str, Array]:
        """What each agent receives after these actions: the messages of the others, in the team's order.

        That of an agent that is left out is zeros.
        """
        silence = np.zeros(self.message_size)
        sent = {
            agent: self._sent(agent, actions[agent]) if agent in actions else silence for agent in self.slices
        }
        return {
            agent: np.concatenate([message for other, message in sent.items() if other != agent])
            for agent in self.slices
        }

    def _sent(self, agent: str, action: Any) -> Array:
        message: Array = np.atleast_1d(action)[len(self._columns[agent]) :]
        if not self._whole.is_continuous:
            message = np.eye(self.message_size)[int(message[0])]
        return message

    def split_mask(self, whole: Flags) -> dict[str, Flags]:
        """A mask of the environment, the categories of all columns in turn, as one mask for each agent."""
        flags = self._whole.flat_mask(whole)
        parts = np.split(flags, np.cumsum(self._whole.categories)[:-1])
        symbols = np.ones(self.message_size, dtype=bool)
        return {
            agent: np.concatenate([*(parts[i] for i in own), symbols]) for agent, own in self._columns.items()
        }


class PartitionedEnv(OfGymnasium):
    """A joint Gymnasium environment as a PettingZoo `ParallelEnv`: each agent gets its reward and its flags.

    A method `action_masks()` of the environment, as sb3-contrib reads it, or `action_mask` in its infos
    becomes the agents' masks.

    Args:
        env: The environment.
        slices: By agent, the entries that it observes and the columns that it controls.
        message_size: As `Partition` has it. A message is received one step after it is sent.

    Raises:
        SpaceError: The observation space or the action space cannot be divided.
        ConfigError: A slice leads out of its space, or the slices are no partition of the action.
    """

    def __init__(
        self, env: gymnasium.Env[Any, Any], slices: Mapping[str, AgentSlice], message_size: int = 0
    ) -> None:
        super().__init__(env, list(slices))
        self.partition = Partition(slices, env.observation_space, env.action_space, message_size)
        self.unseen_space = self.partition.unseen_space
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

    def layout(self, agent: str) -> AgentLayout:
        """The parts of the agent's observation and action (`Partition.layout`)."""
        return self.partition.layout(agent)

    def unseen(self) -> Array:
        """The entries of the newest observation that no agent observes."""
        return self.partition.unseen(self._whole)

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Starts an episode of the environment."""
        answer = self.env.reset(seed=seed, options=options)
        observation, info = several("reset", answer, ("observation", "info"))
        self.agents = list(self.possible_agents)
        return self._split(observation, {}), self._infos(info)

    def step(self, actions: Mapping[str, Any]) -> tuple[dict[str, Any], ...]:
        """One step of the environment."""
        answer = self.env.step(self.partition.merge_actions(actions))
        names = ("observation", "reward", "terminated", "truncated", "info")
        observation, reward, terminated, truncated, info = several("step", answer, names)
        agents = self.agents
        if terminated or truncated:
            self.agents = []
        return (
            self._split(observation, actions),
            dict.fromkeys(agents, reward),
            dict.fromkeys(agents, terminated),
            dict.fromkeys(agents, truncated),
            self._infos(info),
        )

    def _split(self, whole: Any, actions: Mapping[str, Any]) -> dict[str, Any]:
        """What each agent observes of an observation, after these actions of all."""
        self._whole = whole
        own = self.partition.split_observation(whole)
        if not self.partition.message_size:
            return own
        heard = self.partition.received(actions)
        return {
            agent: np.concatenate([each, heard[agent]]).astype(self.observation_space(agent).dtype)
            for agent, each in own.items()
        }

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
    return _choices(space.nvec[own], first[own])


def _with_message(space: Space, size: int) -> Space:
    """An agent's action with a message behind it."""
    if isinstance(space, spaces.Box):
        kind: Any = space.dtype
        sent = np.ones(size, dtype=kind)
        return spaces.Box(np.append(space.low, -sent), np.append(space.high, sent), dtype=kind)
    columns = ActionColumns.of(space)
    return _choices(np.append(columns.categories, size), np.append(columns.start, 0))


def _choices(sizes: Index, first: Index) -> spaces.MultiDiscrete:
    return spaces.MultiDiscrete(sizes, start=first) if first.any() else spaces.MultiDiscrete(sizes)
