"""A particle scenario as a PettingZoo environment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from pettingzoo import ParallelEnv

from cesma_sb3.envs.particle.registry import make_scenario
from cesma_sb3.envs.particle.rendering import FRAMES_PER_SECOND, Renderer
from cesma_sb3.envs.particle.scenario import Scenario
from cesma_sb3.errors import SpaceError, UnknownNameError, integer
from cesma_sb3.spaces.layout import AgentLayout
from cesma_sb3.spaces.types import Floats, Pixels

RENDER_MODES = ("human", "rgb_array")
Observation = Floats


class ParticleParallelEnv(ParallelEnv[str, Observation, Any]):
    """One environment of a scenario, as a PettingZoo `ParallelEnv`.

    Args:
        scenario: The scenario.
        render_mode: "human" opens a window and draws each step, "rgb_array" makes `render` return the
            picture.

    Raises:
        UnknownNameError: No such render mode.
    """

    def __init__(self, scenario: Scenario, render_mode: str | None = None) -> None:
        if render_mode not in (None, *RENDER_MODES):
            raise UnknownNameError.of("render mode", str(render_mode), RENDER_MODES)
        self.metadata = {
            "name": scenario.name,
            "render_modes": list(RENDER_MODES),
            "render_fps": FRAMES_PER_SECOND,
            "is_parallelizable": True,
        }
        self.scenario, self.render_mode = scenario, render_mode
        self.max_cycles = scenario.max_cycles
        self.team = scenario.team()
        self.possible_agents = list(self.team.agents)
        self.agents: list[str] = []
        self.observation_spaces = dict(self.team.observation_spaces)
        self.action_spaces = dict(self.team.action_spaces)
        self.world = scenario.new_world(1)
        self._rng = np.random.default_rng()
        self._steps = 0
        self._rewards: dict[str, float] = {}
        self._renderer = Renderer(scenario)

    def observation_space(self, agent: str) -> spaces.Space[Any]:
        """The space of one agent's observations."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> spaces.Space[Any]:
        """The space of one agent's actions."""
        return self.action_spaces[agent]

    def layout(self, agent: str) -> AgentLayout:
        """The parts of one agent's observations and actions."""
        return self.scenario.layout(self.possible_agents.index(agent))

    def reset(
        self,
        seed: int | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[dict[str, Observation], dict[str, dict[str, Any]]]:
        """Starts an episode; the same seed gives the same episodes from here on."""
        if seed is not None:
            self._rng = np.random.default_rng(integer("seed", seed))
        self.scenario.reset(self.world, self._rng, np.arange(1))
        self.agents = list(self.possible_agents)
        self._steps, self._rewards = 0, {}
        if self.render_mode == "human":
            self.render()
        return self._observe(), {agent: {} for agent in self.agents}

    def step(
        self, actions: dict[str, Any]
    ) -> tuple[
        dict[str, Observation], dict[str, float], dict[str, bool], dict[str, bool], dict[str, dict[str, Any]]
    ]:
        """Moves the environment by one step; an episode is truncated after `max_cycles`, never terminated.

        Raises:
            SpaceError: An agent's action is missing or does not exist.
        """
        if not self.agents:
            return {}, {}, {}, {}, {}
        agents = self.agents
        for agent in agents:
            if agent not in actions:
                raise SpaceError(
                    f"no action for {agent} in step {self._steps}, expected one for each of {agents}"
                )
        self.world.step(*self.scenario.controls.apply(self.team.join_actions(actions)[None]))
        self._steps += 1
        self._rewards = dict(zip(agents, self.scenario.rewards(self.world)[:, 0].tolist(), strict=True))
        truncated = self._steps >= self.max_cycles
        if truncated:
            self.agents = []
        if self.render_mode == "human":
            self.render()
        return (
            self._observe(),
            dict(self._rewards),
            dict.fromkeys(agents, False),
            dict.fromkeys(agents, truncated),
            {agent: {} for agent in agents},
        )

    def state(self) -> Observation:
        """All agents' observations in one array [sum of sizes]."""
        joint: Observation = self.scenario.observe(self.world)[0]
        return joint

    def get_state(self) -> dict[str, Any]:
        """A copy of all that the future depends on: `World.get_state` (B = 1), `steps` [1] and `rng`."""
        return self.world.get_state() | {
            "steps": np.array([self._steps]),
            "rng": self._rng.bit_generator.state,
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Takes over what `get_state` returned, or a part of it, in an episode that is under way."""
        self.world.set_state(state)
        if "steps" in state:
            self._steps = int(state["steps"][0])
        if "rng" in state:
            self._rng.bit_generator.state = state["rng"]
        self.agents = list(self.possible_agents) if self._steps < self.max_cycles else []

    def render(self) -> Pixels | None:
        """The picture [height, width, 3] uint8 in mode "rgb_array"; None otherwise."""
        if self.render_mode is None:
            gymnasium.logger.warn(
                'render() was called without a render mode, expected "human" or "rgb_array"'
            )
            return None
        caption = f"step {self._steps} of {self.max_cycles}"
        if self.render_mode == "human":
            self._renderer.show(self.world, caption=caption)
            return None
        return self._renderer.frame(self.world, caption=caption)

    def close(self) -> None:
        """Closes the window, if there is one."""
        self._renderer.close()

    def _observe(self) -> dict[str, Observation]:
        return self.team.split_observations(self.scenario.observe(self.world)[0])


def parallel_env(
    scenario: str = "spread", render_mode: str | None = None, **kwargs: Any
) -> ParticleParallelEnv:
    """A scenario by its name, as a PettingZoo environment.

    Args:
        scenario: Its name.
        render_mode: "human", "rgb_array" or None.
        **kwargs: Arguments of the scenario (`n_agents`, `heterogeneous`, ...).

    Raises:
        UnknownNameError: No such scenario, argument or render mode.
    """
    return ParticleParallelEnv(make_scenario(scenario, **kwargs), render_mode)
