"""The base of environments that one call steps together, as NumPy or JAX can."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices

from cesma_sb3.envs.joint_env import TeamReward
from cesma_sb3.envs.joint_vec_env import JointVecEnv
from cesma_sb3.errors import ConfigError, SpaceError
from cesma_sb3.spaces.action_views import ActionView, make_view
from cesma_sb3.spaces.team_spaces import TeamSpaces
from cesma_sb3.spaces.types import Array, Doubles, Flags, Floats, Masks, Packed

Rewards = TypeVar("Rewards", Floats, Doubles)


def of_team(per_agent: Rewards, team_reward: TeamReward) -> Rewards:
    """The team's rewards or returns [B] from the agents' [N, B]; those that are shared are all alike."""
    team: Any = per_agent[0] if team_reward == "shared" else per_agent.sum(axis=0)
    rewards: Rewards = team / len(per_agent) if team_reward == "mean" else team
    return rewards


class BatchedVecEnv(JointVecEnv):
    """Environments that one call steps together; SB3's questions to each are answered by one shared object.

    Agents do not die and can always do everything, where a subclass does not say otherwise.

    Args:
        n_envs: B, how many environments.
        team: The team of all of them.
        view: The action view in which SB3 acts: a name of `make_view`, or a view of this team.
        shared: The object whose attributes and methods are those of every environment.
        render_mode: The render mode that SB3 reads.

    Raises:
        SpaceError: The view is another team's.
        UnknownNameError: There is no such view.
    """

    keeps_state = True

    def __init__(
        self, n_envs: int, team: TeamSpaces, view: str | ActionView, *, shared: Any, render_mode: str | None
    ) -> None:
        self.team, self.view = team, make_view(view, team)
        self._shared, self._render_mode = shared, render_mode
        super().__init__(n_envs, team.observation_space, self.view.space)
        self._actions: Array | None = None
        self._alive = np.ones((n_envs, team.n_agents), dtype=bool)
        self._alive.flags.writeable = False

    @property
    def alive(self) -> Flags:
        """Which agents are alive, [B, N]: all of them, always."""
        return self._alive

    @property
    def agent_masks(self) -> Masks | None:
        """Available categories [B, M]; None: every action is always available."""
        return None

    def seed(self, seed: int | None = None) -> Sequence[int | None]:
        """A seed for the next `reset`; of the list that SB3 expects back, the first is what counts."""
        if seed is None:
            seed = int(np.random.default_rng().integers(2**32))
        return super().seed(seed)

    def step_async(self, actions: Array) -> None:
        """Takes the actions [B, ...] in the view's space, for `step_wait` to carry out."""
        self._actions = np.asarray(actions)

    def _take_actions(self) -> Packed:
        """The packed actions [B, C] that `step_async` was given, which count once."""
        actions, self._actions = self._actions, None
        if actions is None:
            raise SpaceError("step_wait without actions, expected step_async before it")
        packed = self.view.decode(actions, self.agent_masks if len(actions) == self.num_envs else None)
        if len(packed) != self.num_envs:
            raise SpaceError(f"actions for {len(packed)} environments, expected {self.num_envs}")
        return packed

    def _get_each(self, name: str, indices: VecEnvIndices) -> list[Any]:
        value = self._render_mode if name == "render_mode" else getattr(self._shared, name)
        return [value for _ in self._get_indices(indices)]

    def _call_each(self, name: str, indices: VecEnvIndices, *args: Any, **kwargs: Any) -> list[Any]:
        method = getattr(self._shared, name)
        return [method(*args, **kwargs) for _ in self._get_indices(indices)]

    def set_attr(self, attr_name: str, value: Any, indices: VecEnvIndices = None) -> None:
        """Sets an attribute of the shared object.

        Raises:
            AttributeError: There is no such attribute.
            ConfigError: `indices` leaves environments out.
        """
        getattr(self._shared, attr_name)
        if len(set(self._get_indices(indices))) != self.num_envs:
            raise ConfigError(f"all environments share {attr_name}, expected indices=None, not {indices}")
        setattr(self._shared, attr_name, value)
