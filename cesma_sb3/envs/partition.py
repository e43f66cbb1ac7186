"""A Gymnasium environment that is joint already, as the team that somebody declares it to be.

Its observation is one vector and its action several choices or numbers; who sees and who moves which of them
is said by agent. Entries of the observation may be seen by several agents; each must be seen by somebody.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import gymnasium
import numpy as np
import numpy.typing as npt
from gymnasium import spaces
from pettingzoo.utils.env import ParallelEnv

from cesma_sb3.envs.return_checks import several
from cesma_sb3.errors import ConfigError, SpaceError
from cesma_sb3.spaces.agent_spaces import MASK
from cesma_sb3.spaces.agents import check_names
from cesma_sb3.spaces.team_spaces import TeamSpaces

Index = npt.NDArray[np.int64]

WHOLE_TEAM = "team"
"""The one agent of the team that stands for the undivided environment."""


class AgentSlice(NamedTuple):
    """What of a joint environment is one agent's: entries of the flat observation, and of the action.

    Each is written as in Python, ends excluded: `0:6`, `3`, or several: `0:3, 12, 15:18`.
    """

    observation: str
    action: str


class Partition:
    """How a joint observation and action are divided among agents.

    Args:
        shares: By agent, in the order that the team keeps.
        observation_space: Of the environment: Box, read row by row.
        action_space: Of the environment: MultiDiscrete, MultiBinary or Box, of one axis.

    Attributes:
        shares: As given.
        team: Of one agent, which sees and does everything: what a controller of the undivided environment
            controls. The way between its arrays and those of the declared team is that of a `Translation`.
        observation_spaces: By agent, Box.
        action_spaces: By agent.

    Raises:
        SpaceError: A space of another kind.
        ConfigError: A share is no such text or leads out of the space, an action has two agents or none, or
            an entry of the observation is seen by nobody.
    """

    def __init__(self, shares: Mapping[str, AgentSlice], observation_space: Any, action_space: Any) -> None:
        if not isinstance(observation_space, spaces.Box):
            raise SpaceError(f"a declared team: the observation space is {observation_space}, expected Box")
        kinds = (spaces.MultiDiscrete, spaces.MultiBinary, spaces.Box)
        if not (isinstance(action_space, kinds) and len(action_space.shape) == 1):
            raise SpaceError(
                f"a declared team: the action space is {action_space}, expected MultiDiscrete, MultiBinary "
                "or Box, of one axis"
            )
        n_entries, n_columns = int(np.prod(observation_space.shape)), int(np.prod(action_space.shape))
        seen = {a: _indices(share.observation, n_entries, f"{a}.observation") for a, share in shares.items()}
        done = {a: _indices(share.action, n_columns, f"{a}.action") for a, share in shares.items()}
        self._seen, self._done = seen, done
        self._check(n_entries, n_columns)
        low, high = observation_space.low.ravel(), observation_space.high.ravel()
        kind: Any = observation_space.dtype
        self.observation_spaces = {
            agent: spaces.Box(low[own], high[own], dtype=kind) for agent, own in seen.items()
        }
        self.action_spaces = {agent: _part(action_space, own) for agent, own in done.items()}
        self.shares = dict(shares)
        self._observation_space, self._action_space = observation_space, action_space
        self.team = TeamSpaces([WHOLE_TEAM], {WHOLE_TEAM: observation_space}, {WHOLE_TEAM: action_space})
        # Of each entry of the whole observation, one place in the team's joint one, which has some twice.
        order = np.concatenate(list(seen.values()))
        self._from_joint = np.array([np.flatnonzero(order == entry)[0] for entry in range(n_entries)])
        self._to_packed = np.concatenate(list(done.values()))
        flags = [np.arange(where.start, where.stop) for where in self.team.column_masks]
        self._to_flags = np.concatenate([flags[column] for column in self._to_packed])

    def _check(self, n_entries: int, n_columns: int) -> None:
        moved = np.bincount(
            np.concatenate([*self._done.values(), np.zeros(0, np.int64)]), minlength=n_columns
        )
        if (moved != 1).any():
            column = int((moved != 1).argmax())
            raise ConfigError(
                f"a declared team: action {column} belongs to {moved[column]} agents, expected one"
            )
        looked = np.bincount(np.concatenate(list(self._seen.values())), minlength=n_entries)
        if (looked == 0).any():
            entries = np.flatnonzero(looked == 0).tolist()
            raise ConfigError(f"a declared team: entries {entries} of the observation are seen by nobody")

    def in_order(self, agents: Sequence[str]) -> Partition:
        """The same division, for joint arrays of the declared team that keep another order of its agents.

        Raises:
            SpaceError: These are other agents.
        """
        check_names(self.shares, agents, "a declared team")
        shares = {agent: self.shares[agent] for agent in agents}
        return Partition(shares, self._observation_space, self._action_space)

    def split_observation(self, whole: Any) -> dict[str, npt.NDArray[Any]]:
        """An observation of the environment as one for each agent.

        Raises:
            ValueError: It is of another shape than the space.
        """
        if np.shape(whole) != self._observation_space.shape:
            expected = self._observation_space.shape
            raise ValueError(f"observation of shape {np.shape(whole)}, expected {expected}")
        flat = np.asarray(whole).ravel()
        return {agent: flat[own] for agent, own in self._seen.items()}

    def merge_actions(self, actions: Mapping[str, Any]) -> npt.NDArray[Any]:
        """The agents' actions as one of the environment; those of agents that are left out are 0."""
        space = self._action_space
        whole = np.zeros(space.shape, dtype=space.dtype)
        for agent, action in actions.items():
            whole[self._done[agent]] = action
        return whole

    def split_mask(self, whole: npt.NDArray[np.bool_]) -> dict[str, npt.NDArray[np.bool_]]:
        """Available categories of the environment, one after the other, as those of each agent."""
        sizes = np.full(self._action_space.shape, 2)
        if isinstance(self._action_space, spaces.MultiDiscrete):
            sizes = self._action_space.nvec
        parts = np.split(np.asarray(whole, dtype=bool), np.cumsum(sizes)[:-1])
        return {agent: np.concatenate([parts[i] for i in own]) for agent, own in self._done.items()}

    def observations(self, joint: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Joint observations of the declared team [B, I] as flat ones of the environment [B, entries]."""
        return joint[:, self._from_joint]

    def masks(self, joint: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """Joint masks of the declared team [B, M] in the environment's order [B, M]."""
        whole = np.empty_like(joint)
        whole[:, self._to_flags] = joint
        return whole

    def actions(
        self, packed: npt.NDArray[Any], masks: npt.NDArray[np.bool_] | None = None
    ) -> npt.NDArray[Any]:
        """Packed actions of the environment [B, C] in the declared team's order [B, C], whatever masks."""
        del masks
        return packed[:, self._to_packed]

    def probabilities(self, flat: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Probabilities of the environment's categories [B, M] in the declared team's order [B, M]."""
        return flat[:, self._to_flags]


class PartitionedEnv(ParallelEnv):
    """A joint Gymnasium environment as a PettingZoo `ParallelEnv`: everybody gets its reward and its flags.

    A method `action_masks()` of the environment, as sb3-contrib reads it, or `action_mask` in its infos
    becomes the agents' masks.

    Args:
        env: The environment.
        shares: See `Partition`.

    Raises:
        SpaceError: See `Partition`.
        ConfigError: Likewise.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], shares: Mapping[str, AgentSlice]) -> None:
        self.env: Any = env
        self.partition = Partition(shares, env.observation_space, env.action_space)
        self.possible_agents = list(shares)
        self.agents: list[str] = []
        self.metadata = {"name": type(env.unwrapped).__name__, **(env.metadata or {})}
        self.render_mode = env.render_mode
        self.masks_in_infos: bool | None = None
        """True where masks come from `action_masks`; None where the infos have to be looked at."""
        try:
            self._masks = env.get_wrapper_attr("action_masks")  # its own, or an `ActionMasker`'s
            self.masks_in_infos = True
        except AttributeError:
            self._masks = None

    def observation_space(self, agent: str) -> spaces.Space[Any]:
        """The agent's entries of the observation."""
        return self.partition.observation_spaces[agent]

    def action_space(self, agent: str) -> spaces.Space[Any]:
        """The agent's entries of the action."""
        return self.partition.action_spaces[agent]

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Starts an episode."""
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

    def _infos(self, info: Mapping[str, Any] | None) -> dict[str, dict[str, Any]]:
        info = {} if info is None else info
        infos = {agent: dict(info) for agent in self.possible_agents}
        whole = info.get(MASK) if self._masks is None else self._masks()
        if whole is not None:
            for agent, mask in self.partition.split_mask(whole).items():
                infos[agent][MASK] = mask
        return infos

    def render(self) -> Any:
        """A picture, as the environment draws it."""
        return self.env.render()

    def close(self) -> None:
        """Closes the environment."""
        self.env.close()


def _part(space: spaces.MultiDiscrete | spaces.MultiBinary | spaces.Box, own: Index) -> spaces.Space[Any]:
    """The space of some entries of an action."""
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


def partition_indices(shares: Mapping[str, AgentSlice], team: TeamSpaces) -> dict[str, dict[str, Any]]:
    """What each agent of a declared team has of the undivided environment, as plain values.

    Args:
        shares: By agent.
        team: The declared team.

    Returns:
        By agent `observation` and `action`, each the `share` as it was written, its `places`, and the `size`
        of the whole; and `mask`, `places` and `size` alone, or None where the team has no masks.
    """
    places = {
        agent: {what: _indices(text, None, f"{agent}.{what}") for what, text in share._asdict().items()}
        for agent, share in shares.items()
    }
    sizes = {
        what: 1 + max(int(own[what].max()) for own in places.values()) for what in ("observation", "action")
    }
    found: dict[str, dict[str, Any]] = {
        agent: {
            what: {"share": text, "places": places[agent][what].tolist(), "size": sizes[what]}
            for what, text in share._asdict().items()
        }
        | {"mask": None}
        for agent, share in shares.items()
    }
    if team.has_masks:
        categories = np.zeros(sizes["action"], dtype=int)
        for agent, columns in zip(team.agents, team.action_columns, strict=True):
            categories[places[agent]["action"]] = team.column_categories[columns]
        flags = np.split(np.arange(categories.sum()), np.cumsum(categories)[:-1])
        for agent, own in places.items():
            mask = np.concatenate([flags[column] for column in own["action"]])
            found[agent]["mask"] = {"places": mask.tolist(), "size": team.mask_size}
    return found


def _indices(text: str, size: int | None, where: str) -> Index:
    """`0:3, 5` as [0, 1, 2, 5]; places below `size`, if it is known."""
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
