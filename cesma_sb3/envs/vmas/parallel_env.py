"""One world of a VMAS scenario as a PettingZoo environment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cesma_sb3.envs.vmas.registry import PREFIX
from cesma_sb3.envs.vmas.vec_env import VmasVecEnv
from cesma_sb3.envs.world_env import WorldEnv
from cesma_sb3.spaces.types import Floats, Packed, Pixels


class VmasParallelEnv(WorldEnv):
    """One world of a scenario, as a PettingZoo `ParallelEnv`; its agents have VMAS's names.

    Args:
        scenario: `balance`, `transport`, `navigation`, `sampling`, or another one of VMAS.
        render_mode: "rgb_array" makes `render` return a frame; there is no window.
        kwargs: As of `VmasVecEnv`.

    Raises:
        MissingExtraError: VMAS is not installed.
        ConfigError: An unknown scenario or argument.
        SpaceError: An observation is no array of numbers.
        UnknownNameError: No such render mode.
    """

    def __init__(
        self, scenario: str, render_mode: str | None = None, kwargs: Mapping[str, Any] | None = None
    ) -> None:
        # The agents' rewards are read one by one.
        self._venv = VmasVecEnv(scenario, kwargs=kwargs, team_reward="sum")
        self._worlds = self._venv.worlds
        super().__init__(self._worlds.name, self._venv.team, self._venv.episode_limit, render_mode)

    def _seed(self, seed: int) -> None:
        self._worlds.seed(seed)

    def _begin(self) -> Floats:
        observation: Floats = self._worlds.reset()[0]
        return observation

    def _move(self, packed: Packed) -> tuple[Floats, Floats, bool]:
        observations, rewards, terminated = self._worlds.step(packed)
        return observations[0], rewards[:, 0], bool(terminated[0])

    def render(self) -> Pixels | None:
        """The frame [height, width, 3] uint8 in mode "rgb_array"; None otherwise."""
        return self._venv.get_images()[0] if self.render_mode == "rgb_array" else None


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
