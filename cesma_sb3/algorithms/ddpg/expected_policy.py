"""Actor and critic of `ExpectedDDPG`: two networks, or one for both."""

from __future__ import annotations

from typing import Any

import torch as th
from gymnasium import spaces
from stable_baselines3.common.type_aliases import Schedule
from torch import nn

from cesma_sb3.algorithms.ddpg.policies import Actor, Critics, GumbelSoftmaxPolicy
from cesma_sb3.errors import ExpertError
from cesma_sb3.policies.networks.factory import ActionValue, CriticForm
from cesma_sb3.spaces.team_spaces import TeamSpaces


class ExpectedPolicy(GumbelSoftmaxPolicy):
    """Actor and critics of `ExpectedDDPG`: critics of the additive form alone, and no target of the actor.

    Args:
        observation_space: Box [I].
        action_space: Discrete or MultiDiscrete.
        lr_schedule: Learning rate by remaining progress (1 to 0).
        team: The team's spaces; None treats the environment as one agent.
        critic_form: `additive`, which values all actions of all agents at once.
        share_network: One network of the team gives values and logits: half of the work. For a centralized
            actor and one critic, of the team's value.
        **kwargs: Further arguments of `GumbelSoftmaxPolicy`.

    Raises:
        SpaceError: As of `GumbelSoftmaxPolicy`.
        ExpertError: `critic_form` is another one, or actor and critic cannot share a network.
        UnknownNameError: There is no such visibility, network, form or values.
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Discrete | spaces.MultiDiscrete,
        lr_schedule: Schedule,
        *,
        team: TeamSpaces | None = None,
        critic_form: CriticForm = "additive",
        share_network: bool = False,
        **kwargs: Any,
    ) -> None:
        if critic_form == "joint":
            raise ExpertError(
                "critic_form: expected additive, whose expectations are sums, got joint (GumbelSoftmaxDDPG)"
            )
        self.share_network = share_network
        super().__init__(
            observation_space, action_space, lr_schedule, team=team, critic_form=critic_form, **kwargs
        )

    def _build(self, lr_schedule: Schedule) -> None:
        asked = self.actor_visibility, self.critic_visibility, self.critic_values, self.n_critics
        if self.share_network and (asked != ("joint", "joint", "summed", 1) or self.critic_spec != self.spec):
            raise ExpertError(
                "share_network: expected joint actor_visibility and critic_visibility, critic_values: "
                "summed, n_critics: 1 and no critic_hidden_sizes"
            )
        super()._build(lr_schedule)
        del self.actor_target
        if self.share_network:
            self.actor = Actor(_PolicyOf(self.critic.first))
            self.actor.optimizer = self.critic.optimizer

    def make_critic(self, features_extractor: Any = None) -> Critics:  # type: ignore[override]  # as its base
        """SB3's hook: critics with new weights, which are the actor too if they share a network."""
        if not self.share_network:
            return super().make_critic(features_extractor)
        value = ActionValue(self.team, "joint", self.spec, "additive", with_policy=True)
        return Critics([value]).to(self.device)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return {**super()._get_constructor_parameters(), "share_network": self.share_network}


class _PolicyOf(nn.Module):
    """The logits that a network of values gives beside them: [B, I] -> [B, O]."""

    def __init__(self, value: ActionValue) -> None:
        super().__init__()
        self.value = value

    def forward(self, observations: th.Tensor) -> th.Tensor:
        return self.value.logits(self.value.table(observations, observations))
