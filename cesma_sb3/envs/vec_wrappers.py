"""A joint environment around another one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices

from cesma_sb3.envs.joint_vec_env import Floats, JointVecEnv
from cesma_sb3.envs.subproc import Info
from cesma_sb3.spaces.action_views import ActionView
from cesma_sb3.spaces.team_spaces import Masks, TeamSpaces


class JointVecEnvWrapper(JointVecEnv):
    """Hands everything on; a subclass changes what it is for.

    Args:
        venv: The environment. Its state is shared, and closing this one closes it.
        team: As this one shows it; None: as it is.
        view: Likewise.
    """

    def __init__(
        self, venv: JointVecEnv, *, team: TeamSpaces | None = None, view: ActionView | None = None
    ) -> None:
        self.venv = venv
        self.team = venv.team if team is None else team
        self.view = venv.view if view is None else view
        self.replaces_unavailable = venv.replaces_unavailable
        super().__init__(venv.num_envs, self.team.observation_space, self.view.space)
        self.reset_infos = venv.reset_infos

    @property
    def alive(self) -> npt.NDArray[np.bool_]:
        """See `JointVecEnv.alive`."""
        return self.venv.alive

    @property
    def agent_masks(self) -> Masks | None:
        """See `JointVecEnv.agent_masks`."""
        return self.venv.agent_masks

    def reset(self) -> Floats:
        """Starts an episode everywhere: observations [n_envs, I] float32."""
        observations: Any = self.venv.reset()
        self.reset_infos = self.venv.reset_infos
        return np.asarray(observations, dtype=np.float32)

    def step_async(self, actions: npt.NDArray[Any]) -> None:
        """Takes actions [n_envs, ...] of the view."""
        self.venv.step_async(actions)

    def step_wait(self) -> tuple[Floats, Floats, npt.NDArray[np.bool_], list[Info]]:
        """See `JointVecEnv`."""
        step: Any = self.venv.step_wait()
        self.reset_infos = self.venv.reset_infos
        observations, rewards, dones, infos = step
        return observations, rewards, dones, infos

    def seed(self, seed: int | None = None) -> Sequence[int | None]:
        """Seeds the environment, for its next reset."""
        return self.venv.seed(seed)

    def set_options(self, options: list[dict[str, Any]] | dict[str, Any] | None = None) -> None:
        """Hands options on, for the next reset."""
        self.venv.set_options(options)

    def close(self) -> None:
        """Closes the environment."""
        self.venv.close()

    def render_terminal(self, on: bool = True) -> None:
        """See `JointVecEnv.render_terminal`."""
        super().render_terminal(on)
        self.venv.render_terminal(on)

    def get_images(self) -> Sequence[Any]:
        """The environment's pictures."""
        return self.venv.get_images()

    def render(self, mode: str | None = None) -> Any:
        """The environment's picture, or its window."""
        return self.venv.render(mode)

    def get_attr(self, attr_name: str, indices: VecEnvIndices = None) -> list[Any]:
        """An attribute of each environment; `action_masks` is this one's."""
        if attr_name == "action_masks":
            return [self.action_masks for _ in self._get_indices(indices)]
        return self.venv.get_attr(attr_name, indices)

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Sets an attribute of each environment."""
        self.venv.set_attr(attr_name, value, indices)

    def _call_each(
        self, indices: VecEnvIndices, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> list[Any]:
        return self.venv.env_method(name, *args, indices=indices, **kwargs)
