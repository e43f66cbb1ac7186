"""`FactoredDQN` on whole episodes, for networks with a memory and for environments that mask actions.

Shape suffixes: S timesteps of all episodes, C action columns, K categories (padded to the largest), V values.
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
from cesma_sb3.policies.stateful_actor import DeviceState


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
        td_lambda: Lambda of the returns that are aimed at, in [0, 1]: see `lambda_returns`. 0 is the paper's.
        **kwargs: As in `FactoredDQN`, but that `buffer_size` is in timesteps of whole episodes and
            `batch_size` in episodes.

    Raises:
        ValueError: `td_lambda` is not from 0 to 1.

    Source: appendix E.1; Samvelyan et al. (2019), Hausknecht and Stone (2015). Returns with lambda: Hu et al.
    (2021), "Rethinking the implementation tricks and monotonicity constraint in cooperative multi-agent
    reinforcement learning".
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
        td_lambda: float = 0.0,
        replay_buffer_class: type[ReplayBuffer] | None = EpisodeReplayBuffer,
        **kwargs: Any,
    ) -> None:
        if not 0.0 <= td_lambda <= 1.0:
            raise ValueError(f"td_lambda={td_lambda}: expected a number from 0 to 1")
        self.exploration_episodes = exploration_episodes
        self.td_lambda = td_lambda
        self._memory: DeviceState | None = None
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

    def _excluded_save_params(self) -> list[str]:
        # What was remembered may lie on a GPU that is not there when the file is read.
        return [*super()._excluded_save_params(), "_memory"]

    def train(self, gradient_steps: int, batch_size: int = 32) -> None:
        """SB3's hook: `gradient_steps` updates of the values, each on `batch_size` whole episodes."""
        assert self.replay_buffer is not None
        if len(self.replay_buffer.store):
            super().train(gradient_steps, batch_size)

    def _loss(self, data: EpisodeSamples) -> tuple[th.Tensor, th.Tensor]:
        """The loss [] of whole episodes and the values that it is about, [n, C, K], both without padding."""
        q_net = self.policy.q_net
        values = q_net.unroll(data.observations, data.sizes)
        now = data.acted
        chosen = q_net.mixed(values, self._columns(data.actions), data.observations)[now]
        # What was done was available: only the choice of the next action asks for masks, without gradients.
        values = values.detach()
        available = values if data.masks is None else self.policy.head.masked(values, data.masks)
        targets = self._targets(data, available)[now]
        # A sum over independent learners, too, leaves them independent.
        return self._regress(chosen, targets, reduction="sum") / len(chosen), available[now]

    def _targets(self, data: EpisodeSamples, values: th.Tensor) -> th.Tensor:
        """What is aimed at in every timestep, [S, V]; where nobody acted, what the state is worth."""
        target = self.policy.q_net_target
        with th.no_grad():
            best = values.argmax(dim=-1)
            worth = target.mixed(target.unroll(data.observations, data.sizes), best, data.observations)
            return lambda_returns(data, worth, self.gamma, self.td_lambda)


def lambda_returns(data: EpisodeSamples, worth_SV: th.Tensor, gamma: float, td_lambda: float) -> th.Tensor:
    """Returns of every timestep that mix those of one step, of two steps and so on.

    G(t) = r(t) + gamma ((1 - lambda) V(t + 1) + lambda G(t + 1)) as long as the episode lasts. Lambda 0 is
    what follows one step, lambda 1 the rewards of the whole episode.

    Args:
        data: Episodes, with S timesteps.
        worth_SV: V, what each timestep's state is worth to each learner.
        gamma: Discount, in [0, 1].
        td_lambda: Lambda, in [0, 1].

    Returns:
        [S, V]; where nobody acted, `worth_SV`.

    Source: Peng and Williams (1996), "Incremental multi-step Q-learning".
    """
    sizes = th.tensor(data.sizes, device=worth_SV.device)
    now = data.acted.nonzero()[:, 0]
    then = now + sizes.repeat_interleave(sizes)[now]  # the same episode, one timestep on
    goes_on = gamma * (1 - data.terminated)
    returns = worth_SV.clone()
    returns[now] = data.rewards[now] + (1 - td_lambda) * goes_on[now] * worth_SV[then]
    if td_lambda > 0:
        carried = td_lambda * goes_on * data.acted.unsqueeze(1)
        ends = np.cumsum(data.sizes).tolist()
        for end, size, following in reversed(list(zip(ends, data.sizes, data.sizes[1:], strict=False))):
            rows = slice(end - size, end - size + following)
            returns[rows] += carried[rows] * returns[end : end + following]
    return returns
