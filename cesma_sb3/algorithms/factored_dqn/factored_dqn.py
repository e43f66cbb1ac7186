"""Double Q-learning with a value for each category of each action column: an SB3 algorithm like any other.

Shape suffixes: B batch, C action columns, K categories (padded to the largest).
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal, get_args

import numpy as np
import numpy.typing as npt
import torch as th
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, Schedule
from torch import nn
from torch.nn import functional as F

from cesma_sb3.algorithms.factored_dqn.policies import FactoredQPolicy
from cesma_sb3.algorithms.off_policy import DiscreteOffPolicyAlgorithm, polyak_update
from cesma_sb3.algorithms.symmetric_samples import SymmetricSamples
from cesma_sb3.errors import ExpertError, check_choice
from cesma_sb3.policies.distributions import UNAVAILABLE
from cesma_sb3.policies.stateful_actor import DeviceState, with_host_state

Exploration = Literal["epsilon-greedy", "noise"]
Loss = Literal["huber", "mse"]
_SPREAD_DECAY = 0.99
"""Of the running spread of values, for each update."""


class FactoredDQN(DiscreteOffPolicyAlgorithm):
    """Double Q-learning on factored actions: sum of Q-values, VDN, IQL and QMIX, and DQN for one agent.

    The next action is chosen by the online network and valued by the target network. `policy_kwargs`
    `visibility` and `mixer` say whose values these are (`FactoredQPolicy`). On the action view `product` it
    is the paper's exponential DQN, on `one-at-a-time` its one-at-a-time expert.

    `exploration: noise` adds Gaussian noise to the values before the best category is taken ("noisy action
    selection"). Its standard deviation is the exploration rate times the spread of values: the standard
    deviation between the categories of a column, averaged over what is learned from. It is the differences
    between categories that decide, so the noise keeps its meaning whatever the size of the returns.

    Args:
        policy: "MlpPolicy" or a subclass of `FactoredQPolicy`.
        env: Environment or its id.
        learning_rate: Or a schedule.
        target_update_interval: Gradient steps between two updates of the target network, as in SB3's SAC.
        loss: `huber` or `mse`.
        exploration: `epsilon-greedy`, for each column by itself, or `noise`; see above.
        exploration_fraction: Fraction of the training in which the rate falls, in [0, 1].
        exploration_initial_eps: Rate at the start: a probability, or a multiple of the spread.
        exploration_final_eps: Rate at the end.
        max_grad_norm: Gradient norm is clipped to it (the paper: 0.1, in StarCraft 10); None clips nothing.
        **kwargs: SB3's arguments, with the defaults of `DiscreteOffPolicyAlgorithm`: `buffer_size`,
            `learning_starts`, `batch_size`, `tau`, `gamma`, `train_freq`, `gradient_steps`,
            `use_symmetries`, `replay_buffer_class`, `replay_buffer_kwargs`, `stats_window_size`,
            `tensorboard_log`, `policy_kwargs`, `verbose`, `seed` and `device`.

    Raises:
        UnknownNameError: There is no such exploration or loss.
        ExpertError: The networks have a memory.
        LayoutError: The team declares no symmetries to use.

    Source: sections 4.2 and 6.5, appendices E.3 and E.4; van Hasselt et al. (2016) for Double Q-learning.
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {"MlpPolicy": FactoredQPolicy}
    policy: FactoredQPolicy
    _learns_from_episodes: ClassVar[bool] = False

    def __init__(
        self,
        policy: str | type[FactoredQPolicy],
        env: GymEnv | str,
        learning_rate: float | Schedule = 1e-3,
        *,
        target_update_interval: int = 1,
        loss: Loss = "huber",
        exploration: Exploration = "epsilon-greedy",
        exploration_fraction: float = 0.3,
        exploration_initial_eps: float = 1.0,
        exploration_final_eps: float = 0.05,
        max_grad_norm: float | None = 10.0,
        **kwargs: Any,
    ) -> None:
        check_choice("exploration", exploration, get_args(Exploration))
        check_choice("loss", loss, get_args(Loss))
        self.target_update_interval = target_update_interval
        self.loss = loss
        self.exploration = exploration
        self.exploration_fraction = exploration_fraction
        self.exploration_initial_eps = exploration_initial_eps
        self.exploration_final_eps = exploration_final_eps
        self.max_grad_norm = max_grad_norm
        self.exploration_rate = exploration_initial_eps
        self.value_spread = 0.0
        super().__init__(policy, env, learning_rate, **kwargs)

    def train(self, gradient_steps: int, batch_size: int = 100) -> None:
        """SB3's hook: `gradient_steps` updates of the values from the replay buffer."""
        self.policy.set_training_mode(True)
        self._update_learning_rate(self.policy.optimizer)
        q_net, parameters = self.policy.q_net, list(self.policy.q_net.parameters())
        losses = []
        for _ in range(gradient_steps):
            self._n_updates += 1
            loss, values_BCK = self._loss(self._sample(batch_size))
            self.policy.optimizer.zero_grad()
            loss.backward()
            if self.max_grad_norm is not None:
                nn.utils.clip_grad_norm_(parameters, self.max_grad_norm)
            self.policy.optimizer.step()
            if self._n_updates % self.target_update_interval == 0:
                polyak_update(q_net, self.policy.q_net_target, self.tau)
            losses.append(loss.detach())
        self._measure_spread(values_BCK.detach(), gradient_steps)
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")
        self.logger.record("train/loss", float(th.stack(losses).mean()))
        self.logger.record("train/value_spread", self.value_spread)

    def _loss(self, data: Any) -> tuple[th.Tensor, th.Tensor]:
        """The loss [], and the values that it is about, [B, C, K]."""
        targets = self.targets(data)
        observations = data.observations.float()
        values_BCK = self.policy.q_net(observations)
        chosen = self.policy.q_net.mixed(values_BCK, self._columns(data.actions), observations)
        # Independent learners each have a loss of their own; their sum leaves them independent.
        return self._regress(chosen, targets) * chosen.shape[1], values_BCK

    def _regress(self, values: th.Tensor, targets: th.Tensor, reduction: str = "mean") -> th.Tensor:
        regress = F.smooth_l1_loss if self.loss == "huber" else F.mse_loss
        return regress(values, targets, reduction=reduction)

    def targets(self, data: Any) -> th.Tensor:
        """Double Q-learning's targets of a batch of SB3's replay buffer.

        Args:
            data: `ReplayBufferSamples`. Its `dones` are those of terminal states alone: where time ran out
                the next state is valued.

        Returns:
            [B, 1] float32, or [B, n_agents] for independent learners.
        """
        next_observations = data.next_observations.float()
        with th.no_grad():
            best_BC = self.policy.q_net(next_observations).argmax(dim=-1)
            target = self.policy.q_net_target
            next_values = target.mixed(target(next_observations), best_BC, next_observations)
            targets: th.Tensor = data.rewards + (1 - data.dones) * self._discounts(data) * next_values
        return targets

    def _columns(self, actions: th.Tensor) -> th.Tensor:
        """Actions of the replay buffer as categories [B, C] int64."""
        return actions.long().reshape(len(actions), self.policy.head.n_columns)

    def _measure_spread(self, values_BCK: th.Tensor, n_updates: int) -> None:
        """Update the running spread of values by the last batch."""
        spread = float(spread_of(values_BCK))
        kept = _SPREAD_DECAY**n_updates if self.value_spread else 0.0
        self.value_spread = kept * self.value_spread + (1 - kept) * spread

    def _on_step(self) -> None:
        """SB3's hook after each step of the environments: anneals the exploration."""
        self.exploration_rate = self.exploration_at(1.0 - self._current_progress_remaining)
        self.logger.record("rollout/exploration_rate", self.exploration_rate)

    def exploration_at(self, progress: float) -> float:
        """The rate at a fraction of the training, in [0, 1]: linear, then constant."""
        return self._annealed(progress / self.exploration_fraction if self.exploration_fraction > 0 else 1.0)

    def _annealed(self, done: float) -> float:
        """The rate after a fraction of its decay; 1 and above is the end."""
        start, end = self.exploration_initial_eps, self.exploration_final_eps
        return start + min(done, 1.0) * (end - start)

    @with_host_state
    def predict(  # one argument more than SB3's, as in sb3-contrib's maskable algorithms
        self,
        observation: npt.NDArray[Any] | dict[str, npt.NDArray[Any]],
        state: DeviceState | None = None,
        episode_start: npt.NDArray[np.bool_] | None = None,
        deterministic: bool = False,
        action_masks: npt.NDArray[np.bool_] | None = None,
    ) -> tuple[npt.NDArray[Any], DeviceState | None]:
        """SB3's `predict`, with masks; not deterministic, it explores at the present rate.

        Args:
            observation: [I] or [B, I] float32.
            state: What the call of the step before returned, if the networks have a memory.
            episode_start: Where an episode begins with this observation, [B] bool.
            deterministic: The greedy action.
            action_masks: Available categories [M] or [B, M] bool, or None.

        Returns:
            Actions [...] or [B, ...], and the state for the next step; without a memory, `state` as it came.
        """
        values, vectorized, state = self.policy.read(observation, action_masks, state, episode_start)
        if not deterministic:
            values = self._explored(values)
        return self.policy.write(values.argmax(dim=-1), vectorized), state

    def _explored(self, values_BCK: th.Tensor) -> th.Tensor:
        """Values whose best categories are the exploring actions; unavailable categories stay unavailable."""
        if self.exploration == "noise":
            changed = values_BCK + th.randn_like(values_BCK) * (self.exploration_rate * self.value_spread)
        else:
            explores_BC1 = th.rand_like(values_BCK[..., :1]) < self.exploration_rate
            changed = th.where(explores_BC1, th.rand_like(values_BCK), values_BCK)
        return changed.masked_fill(values_BCK <= UNAVAILABLE, UNAVAILABLE)

    def _setup_model(self) -> None:
        super()._setup_model()
        if self.use_symmetries and self._learns_from_episodes:
            raise ExpertError("use_symmetries: expected FactoredDQN, which learns from single transitions")
        if self.policy.is_recurrent and not self._learns_from_episodes:
            raise ExpertError("network recurrent: expected RecurrentFactoredDQN, which learns from episodes")

    def _make_symmetric(self) -> SymmetricSamples:
        view = self.policy.view
        return super()._make_symmetric() if view is None else SymmetricSamples(view.team, self.device, view)

    def _get_torch_save_params(self) -> tuple[list[str], list[str]]:
        return ["policy", "policy.optimizer"], []


def spread_of(values_BCK: th.Tensor) -> th.Tensor:
    """Standard deviation between the available categories of a column, averaged over columns and batch."""
    available = (values_BCK > UNAVAILABLE).to(values_BCK.dtype)
    count = available.sum(dim=-1, keepdim=True)
    means = (values_BCK * available).sum(dim=-1, keepdim=True) / count
    variance = ((values_BCK - means) * available).square().sum(dim=-1, keepdim=True) / count
    return variance.sqrt().mean()
