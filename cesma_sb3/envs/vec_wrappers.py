"""Wrappers of a joint environment: the base of all, and the environment in a view of its team."""

from __future__ import annotations

from typing import Any

import numpy as np
from stable_baselines3.common.vec_env import VecEnvWrapper
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices

from cesma_sb3.envs.joint_vec_env import JointVecEnv, StepReturn
from cesma_sb3.spaces.action_views import ActionView, make_view
from cesma_sb3.spaces.team_spaces import TeamSpaces
from cesma_sb3.spaces.team_views import TeamView
from cesma_sb3.spaces.types import Array, Flags, Info, Masks, Observations
from cesma_sb3.utils.stateful import Stateful


class JointVecEnvWrapper(JointVecEnv, VecEnvWrapper):
    """An SB3 `VecEnvWrapper` that is a `JointVecEnv` too; a subclass replaces what it changes.

    Args:
        venv: The environment. It is shared, and closing the wrapper closes it.
        team: The team that the wrapper shows; None: the environment's.
        view: The action view that the wrapper takes actions in; None: the environment's.
    """

    venv: JointVecEnv

    def __init__(
        self, venv: JointVecEnv, *, team: TeamSpaces | None = None, view: ActionView | None = None
    ) -> None:
        self.team = venv.team if team is None else team
        self.view = venv.view if view is None else view
        self.replaces_unavailable = venv.replaces_unavailable
        super().__init__(venv, self.team.observation_space, self.view.space)
        self.reset_infos = venv.reset_infos

    @property
    def alive(self) -> Flags:
        """Which agents are alive in the observations last returned, [n_envs, n_agents]."""
        return self.venv.alive

    @property
    def agent_masks(self) -> Masks | None:
        """Joint masks of the observations last returned, [n_envs, mask_size]; None if there are none."""
        return self.venv.agent_masks

    def reset(self) -> Observations:
        """Starts an episode in every environment: observations [n_envs, I] float32."""
        observations: Any = self.venv.reset()
        self.reset_infos = self.venv.reset_infos
        return np.asarray(observations, dtype=np.float32)

    def step_wait(self) -> StepReturn:
        """The results of the actions that `step_async` took, as those of the environment."""
        step: Any = self.venv.step_wait()
        self.reset_infos = self.venv.reset_infos
        observations, rewards, dones, infos = step
        return observations, rewards, dones, infos

    def render_terminal(self, on: bool = True) -> None:
        """Has the first environment's last infos of episodes hold `terminal_frame`, or no longer."""
        super().render_terminal(on)
        self.venv.render_terminal(on)

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Sets an attribute of each environment."""
        self.venv.set_attr(attr_name, value, indices)

    def _get_each(self, name: str, indices: VecEnvIndices) -> list[Any]:
        return self.venv.get_attr(name, indices)

    def _call_each(self, name: str, indices: VecEnvIndices, *args: Any, **kwargs: Any) -> list[Any]:
        return self.venv.env_method(name, *args, indices=indices, **kwargs)

    def getattr_depth_check(self, name: str, already_found: bool) -> str | None:
        """None for an attribute of the wrapper: outer wrappers find it, not the one that it replaces."""
        if not already_found and name in self._get_all_attributes():
            return None
        return super().getattr_depth_check(name, already_found)


class TeamViewVecEnv(JointVecEnvWrapper, Stateful):
    """A joint environment in a view of its team: its observations, actions and masks are the view's.

    What the view does not choose is the first available category, or the number nearest to 0.

    Args:
        venv: The environment, in any action view. It is shared, and closing the wrapper closes it.
        team_view: The view of its team.
        view: The action view in which SB3 acts: a name of `make_view`, or a view of the team view's team.

    Raises:
        UnknownNameError: There is no such action view.
        ActionViewError: The action view cannot hold that team's actions.
    """

    state_attributes = ("venv",)

    def __init__(self, venv: JointVecEnv, team_view: TeamView, view: str | ActionView = "joint") -> None:
        self.team_view = team_view
        super().__init__(venv, team=team_view.team, view=make_view(view, team_view.team))

    @property
    def alive(self) -> Flags:
        """Which of the view's agents are alive, [n_envs, agents]: one agent for all is, if anybody is."""
        alive = self.venv.alive
        anybody: Flags = np.asarray(alive.any(axis=1, keepdims=True))
        return alive if self.team.n_agents == alive.shape[1] else anybody

    @property
    def agent_masks(self) -> Masks | None:
        """Joint masks of the view, [n_envs, mask_size]; None if there are none."""
        masks = self.venv.agent_masks
        return None if masks is None else self.team_view.masks(masks)

    def reset(self) -> Observations:
        """Starts an episode in every environment: observations [n_envs, I'] float32."""
        observations = super().reset()
        self.reset_infos = [self._info(info) for info in self.venv.reset_infos]
        return self.team_view.observations(observations)

    def step_async(self, actions: Array) -> None:
        """Takes actions [n_envs, ...] of the view."""
        decoded = self.view.decode(np.asarray(actions), self.agent_masks)
        full = self.team_view.actions(decoded, self.venv.agent_masks)
        self.venv.step_async(self.venv.view.encode(full))

    def step_wait(self) -> StepReturn:
        """The results of the actions; observations [n_envs, I'], in the infos too, are the view's."""
        observations, rewards, dones, infos = super().step_wait()
        self.reset_infos = [self._info(info) for info in self.venv.reset_infos]
        return self.team_view.observations(observations), rewards, dones, [self._info(each) for each in infos]

    def _info(self, info: Info) -> Info:
        changed = {}
        if "terminal_observation" in info:
            changed["terminal_observation"] = self.team_view.observations(info["terminal_observation"])
        if "action_mask" in info:
            changed["action_mask"] = self.team_view.masks(info["action_mask"][None])[0]
        return {**info, **changed} if changed else info
