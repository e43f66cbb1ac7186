"""Cooperative pong in which each paddle sees its own half of the screen."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces
from pettingzoo.utils.wrappers import BaseParallelWrapper


class HalfScreen(BaseParallelWrapper):  # type: ignore[misc, unused-ignore]  # of an untyped package
    """PettingZoo's `cooperative_pong`, whose agents observe the left and the right half of their picture.

    In the game as it comes both agents observe the whole screen.

    Args:
        env: `pettingzoo.butterfly.cooperative_pong.cooperative_pong:parallel_env`, with `render_mode`
            `rgb_array`: without one it draws nothing, and all pictures are black.
    """

    def observation_space(self, agent: Any) -> spaces.Space[Any]:
        """Half of the agent's picture: [height, width / 2, 3] uint8."""
        whole = self.env.observation_space(agent)
        return spaces.Box(0, 255, self._half(agent, np.zeros(whole.shape, np.uint8)).shape, np.uint8)

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, Any]:
        """Start a game: the halves, and infos."""
        observations, infos = self.env.reset(seed=seed, options=options)
        return self._halves(observations), infos

    def step(self, actions: dict[Any, Any]) -> tuple[Any, ...]:
        """One step: the halves, and what else the game gives."""
        observations, *others = self.env.step(actions)
        return (self._halves(observations), *others)

    def _halves(self, observations: dict[Any, Any]) -> dict[Any, Any]:
        return {agent: self._half(agent, picture) for agent, picture in observations.items()}

    def _half(self, agent: Any, picture: Any) -> Any:
        middle = picture.shape[1] // 2
        return picture[:, middle:] if agent == self.possible_agents[-1] else picture[:, :middle]
