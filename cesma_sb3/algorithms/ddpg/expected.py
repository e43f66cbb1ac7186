"""DDPG for discrete joint actions by exact expectations over all actions: an SB3 algorithm like any other."""

from __future__ import annotations

from typing import ClassVar

import torch as th
from stable_baselines3.common.policies import BasePolicy
from torch.nn import functional as F

from cesma_sb3.algorithms.ddpg.base import DiscreteDDPG
from cesma_sb3.algorithms.ddpg.expected_policy import ExpectedPolicy
from cesma_sb3.algorithms.ddpg.policies import Critics


class ExpectedDDPG(DiscreteDDPG):
    """`GumbelSoftmaxDDPG` with expectations over all actions in place of relaxed samples.

    The additive critic Q(o, a) = V(o) + sum over agents of A_i(o) . a_i is a table of what every action of
    every agent is worth, and agents choose independently given what they see, by pi_i. Both expectations are
    then sums, without samples:

    - the critic's target is r + gamma (V'(o') + sum of pi_i(. | o') . A'_i(o')), with the target critic and
      the actor as it is: no target of the actor is kept;
    - the actor's loss is minus the mean of the sum of pi_i(. | o) . A_i(o), with the table held constant. It
      is that of the critic's own update: an update needs one pass of the critic. With `share_network` it is
      the actor's pass too, and the target network's own policy is that of the next state.

    | actor, critic, values | algorithm |
    |---|---|
    | joint, joint, summed | the centralized expert |
    | own, joint, summed | decomposed policy gradients: each agent follows its part of the team's value |
    | own, own, summed | the same, where each part is of the agent's own observation |
    | own, joint, each | MADDPG: each agent's own actions are valued given the others' |
    | own, own, each | each agent alone, with the team's reward |

    The others' actions in MADDPG's critics are those of the replay buffer, and in the target drawn from their
    policies.

    Arguments: those of `DiscreteDDPG`. `policy` is "MlpPolicy" or a subclass of `ExpectedPolicy`.

    Source: van Seijen et al. (2009), expected SARSA, for the target; Allen et al. (2017), mean actor-critic,
        and Ciosek & Whiteson (2018), expected policy gradients, for the actor; Wang et al. (2021), DOP, for
        the critic that adds up over agents; section 6.2 for all that is as in `GumbelSoftmaxDDPG`.
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {"MlpPolicy": ExpectedPolicy}
    policy: ExpectedPolicy

    def _next_values(self, next_observations: th.Tensor) -> th.Tensor:
        tables, logits = self._read(self.critic_target, next_observations)
        return self.critic_target.of_tables(tables, self._probabilities(logits)).amin(dim=1)

    def _update(
        self, observations: th.Tensor, actions: th.Tensor, targets: th.Tensor
    ) -> tuple[th.Tensor, th.Tensor]:
        tables, logits = self._read(self.critic, observations, actions)
        critic_loss = self._critic_loss(self.critic.of_tables(tables, actions), targets)
        constant = [table.detach() for table in tables]
        values = self.critic.of_tables(constant, self._probabilities(logits))
        actor_loss = self._penalized(values[:, 0], logits)
        # Neither loss has a gradient in the other's network, if there are two.
        modules = [self.critic] if self.policy.share_network else [self.critic, self.actor]
        self._step(critic_loss + actor_loss, *modules)
        return actor_loss.detach(), critic_loss.detach()

    def _read(
        self, critics: Critics, observations: th.Tensor, others: th.Tensor | None = None
    ) -> tuple[list[th.Tensor], th.Tensor]:
        """The tables of critics, and the actor's logits [B, O].

        Args:
            critics: One network for both brings the logits that were its own at the time.
            observations: Joint observations [B, I].
            others: One-hot actions [B, O], of which MADDPG's tables see the other agents'; None: they are
                drawn.
        """
        if self.policy.share_network:
            tables = critics.tables(observations, observations)
            return tables, critics.first.logits(tables[0])
        logits = self.actor(observations)
        if others is None:
            others = self._one_hot(self.policy.drawn(logits))
        return critics.tables(observations, others), logits

    def _probabilities(self, logits_BO: th.Tensor) -> th.Tensor:
        """The probability of every action of every column, flat: [B, O] -> [B, O]."""
        head = self.policy.head
        return head.flatten(F.softmax(head.logits(logits_BO), dim=-1))

    def _create_aliases(self) -> None:
        self.actor = self.actor_target = self.policy.actor  # SB3 asks for a target: the actor is its own
        self.critic, self.critic_target = self.policy.critic, self.policy.critic_target
