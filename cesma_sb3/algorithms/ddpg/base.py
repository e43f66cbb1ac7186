"""`DiscreteDDPG`: what the forms of DDPG for discrete joint actions have in common."""

from __future__ import annotations

from typing import Any

import torch as th
from stable_baselines3 import DDPG
from stable_baselines3.common.type_aliases import GymEnv, Schedule
from torch import nn
from torch.nn import functional as F

from cesma_sb3.algorithms.ddpg.policies import Actor, Critics, GumbelSoftmaxPolicy
from cesma_sb3.algorithms.off_policy import DiscreteOffPolicyAlgorithm, polyak_update
from cesma_sb3.policies.networks.feed_forward import TeamNet


class DiscreteDDPG(DiscreteOffPolicyAlgorithm, DDPG):
    """Actor and critic that learn from a replay buffer of discrete joint actions; base class.

    Subclasses value the next states (`_next_values`) and update the two networks (`_update`).

    Args:
        policy: "MlpPolicy" or a policy class of the algorithm.
        env: Environment or its id.
        learning_rate: Of actor and critic, or a schedule.
        logit_penalty: Weight of the mean squared logit in the actor's loss: it keeps the policy from freezing
            (1e-3 in MADDPG's own code).
        max_grad_norm: Gradient norm is clipped to it, actor and critic apart (the paper: 0.1); None clips
            nothing. Agents with critics of their own (`critic_values: each`) are clipped apart.
        **kwargs: SB3's arguments, with the defaults of `DiscreteOffPolicyAlgorithm`: `buffer_size`,
            `learning_starts`, `batch_size`, `tau`, `gamma`, `train_freq`, `gradient_steps`,
            `use_symmetries`, `replay_buffer_class`, `replay_buffer_kwargs`, `stats_window_size`,
            `tensorboard_log`, `policy_kwargs`, `verbose`, `seed` and `device`.

    Raises:
        ValueError: `max_grad_norm`, `tau` or `batch_size` is out of its range.
    """

    policy: GumbelSoftmaxPolicy
    actor: Actor  # type: ignore[assignment]  # another class than TD3's, with what TD3 asks of it
    actor_target: Actor  # type: ignore[assignment]  # as the actor
    critic: Critics  # type: ignore[assignment]  # as the actor
    critic_target: Critics  # type: ignore[assignment]  # as the actor

    def __init__(
        self,
        policy: str | type[GumbelSoftmaxPolicy],
        env: GymEnv | str,
        learning_rate: float | Schedule = 1e-3,
        *,
        logit_penalty: float = 1e-3,
        max_grad_norm: float | None = 0.5,
        **kwargs: Any,
    ) -> None:
        if max_grad_norm is not None and not max_grad_norm > 0:
            raise ValueError(f"max_grad_norm={max_grad_norm}: expected more than 0, or None")
        self.policy_delay = 1  # as DDPG's and TD3's own constructors set them
        self.target_policy_noise = self.target_noise_clip = 0.0
        self.logit_penalty = logit_penalty
        self.max_grad_norm = max_grad_norm
        super().__init__(policy, env, learning_rate, **kwargs)

    def train(self, gradient_steps: int, batch_size: int = 100) -> None:
        """SB3's hook: `gradient_steps` updates of critic, actor and targets from the replay buffer."""
        self.policy.set_training_mode(True)
        self._update_learning_rate([self.actor.optimizer, self.critic.optimizer])
        losses = th.zeros(2, device=self.device)  # read once, when they are logged
        for _ in range(gradient_steps):
            self._n_updates += 1
            data = self._sample(batch_size)
            losses += th.stack(
                self._update(data.observations.float(), self._one_hot(data.actions), self.targets(data))
            )
            polyak_update(self.critic, self.critic_target, self.tau)
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")
        self.logger.record("train/actor_loss", float(losses[0]) / gradient_steps)
        self.logger.record("train/critic_loss", float(losses[1]) / gradient_steps)

    def targets(self, data: Any) -> th.Tensor:
        """What the critic's values of a batch of SB3's replay buffer are regressed on.

        Args:
            data: `ReplayBufferSamples`. Its `dones` are those of terminal states alone: where time ran out
                the next state is valued.

        Returns:
            [B, V] float32. The team's reward is the target of every agent that has a critic of its own.
        """
        with th.no_grad():
            next_values = self._next_values(data.next_observations.float())
            targets: th.Tensor = data.rewards + (1 - data.dones) * self._discounts(data) * next_values
        return targets

    def _next_values(self, next_observations: th.Tensor) -> th.Tensor:
        """Values [B, V] of the next joint observations [B, I] by the target critic."""
        raise NotImplementedError

    def _update(
        self, observations: th.Tensor, actions: th.Tensor, targets: th.Tensor
    ) -> tuple[th.Tensor, th.Tensor]:
        """Update critic and actor.

        Args:
            observations: Joint observations [B, I].
            actions: One-hot actions [B, O] that were taken.
            targets: Of the critic, [B, V].

        Returns:
            The losses of actor and critic, without gradient.
        """
        raise NotImplementedError

    def _critic_loss(self, values: th.Tensor, targets: th.Tensor) -> th.Tensor:
        """The mean squared error of values [B, n_critics, V], from targets [B, V], summed over critics."""
        return F.mse_loss(values, targets.unsqueeze(1).expand_as(values)) * values[0].numel()

    def _penalized(self, values: th.Tensor, logits: th.Tensor) -> th.Tensor:
        """The actor's loss: minus the mean of the values [B, V] of what it does, and the logits' penalty.

        With a critic for each agent, the sum of the agents' losses.
        """
        squares = logits.square().mean(dim=0)
        if self.policy.critic_values == "summed":
            penalty = squares.mean()
        else:
            penalty = (squares * self.policy.shares_of_outputs).sum()
        loss: th.Tensor = self.logit_penalty * penalty - values.mean(dim=0).sum()
        return loss

    def _step(self, loss: th.Tensor, *modules: Actor | Critics) -> None:
        """An optimizer's step of each module, on a loss of them all."""
        for module in modules:
            module.optimizer.zero_grad()
        loss.backward()
        for module in modules:
            if self.max_grad_norm is not None:
                self._clip(module, self.max_grad_norm)
            module.optimizer.step()

    def _clip(self, module: Actor | Critics, max_norm: float) -> None:
        """All gradients as one, or each agent's by itself where agents share no weights and no critic."""
        parts = [part for part in module.modules() if isinstance(part, TeamNet)]
        if self.policy.critic_values == "summed" or not parts:
            nn.utils.clip_grad_norm_(module.parameters(), max_norm)
            return
        for part in parts:
            part.clip_grad_norm_(max_norm)

    def _one_hot(self, actions: th.Tensor) -> th.Tensor:
        """Integer actions [B, C] of the replay buffer as flat one-hot vectors [B, O] float32."""
        head = self.policy.head
        return head.flatten(F.one_hot(actions.long(), head.n_categories).float())
