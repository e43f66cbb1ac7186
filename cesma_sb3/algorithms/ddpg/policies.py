"""Actor and critic of the forms of DDPG, by visibility and by the kind of network."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch as th
from gymnasium import spaces
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule
from stable_baselines3.td3.policies import TD3Policy
from torch import nn

from cesma_sb3.errors import ExpertError, SpaceError
from cesma_sb3.policies.distributions import ActionHead
from cesma_sb3.policies.networks.factory import (
    ActionValue,
    CriticForm,
    CriticValues,
    NetworkKind,
    NetworkSpec,
    actor_net,
)
from cesma_sb3.policies.networks.visibility import Visibility
from cesma_sb3.policies.team_policy import TeamPolicy
from cesma_sb3.spaces.agent_spaces import are_equal
from cesma_sb3.spaces.communication import Topology
from cesma_sb3.spaces.team_spaces import TeamSpaces


class Actor(nn.Module):
    """Joint observations [B, I] -> logits of every category of every action column [B, O]."""

    optimizer: th.optim.Optimizer

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, observations: th.Tensor) -> th.Tensor:
        """Logits [B, O] for joint observations [B, I]."""
        logits: th.Tensor = self.net(observations)
        return logits

    def set_training_mode(self, mode: bool) -> None:
        """SB3's name for `train`."""
        self.train(mode)


class Critics(nn.Module):
    """Joint observations [B, I] and relaxed one-hot actions [B, O] -> values [B, n_critics, V].

    V is 1, the team's value, or one for each agent.
    """

    optimizer: th.optim.Optimizer

    def __init__(self, nets: Sequence[ActionValue]) -> None:
        super().__init__()
        self.nets = nn.ModuleList(nets)

    def forward(self, observations: th.Tensor, actions: th.Tensor) -> th.Tensor:
        """Values [B, n_critics, V] of observations and relaxed actions."""
        return _stacked([net(observations, actions) for net in self.nets])

    def tables(self, observations: th.Tensor, others: th.Tensor) -> list[th.Tensor]:
        """The `ActionValue.table` of each critic, of additive forms."""
        return [net.table(observations, others) for net in self._each()]

    def of_tables(self, tables: Sequence[th.Tensor], actions: th.Tensor) -> th.Tensor:
        """Values [B, n_critics, V] of relaxed actions by `tables`."""
        pairs = zip(self._each(), tables, strict=True)
        return _stacked([net.of_table(table, actions) for net, table in pairs])

    def q_own_action(self, observations: th.Tensor, own: th.Tensor, others: th.Tensor) -> th.Tensor:
        """The first critic's `ActionValue.q_own_action`: [B, n_agents]."""
        return self.first.q_own_action(observations, own, others)

    @property
    def first(self) -> ActionValue:
        """The first critic, which the actor follows."""
        return self._each()[0]

    def _each(self) -> list[ActionValue]:
        return [net for net in self.nets if isinstance(net, ActionValue)]

    def set_training_mode(self, mode: bool) -> None:
        """SB3's name for `train`."""
        self.train(mode)


def _stacked(values: list[th.Tensor]) -> th.Tensor:
    """Values [B] or [B, V] of each critic as [B, n_critics, V]."""
    stacked = th.stack(values, dim=1)
    return stacked.view(*stacked.shape[:2], -1)


