"""`FactoredDQN` on whole episodes, for networks with a memory and for environments that mask actions.

Shape suffixes: T timesteps, B episodes, C action columns, K categories (padded to the largest), V values.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch as th
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.noise import ActionNoise
from stable_baselines3.common.type_aliases import MaybeCallback

from cesma_sb3.algorithms.factored_dqn.buffers import EpisodeReplayBuffer, EpisodeSamples
from cesma_sb3.algorithms.factored_dqn.factored_dqn import FactoredDQN
from cesma_sb3.envs.joint_vec_env import attribute, available_actions
from cesma_sb3.policies.stateful_actor import State


class RecurrentFactoredDQN(FactoredDQN):
    """Double Q-learning on whole episodes: the paper's StarCraft expert, and IQL, VDN and QMIX with a memory.

    It explores among the available actions alone, and the next action is chosen among them. Updates begin
    when the first episode has ended and `learning_starts` has passed.

    Args:
        policy: "MlpPolicy" or a subclass of `FactoredQPolicy`; `policy_kwargs` `network: recurrent` gives it
            a memory.
        env: Environment or its id.
        exploration_episodes: Episodes in which the exploration rate falls, as in the paper; None: a fraction
            of the training, `exploration_fraction`.
        **kwargs: As in `FactoredDQN`, but that `buffer_size` is in timesteps of whole episodes and
            `batch_size` in episodes.

    Source: appendix E.1; Samvelyan et al. (2019), Hausknecht and Stone (2015).
    """

    replay_buffer: EpisodeReplayBuffer | None
    _learns_from_episodes: ClassVar[bool] = True
    uses_masks: ClassVar[bool] = True
    """Whether it keeps to the actions that are available while it trains."""

    def __init__(
        self,
        policy: Any,
        env: Any,
        *,
        batch_size: int = 32,
        exploration_episodes: int | None = None,
        replay_buffer_class: type[ReplayBuffer] | None = EpisodeReplayBuffer,
        **kwargs: Any,
    ) -> None:
        self.exploration_episodes = exploration_episodes
        self._memory: State | None = None
        self._starts: npt.NDArray[np.bool_] | None = None
        self._masks: npt.NDArray[np.bool_] | None = None
        super().__init__(
            policy, env, batch_size=batch_size, replay_buffer_class=replay_buffer_class, **kwargs
        )

    def _setup_learn(
        self,
        total_timesteps: int,
        callback: MaybeCallback = None,
        reset_num_timesteps: bool = True,
        *args: Any,
        **kwargs: Any,
    ) -> tuple[int, Any]:
        begins = reset_num_timesteps or self._last_obs is None
        result: tuple[int, Any] = super()._setup_learn(
            total_timesteps, callback, reset_num_timesteps, *args, **kwargs
        )
        if begins:  # SB3 has reset the environments; otherwise their episodes continue
            self._memory, self._starts = None, None
            if self.replay_buffer is not None:
                self.replay_buffer.store.forget_begun()
        self._masks = self._available()
        return result

    def _available(self) -> npt.NDArray[np.bool_] | None:
        """What may be done now, [n_envs, M]; None where nothing is ever masked."""
        return None if self.env is None else available_actions(self.env)

    def _sample_action(
        self, learning_starts: int, action_noise: ActionNoise | None = None, n_envs: int = 1
    ) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
        """SB3's hook: what is done next, and the same for the buffer. Before learning, anything available."""
        assert isinstance(self._last_obs, np.ndarray)
        values, vectorized, self._memory = self.policy.read(
            self._last_obs, self._masks, self._memory, self._starts
        )
        rate, kind = self.exploration_rate, self.exploration
        if self.num_timesteps < learning_starts:
            self.exploration_rate, self.exploration = 1.0, "epsilon-greedy"
        actions = self.policy.write(self._explored(values).argmax(dim=-1), vectorized)
        self.exploration_rate, self.exploration = rate, kind
        return actions, actions

    def _store_transition(  # noqa: PLR0917  # SB3's own order
        self,
        replay_buffer: ReplayBuffer,
        buffer_action: npt.NDArray[Any],
        new_obs: npt.NDArray[Any] | dict[str, npt.NDArray[Any]],
        reward: npt.NDArray[Any],
        dones: npt.NDArray[Any],
        infos: list[dict[str, Any]],
    ) -> None:
        """SB3's hook: the step goes to the buffer, with what was available before and after it."""
        assert isinstance(replay_buffer, EpisodeReplayBuffer)
        assert isinstance(new_obs, np.ndarray)
        assert isinstance(self._last_obs, np.ndarray)
        after, available = new_obs.copy(), self._available()
        masks = None
        if available is not None:
            assert self._masks is not None
            last = available.copy()
            masks = (self._masks, last)
        for env in np.flatnonzero(dones):
            after[env] = infos[env]["terminal_observation"]
            if masks is not None:
                masks[1][env] = self._view_masks(infos[env]["action_mask"])
        replay_buffer.add(self._last_obs, after, buffer_action, reward, dones, infos, masks)
        self._last_obs = new_obs
        self._masks, self._starts = available, np.asarray(dones, dtype=bool)

    def _view_masks(self, mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """A joint mask [mask_size] as the environment's action view has it, [M]."""
        assert self.env is not None
        flags: npt.NDArray[np.bool_] = attribute(self.env, "view").masks(mask[None])[0]
        return flags

    def _on_step(self) -> None:
        super()._on_step()
        if self.exploration_episodes is not None:
            self.exploration_rate = self._annealed(self._episode_num / self.exploration_episodes)
            self.logger.record("rollout/exploration_rate", self.exploration_rate)

    def train(self, gradient_steps: int, batch_size: int = 32) -> None:
        """SB3's hook: `gradient_steps` updates of the values, each on `batch_size` whole episodes."""
        assert self.replay_buffer is not None
        if len(self.replay_buffer.store):
            super().train(gradient_steps, batch_size)

    def _loss(self, data: EpisodeSamples) -> tuple[th.Tensor, th.Tensor]:
        """The loss [] of whole episodes and the values that it is about, [n, C, K], both without padding."""
        q_net, target = self.policy.q_net, self.policy.q_net_target
        values = q_net.unroll(data.observations, data.masks)
        with th.no_grad():
            best = values[1:].argmax(dim=-1)
            next_values = _mixed(target, target.unroll(data.observations)[1:], best, data.observations[1:])
            targets = data.rewards + (1 - data.terminated) * self.gamma * next_values
        actions = data.actions.reshape(*data.actions.shape[:2], self.policy.head.n_columns)
        chosen = _mixed(q_net, values[:-1], actions, data.observations[:-1])
        errors_TBV = self._regress(chosen, targets, reduction="none") * data.acted
        # A sum over independent learners, too, leaves them independent.
        return errors_TBV.sum() / data.acted.sum(), values[:-1][data.acted[..., 0] > 0]


def _mixed(net: Any, values_TBCK: th.Tensor, chosen_TBC: th.Tensor, observations_TBI: th.Tensor) -> th.Tensor:
    """`QNetwork.mixed` over time: [T, B, V]."""
    n_steps, batch = values_TBCK.shape[:2]
    flat = (values_TBCK.flatten(0, 1), chosen_TBC.flatten(0, 1), observations_TBI.flatten(0, 1))
    mixed: th.Tensor = net.mixed(*flat)
    return mixed.view(n_steps, batch, -1)
