"""DDPG for discrete joint actions, by the Gumbel-softmax relaxation: an SB3 algorithm like any other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, Literal, get_args

import torch as th
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, Schedule
from torch import nn
from torch.nn import functional as F

from cesma_sb3.algorithms.ddpg.base import DiscreteDDPG
from cesma_sb3.algorithms.ddpg.policies import GumbelSoftmaxPolicy, gumbel_noise
from cesma_sb3.algorithms.off_policy import polyak_update
from cesma_sb3.errors import check_choice

OthersActions = Literal["buffer", "current"]


class GumbelSoftmaxDDPG(DiscreteDDPG):
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
        others_actions: With `critic_values: each`, the others' actions where an agent's critic judges its
            own: those of the `buffer` (Lowe et al.'s equation 6 and code), or samples of their `current`
            policies.
        **kwargs: `logit_penalty`, `max_grad_norm` and SB3's arguments, with the defaults of `DiscreteDDPG`.

    Raises:
        UnknownNameError: `others_actions` is neither.

    Source: sections 4.2 and 6.2, appendix E.2; Jang et al. (2016), Maddison et al. (2016), Lowe et al.
        (2017).
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {"MlpPolicy": GumbelSoftmaxPolicy}

    def __init__(
        self,
        policy: str | type[GumbelSoftmaxPolicy],
        env: GymEnv | str,
        learning_rate: float | Schedule = 1e-3,
        *,
        temperature: float = 1.0,
        straight_through: bool = True,
        others_actions: OthersActions = "buffer",
        **kwargs: Any,
    ) -> None:
        check_choice("others_actions", others_actions, get_args(OthersActions))
        self.temperature = temperature
        self.straight_through = straight_through
        self.others_actions: OthersActions = others_actions
        super().__init__(policy, env, learning_rate, **kwargs)

    def _next_values(self, next_observations: th.Tensor) -> th.Tensor:
        next_actions = self._relaxed(self.actor_target(next_observations), hard=True)
        values: th.Tensor = self.critic_target(next_observations, next_actions).amin(dim=1)
        return values

    def _update(
        self, observations: th.Tensor, actions: th.Tensor, targets: th.Tensor
    ) -> tuple[th.Tensor, th.Tensor]:
        critic_loss = self._critic_loss(self.critic(observations, actions), targets)
        self._step(critic_loss, self.critic)
        with _frozen(self.critic):
            actor_loss = self._actor_loss(observations, actions)
            self._step(actor_loss, self.actor)
        polyak_update(self.actor, self.actor_target, self.tau)
        return actor_loss.detach(), critic_loss.detach()

    def _actor_loss(self, observations: th.Tensor, actions: th.Tensor) -> th.Tensor:
        """Of joint observations [B, I] and the one-hot actions [B, O] that were taken: a scalar."""
        logits = self.actor(observations)
        relaxed = self._relaxed(logits, hard=self.straight_through)
        if self.policy.critic_values == "summed":
            return self._penalized(self.critic(observations, relaxed)[:, 0], logits)
        others = actions if self.others_actions == "buffer" else relaxed.detach()
        return self._penalized(self.critic.q_own_action(observations, relaxed, others), logits)

    def _relaxed(self, logits_BO: th.Tensor, *, hard: bool) -> th.Tensor:
        """A Gumbel-softmax sample of every action column, flat: [B, O] -> [B, O]."""
        head = self.policy.head
        logits = head.logits(logits_BO)
        soft = F.softmax((logits + gumbel_noise(logits)) / self.temperature, dim=-1)
        if hard:
            one_hot = F.one_hot(soft.argmax(dim=-1), soft.shape[-1]).to(soft.dtype)
            soft = one_hot + (soft - soft.detach())
        return head.flatten(soft)


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