class GumbelSoftmaxPolicy(TD3Policy):
    """Actor and critics of `GumbelSoftmaxDDPG`.

    Args:
        observation_space: Box [I].
        action_space: Discrete or MultiDiscrete.
        lr_schedule: Learning rate by remaining progress (1 to 0).
        team: The team's spaces; None treats the environment as one agent.
        actor_visibility: What each actor component sees: `joint` is the centralized expert.
        critic_visibility: What each critic component sees.
        network: `feed-forward`, or `entities` for teams whose layouts name them (`EntityNet`).
        hidden_sizes: Hidden layers of each actor component (the paper's expert for 3 agents: 225 and 225,
            E.2); of `entities`, the width of an entity and then the layers of the head.
        critic_hidden_sizes: Hidden layers of each critic component; `hidden_sizes` if None.
        critic_form: `joint`: a network of observations and actions, as in the paper. `additive`: linear in
            each agent's action (`ActionValue`).
        critic_values: `summed`: the team's value, regressed on one target. `each`: agent i has a critic and a
            target of its own, and its actor follows that critic alone: with `own` actors, MADDPG
            (`critic_visibility` joint) and independent DDPG (own).
        activation_fn: Module class put after each hidden layer.
        share_parameters: One set of weights for all agents' components (`feed-forward`): see `NetworkSpec`.
        use_agent_id: A one-hot agent number as further input of `entities`, for agents that are not alike.
        topology: Whose messages components that see their `own` listen to.
        n_critics: Critics; the target is the smallest of them.
        optimizer_class: Optimizer of actor and critics.
        optimizer_kwargs: Its arguments, less the learning rate.

    Raises:
        SpaceError: The spaces are not the team's, or observations are not flat.
        ExpertError: `critic_values` does not go with `critic_form`.
        UnknownNameError: There is no such visibility, network, form or values.
    """

    actor: Actor  # type: ignore[assignment]  # another class than TD3's, with what TD3 asks of it
    actor_target: Actor  # type: ignore[assignment]  # as the actor
    critic: Critics  # type: ignore[assignment]  # as the actor
    critic_target: Critics  # type: ignore[assignment]  # as the actor
    shares_of_outputs: th.Tensor

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Discrete | spaces.MultiDiscrete,
        lr_schedule: Schedule,
        *,
        team: TeamSpaces | None = None,
        actor_visibility: Visibility = "joint",
        critic_visibility: Visibility = "joint",
        network: NetworkKind = "feed-forward",
        hidden_sizes: Sequence[int] = (225, 225),
        critic_hidden_sizes: Sequence[int] | None = None,
        critic_form: CriticForm = "joint",
        critic_values: CriticValues = "summed",
        activation_fn: type[nn.Module] = nn.ReLU,
        share_parameters: bool = False,
        use_agent_id: bool = False,
        topology: Topology = "complete",
        n_critics: int = 1,
        optimizer_class: type[th.optim.Optimizer] = th.optim.Adam,
        optimizer_kwargs: dict[str, Any] | None = None,
    ) -> None:
        # Plain values, set before nn.Module.__init__ has run; `_build` needs them.
        self.team = team or TeamSpaces(["agent"], {"agent": observation_space}, {"agent": action_space})
        self._whole_team = team
        self._check_spaces(observation_space, action_space)
        self.n_critics = n_critics
        self.critic_values: CriticValues = critic_values
        self.spec = NetworkSpec(
            *(network, tuple(hidden_sizes), activation_fn, share_parameters, use_agent_id), topology=topology
        )
        sizes = tuple(critic_hidden_sizes or hidden_sizes)
        self.critic_spec = dataclasses.replace(self.spec, hidden_sizes=sizes)
        self.actor_visibility: Visibility = actor_visibility
        self.critic_visibility: Visibility = critic_visibility
        self.critic_form: CriticForm = critic_form
        super().__init__(
            observation_space,
            action_space,  # type: ignore[arg-type]  # TD3 declares a Box
            lr_schedule,
            activation_fn=activation_fn,
            n_critics=n_critics,
            optimizer_class=optimizer_class,
            optimizer_kwargs=optimizer_kwargs,
        )

    def _check_spaces(self, observation_space: spaces.Space[Any], action_space: spaces.Space[Any]) -> None:
        is_flat = isinstance(observation_space, spaces.Box)
        if not is_flat or observation_space.shape != (self.team.observation_size,):
            raise SpaceError(
                f"{type(self).__name__}: observation space {observation_space}, expected a Box of shape "
                f"({self.team.observation_size},)"
            )
        if self._whole_team is not None and not are_equal(action_space, self.team.action_space):
            raise SpaceError(
                f"{type(self).__name__}: action space {action_space} is not the team's, which is "
                f"{self.team.action_space}; expected the action view joint"
            )

    def _build(self, lr_schedule: Schedule) -> None:
        self.head = ActionHead(self.team.column_categories)
        # Weighted with them, a sum over outputs is the sum over agents of the means over an agent's outputs.
        shares = [1 / size for size in self.team.output_sizes for _ in range(size)]
        self.register_buffer("shares_of_outputs", th.tensor(shares), persistent=False)
        super()._build(lr_schedule)

    def make_actor(self, features_extractor: Any = None) -> Actor:  # type: ignore[override]  # as above
        """SB3's hook: an actor with new weights."""
        return Actor(actor_net(self.team, self.actor_visibility, self.spec)).to(self.device)

    def make_critic(self, features_extractor: Any = None) -> Critics:  # type: ignore[override]  # as above
        """SB3's hook: critics with new weights."""
        arguments = self.team, self.critic_visibility, self.critic_spec, self.critic_form, self.critic_values
        return Critics([ActionValue(*arguments) for _ in range(self.n_critics)]).to(self.device)

    def team_policy(self) -> TeamPolicy:
        """The actors as a `TeamPolicy` that acts as they do; its own critic is untrained.

        Draws nothing from PyTorch's generator.

        Raises:
            ExpertError: The actor is centralized.
        """
        if self.actor_visibility != "own":
            raise ExpertError(
                "actor_visibility: expected own for a team of agents that act by themselves, got "
                f"{self.actor_visibility}; decentralize it by imitation"
            )
        return TeamPolicy.of_actors(self.actor.net, self.team, self.spec).to(self.device)

    def logits(self, observations: th.Tensor) -> th.Tensor:
        """Logits [B, C, K] of the joint action's columns for joint observations [B, I]."""
        return self.head.logits(self.actor(observations))

    def _predict(self, observation: PyTorchObs, deterministic: bool = False) -> th.Tensor:
        assert isinstance(observation, th.Tensor)
        outputs = self.actor(observation.float())
        return self.head.logits(outputs).argmax(dim=-1) if deterministic else self.drawn(outputs)

    def drawn(self, outputs: th.Tensor) -> th.Tensor:
        """Actions [B, C] drawn from the actor's outputs [B, O]: exploration needs no other noise."""
        logits = self.head.logits(outputs)
        return (logits + gumbel_noise(logits)).argmax(dim=-1)  # the Gumbel-max sample

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return {
            "observation_space": self.observation_space,
            "action_space": self.action_space,
            "lr_schedule": self._dummy_schedule,
            "team": self._whole_team,
            "actor_visibility": self.actor_visibility,
            "critic_visibility": self.critic_visibility,
            **self.spec.arguments(),
            "critic_hidden_sizes": self.critic_spec.hidden_sizes,
            "critic_form": self.critic_form,
            "critic_values": self.critic_values,
            "n_critics": self.n_critics,
            "optimizer_class": self.optimizer_class,
            "optimizer_kwargs": self.optimizer_kwargs,
        }


def gumbel_noise(like: th.Tensor) -> th.Tensor:
    """Standard Gumbel noise of the shape, type and device of `like`."""
    return -th.empty_like(like).exponential_().log()
