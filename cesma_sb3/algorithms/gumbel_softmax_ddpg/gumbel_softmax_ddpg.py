"""DDPG for discrete joint actions, by the Gumbel-softmax relaxation: an SB3 algorithm like any other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, Literal, get_args

import torch as th
from stable_baselines3 import DDPG
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, Schedule
from torch import nn
from torch.nn import functional as F

from cesma_sb3.algorithms.gumbel_softmax_ddpg.policies import (
    Actor,
    Critics,
    GumbelSoftmaxPolicy,
    gumbel_noise,
)
from cesma_sb3.algorithms.off_policy import DiscreteOffPolicyAlgorithm, polyak_update
from cesma_sb3.errors import check_choice
from cesma_sb3.policies.networks.feed_forward import TeamNet

OthersActions = Literal["buffer", "current"]


class GumbelSoftmaxDDPG(DiscreteOffPolicyAlgorithm, DDPG):
    """DDPG whose actor acts through the Gumbel-softmax: the paper's expert for discrete actions.

    The critic sees one-hot actions; the actor's gradient reaches it through a relaxed (or straight-through)
    sample. The environment's action space is Discrete or MultiDiscrete; the replay buffer keeps integers.
    `learn`, `predict`, `save`, `load`, callbacks and logger are SB3's.

    | actor, critic, values | algorithm |
    |---|---|
    | joint, joint, summed | the centralized expert |
    | own, joint, each | MADDPG: a critic of everything for each agent |
    | own, own, each | independent DDPG: each agent alone, with the team's reward |

    Args:
        policy: "MlpPolicy" or a subclass of `GumbelSoftmaxPolicy`.
        env: Environment or its id.
        learning_rate: Of actor and critic, or a schedule.
        temperature: Of the Gumbel-softmax, in (0, inf).
        straight_through: Hard one-hot actions forward, relaxed gradient backward; False gives the critic the
            relaxed sample itself.
        logit_penalty: Weight of the mean squared logit in the actor's loss: it keeps the policy from freezing
            (1e-3 in MADDPG's own code).
        max_grad_norm: Gradient norm is clipped to it, actor and critic apart (the paper: 0.1); None clips
            nothing. Agents with critics of their own (`critic_values: each`) are clipped apart.
        others_actions: With `critic_values: each`, the others' actions where an agent's critic judges its
            own: those of the `buffer` (Lowe et al.'s equation 6 and code), or samples of their `current`
            policies.
        **kwargs: SB3's arguments, with the defaults of `DiscreteOffPolicyAlgorithm`: `buffer_size`,
            `learning_starts`, `batch_size`, `tau`, `gamma`, `train_freq`, `gradient_steps`,
            `replay_buffer_class`, `replay_buffer_kwargs`, `stats_window_size`, `tensorboard_log`,
            `policy_kwargs`, `verbose`, `seed` and `device`.

    Raises:
        UnknownNameError: `others_actions` is neither.

    Source: sections 4.2 and 6.2, appendix E.2; Jang et al. (2016), Maddison et al. (2016), Lowe et al.
        (2017).
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {"MlpPolicy": GumbelSoftmaxPolicy}
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
        temperature: float = 1.0,
        straight_through: bool = True,
        logit_penalty: float = 1e-3,
        max_grad_norm: float | None = 0.5,
        others_actions: OthersActions = "buffer",
        **kwargs: Any,
    ) -> None:
        check_choice("others_actions", others_actions, get_args(OthersActions))
        self.policy_delay = 1  # as DDPG's and TD3's own constructors set them
        self.target_policy_noise = self.target_noise_clip = 0.0
        self.temperature = temperature
        self.straight_through = straight_through
        self.logit_penalty = logit_penalty
        self.max_grad_norm = max_grad_norm
        self.others_actions: OthersActions = others_actions
        super().__init__(policy, env, learning_rate, **kwargs)

    def train(self, gradient_steps: int, batch_size: int = 100) -> None:
        """SB3's hook: `gradient_steps` updates of critic, actor and targets from the replay buffer."""
        self.policy.set_training_mode(True)
        self._update_learning_rate([self.actor.optimizer, self.critic.optimizer])
        assert self.replay_buffer is not None
        losses = th.zeros(2, device=self.device)  # read once, when they are logged
        for _ in range(gradient_steps):
            self._n_updates += 1
            data = self.replay_buffer.sample(batch_size, env=self._vec_normalize_env)
            observations, next_observations = data.observations.float(), data.next_observations.float()
            with th.no_grad():
                next_actions = self._relaxed(self.policy.actor_target(next_observations), hard=True)
                next_values = self.critic_target(next_observations, next_actions).amin(dim=1)
                # The team's reward is the target of every agent that has a critic of its own.
                targets = data.rewards + (1 - data.dones) * self._discounts(data) * next_values
            actions = self._one_hot(data.actions)
            values = self.critic(observations, actions)
            critic_loss = F.mse_loss(values, targets.unsqueeze(1).expand_as(values)) * values[0].numel()
            self._step(self.critic, critic_loss)

            with _frozen(self.critic):
                actor_loss = self._actor_loss(observations, actions)
                self._step(self.actor, actor_loss)

            polyak_update(self.critic, self.critic_target, self.tau)
            polyak_update(self.actor, self.actor_target, self.tau)
            losses += th.stack([actor_loss.detach(), critic_loss.detach()])
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")
        self.logger.record("train/actor_loss", float(losses[0]) / gradient_steps)
        self.logger.record("train/critic_loss", float(losses[1]) / gradient_steps)

    def _actor_loss(self, observations: th.Tensor, actions: th.Tensor) -> th.Tensor:
        """Of joint observations [B, I] and the one-hot actions [B, O] that were taken: a scalar.

        With a critic for each agent, the sum of the agents' losses.
        """
        logits = self.actor(observations)
        relaxed = self._relaxed(logits, hard=self.straight_through)
        if self.policy.critic_values == "summed":
            value = self.critic(observations, relaxed)[:, 0].mean()
            summed: th.Tensor = -value + self.logit_penalty * logits.square().mean()
            return summed
        others = actions if self.others_actions == "buffer" else relaxed.detach()
        values_BN = self.critic.q_own_action(observations, relaxed, others)
        squares = (logits.square().mean(dim=0) * self.policy.shares_of_outputs).sum()
        each: th.Tensor = self.logit_penalty * squares - values_BN.mean(dim=0).sum()
        return each

    def _step(self, module: Actor | Critics, loss: th.Tensor) -> None:
        module.optimizer.zero_grad()
        loss.backward()
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

    def _relaxed(self, logits_BO: th.Tensor, *, hard: bool) -> th.Tensor:
        """A Gumbel-softmax sample of every action column, flat: [B, O] -> [B, O]."""
        head = self.policy.head
        logits = head.logits(logits_BO)
        soft = F.softmax((logits + gumbel_noise(logits)) / self.temperature, dim=-1)
        if hard:
            one_hot = F.one_hot(soft.argmax(dim=-1), soft.shape[-1]).to(soft.dtype)
            soft = one_hot + (soft - soft.detach())
        return head.flatten(soft)

    def _one_hot(self, actions: th.Tensor) -> th.Tensor:
        """Integer actions [B, C] of the replay buffer as flat one-hot vectors [B, O] float32."""
        head = self.policy.head
        return head.flatten(F.one_hot(actions.long(), head.n_categories).float())


@contextmanager
def _frozen(module: nn.Module) -> Iterator[None]:
    """No gradients of a module's own weights within: the backward pass is faster."""
    parameters = list(module.parameters())
    for parameter in parameters:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(True)
