"""One world as a PettingZoo environment: agents that live as long as its episode."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from gymnasium import spaces
from pettingzoo.utils.env import ParallelEnv

from cesma_sb3.errors import SpaceError, UnknownNameError, integer
from cesma_sb3.spaces.team_spaces import TeamSpaces
from cesma_sb3.spaces.types import Doubles, Floats, Packed, Pixels

Step = tuple[dict[str, Floats], dict[str, float], dict[str, bool], dict[str, bool], dict[str, dict[str, Any]]]
"""Observations, rewards, terminations, truncations and infos, by agent."""


class WorldEnv(ParallelEnv[str, Floats, Any]):
    """A PettingZoo `ParallelEnv` of a world that knows joint arrays; base class.

    Shape suffixes: N agents, I entries of the joint observation, C action columns.

    Args:
        name: Of the environment.
        team: Its agents and their spaces.
        episode_limit: Steps after which an episode is truncated.
        render_mode: One of `render_modes`, or None.
        render_modes: In "human", every step is rendered.

    Raises:
        UnknownNameError: No such render mode.
    """

    def __init__(
        self,
        name: str,
        team: TeamSpaces,
        episode_limit: int,
        render_mode: str | None,
        render_modes: Sequence[str] = ("rgb_array",),
    ) -> None:
        if render_mode not in (None, *render_modes):
            raise UnknownNameError.of("render mode", str(render_mode), render_modes)
        self.metadata: dict[str, Any] = {
            "name": name,
            "render_modes": list(render_modes),
            "is_parallelizable": True,
        }
        self.team, self.episode_limit, self.render_mode = team, episode_limit, render_mode
        self.possible_agents = list(team.agents)
        self.agents: list[str] = []
        self.observation_spaces = dict(team.observation_spaces)
        self.action_spaces = dict(team.action_spaces)
        self._steps = 0

    def observation_space(self, agent: str) -> spaces.Space[Any]:
        """The space of one agent's observations."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> spaces.Space[Any]:
        """The space of one agent's actions."""
        return self.action_spaces[agent]

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Floats], dict[str, dict[str, Any]]]:
        """Starts an episode; the same seed gives the same episodes from here on."""
        if seed is not None:
            self._seed(integer("seed", seed))
        self.agents, self._steps = list(self.possible_agents), 0
        observations = self.team.split_observations(self._begin())
        if self.render_mode == "human":
            self.render()
        return observations, {agent: {} for agent in self.agents}

    def step(self, actions: Mapping[str, Any]) -> Step:
        """Moves the world by one step.

        Raises:
            SpaceError: An agent's action is missing or does not exist.
        """
        agents = self.agents
        if not agents:
            return {}, {}, {}, {}, {}
        for agent in agents:
            if agent not in actions:
                raise SpaceError(
                    f"no action for {agent} in step {self._steps}, expected one for each of {agents}"
                )
        observations, rewards, over = self._move(self.team.join_actions(actions)[None])
        self._steps += 1
        cut_off = not over and self._steps >= self.episode_limit
        if over or cut_off:
            self.agents = []
        if self.render_mode == "human":
            self.render()
        return (
            self.team.split_observations(observations),
            dict(zip(agents, rewards.tolist(), strict=True)),
            dict.fromkeys(agents, over),
            dict.fromkeys(agents, cut_off),
            {agent: {} for agent in agents},
        )

    @abstractmethod
    def _seed(self, seed: int) -> None:
        """Seeds what the world draws from."""

    @abstractmethod
    def _begin(self) -> Floats:
        """Starts an episode: the joint observation [I]."""

    @abstractmethod
    def _move(self, packed: Packed) -> tuple[Floats, Floats | Doubles, bool]:
        """Moves the world by packed actions [1, C].

        Returns:
            The joint observation [I], the agents' rewards [N], and whether the episode terminated.
        """

    @abstractmethod
    def render(self) -> Pixels | None:
        """The picture [height, width, 3] uint8 in mode "rgb_array"; None otherwise."""
