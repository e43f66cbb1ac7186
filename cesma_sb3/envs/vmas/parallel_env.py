"""One world of a VMAS scenario as a PettingZoo environment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gymnasium import spaces
from pettingzoo.utils.env import ParallelEnv

from cesma_sb3.envs.vmas.registry import PREFIX
from cesma_sb3.envs.vmas.vec_env import VmasVecEnv
from cesma_sb3.errors import SpaceError
from cesma_sb3.spaces.types import Floats, Pixels


class VmasParallelEnv(ParallelEnv[str, Floats, Any]):
    """One world of a scenario, as a PettingZoo `ParallelEnv`; its agents have VMAS's names.

    Args:
        scenario: `balance`, `transport`, `navigation`, `sampling`, or another one of VMAS.
        render_mode: "rgb_array" makes `render` return a frame; there is no window.
        kwargs: As of `VmasVecEnv`.

    Raises:
        MissingExtraError: VMAS is not installed.
        ConfigError: An unknown scenario or argument.
        SpaceError: An observation is no array of numbers.
    """

    def __init__(
        self, scenario: str, render_mode: str | None = None, kwargs: Mapping[str, Any] | None = None
    ) -> None:
        # The agents' rewards are read one by one.
        self._venv = VmasVecEnv(scenario, kwargs=kwargs, team_reward="sum")
        self.team = self._venv.team
        self.metadata: dict[str, Any] = {
            "name": self._venv.worlds.name,
            "render_modes": ["rgb_array"],
            "is_parallelizable": True,
        }
        self.render_mode = render_mode
        self.possible_agents = list(self.team.agents)
        self.agents: list[str] = []
        self.observation_spaces = dict(self.team.observation_spaces)
        self.action_spaces = dict(self.team.action_spaces)
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
        worlds = self._venv.worlds
        if seed is not None:
            worlds.seed(seed)
        self.agents, self._steps = list(self.possible_agents), 0
        return self.team.split_observations(worlds.reset()[0]), {agent: {} for agent in self.agents}

    def step(
        self, actions: Mapping[str, Any]
    ) -> tuple[
        dict[str, Floats], dict[str, float], dict[str, bool], dict[str, bool], dict[str, dict[str, Any]]
    ]:
        """Moves the world by one step.

        Raises:
            SpaceError: An agent's action is missing or does not exist.
        """
        agents = self.agents
        if not agents:
            return {}, {}, {}, {}, {}
        if lacking := [agent for agent in agents if agent not in actions]:
            raise SpaceError(f"no action for {lacking[0]}, expected one for each of {agents}")
        packed = self.team.join_actions(actions)[None]
        observations, rewards, terminated = self._venv.worlds.step(packed)
        self._steps += 1
        over = bool(terminated[0])
        cut_off = not over and self._steps >= self._venv.episode_limit
        if over or cut_off:
            self.agents = []
        return (
            self.team.split_observations(observations[0]),
            dict(zip(agents, rewards[:, 0].tolist(), strict=True)),
            dict.fromkeys(agents, over),
            dict.fromkeys(agents, cut_off),
            {agent: {} for agent in agents},
        )

    def render(self) -> Pixels | None:
        """The frame [height, width, 3] uint8 in mode "rgb_array"; None otherwise."""
        return self._venv.get_images()[0] if self.render_mode == "rgb_array" else None

    def close(self) -> None:
        """Does nothing: a world holds no resources."""


def parallel_env(scenario: str, render_mode: str | None = None, **kwargs: Any) -> VmasParallelEnv:
    """A scenario of VMAS by its name with the prefix (`vmas-balance`), as a PettingZoo environment.

    Args:
        scenario: Its name.
        render_mode: "rgb_array" or None.
        **kwargs: Arguments of the scenario, as of `VmasVecEnv`.

    Raises:
        ConfigError: An unknown scenario or argument.
    """
    return VmasParallelEnv(scenario.removeprefix(PREFIX), render_mode, kwargs)
