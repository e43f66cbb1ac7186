"""A particle scenario as a PettingZoo environment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np

from cesma_sb3.envs.particle.registry import make_scenario
from cesma_sb3.envs.particle.rendering import FRAMES_PER_SECOND, Renderer
from cesma_sb3.envs.particle.scenario import Scenario
from cesma_sb3.envs.world_env import WorldEnv
from cesma_sb3.spaces.layout import AgentLayout
from cesma_sb3.spaces.types import Doubles, Floats, Packed, Pixels


class ParticleParallelEnv(WorldEnv):
    """One environment of a scenario, as a PettingZoo `ParallelEnv`.

    An episode is truncated after the scenario's `max_cycles` steps, and never terminated.

    Args:
        scenario: The scenario.
        render_mode: "human" opens a window and draws each step, "rgb_array" makes `render` return the
            picture.

    Raises:
        UnknownNameError: No such render mode.
    """

    def __init__(self, scenario: Scenario, render_mode: str | None = None) -> None:
        modes = ("human", "rgb_array")
        super().__init__(scenario.name, scenario.team(), scenario.max_cycles, render_mode, modes)
        self.metadata["render_fps"] = FRAMES_PER_SECOND
        self.scenario = scenario
        self.world = scenario.new_world(1)
        self._rng = np.random.default_rng()
        self._renderer = Renderer(scenario)

    def layout(self, agent: str) -> AgentLayout:
        """The parts of one agent's observations and actions."""
        return self.scenario.layout(self.possible_agents.index(agent))

    def _seed(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)

    def _begin(self) -> Floats:
        self.scenario.reset(self.world, self._rng, np.arange(1))
        return self.state()

    def _move(self, packed: Packed) -> tuple[Floats, Doubles, bool]:
        self.world.step(*self.scenario.controls.apply(packed))
        return self.state(), self.scenario.rewards(self.world)[:, 0], False

    def state(self) -> Floats:
        """All agents' observations in one array [sum of sizes]."""
        joint: Floats = self.scenario.observe(self.world)[0]
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
        self.agents = list(self.possible_agents) if self._steps < self.episode_limit else []

    def render(self) -> Pixels | None:
        """The picture [height, width, 3] uint8 in mode "rgb_array"; None otherwise."""
        if self.render_mode is None:
            gymnasium.logger.warn(
                'render() was called without a render mode, expected "human" or "rgb_array"'
            )
            return None
        caption = f"step {self._steps} of {self.episode_limit}"
        if self.render_mode == "human":
            self._renderer.show(self.world, caption=caption)
            return None
        return self._renderer.frame(self.world, caption=caption)

    def close(self) -> None:
        """Closes the window, if there is one."""
        self._renderer.close()


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
