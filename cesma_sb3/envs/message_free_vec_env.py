"""The silent view of a joint environment: nobody talks and nobody hears.

What that is, team by team, is in `silent_team.py`; its names are here as well.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from cesma_sb3.envs.joint_vec_env import Floats, JointVecEnv
from cesma_sb3.envs.subproc import Info
from cesma_sb3.envs.vec_wrappers import JointVecEnvWrapper
from cesma_sb3.spaces.action_views import ActionView, make_view
from cesma_sb3.spaces.message_free import SilentTeam, has_messages, silent_team
from cesma_sb3.spaces.team_spaces import Masks

__all__ = ["SilentTeam", "SilentVecEnv", "has_messages", "silent_team"]


class SilentVecEnv(JointVecEnvWrapper):
    """A joint environment in the silent view of its team: what it hands out and takes has no messages.

    Nothing is said: every message is category 0, or the number nearest to 0.

    Args:
        venv: The environment, in any action view. Its state is shared, and closing this one closes it.
        view: How joint actions of the silent team look to SB3: a name of `make_view`, or a view of that team.

    Raises:
        UnknownNameError: No such view.
        ActionViewError: The view cannot hold the silent team's actions.
    """

    def __init__(self, venv: JointVecEnv, view: str | ActionView = "joint") -> None:
        self.silent = SilentTeam(venv.team)
        team = self.silent.team
        super().__init__(venv, team=team, view=make_view(view, team) if isinstance(view, str) else view)

    @property
    def agent_masks(self) -> Masks | None:
        """See `JointVecEnv.agent_masks`, of the silent team."""
        masks = self.venv.agent_masks
        return None if masks is None else self.silent.masks(masks)

    def reset(self) -> Floats:
        """Starts an episode everywhere: observations [n_envs, I'] float32."""
        observations = super().reset()
        self.reset_infos = [self._info(info) for info in self.venv.reset_infos]
        return self.silent.observations(observations)

    def step_async(self, actions: npt.NDArray[Any]) -> None:
        """Takes actions [n_envs, ...] of the view."""
        decoded = self.view.decode(np.asarray(actions), self.agent_masks)
        full = self.silent.actions(decoded, self.venv.agent_masks)
        self.venv.step_async(self.venv.view.encode(full))

    def step_wait(self) -> tuple[Floats, Floats, npt.NDArray[np.bool_], list[Info]]:
        """See `JointVecEnv`; observations [n_envs, I'], in the infos too."""
        observations, rewards, dones, infos = super().step_wait()
        self.reset_infos = [self._info(info) for info in self.venv.reset_infos]
        return self.silent.observations(observations), rewards, dones, [self._info(info) for info in infos]

    def _info(self, info: Info) -> Info:
        """The same without messages."""
        changed = {}
        if "terminal_observation" in info:
            changed["terminal_observation"] = self.silent.observations(info["terminal_observation"])
        if "action_mask" in info:
            changed["action_mask"] = self.silent.masks(info["action_mask"][None])[0]
        return {**info, **changed} if changed else info
