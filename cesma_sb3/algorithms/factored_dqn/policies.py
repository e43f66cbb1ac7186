"""Value networks of `FactoredDQN`: one value for each category of each action column."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch as th
from gymnasium import spaces
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import PyTorchObs, Schedule
from torch import nn

from cesma_sb3.errors import ExpertError
from cesma_sb3.policies.distributions import ActionHead
from cesma_sb3.policies.networks.factory import NetworkKind, NetworkSpec, actor_net, make_net
from cesma_sb3.policies.networks.mixers import MixerKind, make_mixer
from cesma_sb3.policies.networks.recurrent import RecurrentTeamNet, step_network
from cesma_sb3.policies.networks.visibility import Visibility
from cesma_sb3.policies.stateful_actor import DeviceState, with_host_state
from cesma_sb3.policies.team_policy import TeamPolicy
from cesma_sb3.spaces.action_views import OneAtATimeActions, ProductActions
from cesma_sb3.spaces.agent_spaces import are_equal
from cesma_sb3.spaces.communication import Topology
from cesma_sb3.spaces.team_spaces import TeamSpaces


class OneAtATimeNet(nn.Module):
    """Values of the one-at-a-time view from a network that is made agent by agent.

    The agents' outputs for doing nothing are averaged, as the value of nobody moving; an agent's output for a
    move is its advantage over that. So the networks of different agents need not agree on the value of the
    state before their moves can be compared: moves differ by little and states by much.

    Args:
        team: Agents with one categorical column each, whose category 0 is doing nothing.
        net: [B, I] -> [B, output_size], as `actor_net` makes it.

    Call: joint observations [B, I] -> [B, sum of (categories - 1), plus 1], in the order of
        `OneAtATimeActions`.
    """

    def __init__(self, team: TeamSpaces, net: nn.Module) -> None:
        super().__init__()
        self.net = net
        idle = [where.start for where in team.column_outputs]
        moves = [k for where in team.column_outputs for k in range(where.start + 1, where.stop)]
        self.register_buffer("_idle", th.tensor(idle), persistent=False)
        self.register_buffer("_moves", th.tensor(moves), persistent=False)

    _idle: th.Tensor
    _moves: th.Tensor

    def forward(self, observations: th.Tensor) -> th.Tensor:
        """Values of the view's actions, [B, n]."""
        outputs = self.net(observations)
        nobody = outputs[:, self._idle].mean(dim=1, keepdim=True)
        return th.cat([nobody, nobody + outputs[:, self._moves]], dim=1)


class ProductNet(nn.Module):
    """Values of all joint actions, the `product` view's, from what a network makes of each agent.

    Args:
        team: Agents with categorical columns.
        visibility: What the network sees of each agent.
        spec: How the network is built; each agent's features are as many as the last of its hidden layers.
        n_actions: Joint actions.

    Call: joint observations [B, I] -> [B, n_actions].
    """

    def __init__(self, team: TeamSpaces, visibility: Visibility, spec: NetworkSpec, n_actions: int) -> None:
        super().__init__()
        width = spec.hidden_sizes[-1]
        self.net = make_net(team, visibility, [width] * team.n_agents, spec)
        self.head = nn.Sequential(spec.activation(), nn.Linear(width * team.n_agents, n_actions))

    def forward(self, observations: th.Tensor) -> th.Tensor:
        """Values of the joint actions, [B, n_actions]."""
        values: th.Tensor = self.head(self.net(observations))
        return values


class QNetwork(nn.Module):
    """A value for every category of every column, and the mixed value of chosen ones.

    Args:
        net: Joint observations [B, I] -> a value for each category of each column [B, O].
        mixer: One of `cesma_sb3.policies.networks.mixers`.
        head: Reads the outputs as columns.
    """

    def __init__(self, net: nn.Module, mixer: nn.Module, head: ActionHead) -> None:
        super().__init__()
        self.net = net
        self.mixer = mixer
        self.head = head

    def forward(self, observations: th.Tensor, masks: th.Tensor | None = None) -> th.Tensor:
        """Observations [B, I], masks [B, M] bool or None -> values [B, C, K]: see `ActionHead.logits`."""
        return self.head.logits(self.net(observations), masks)

    @property
    def is_recurrent(self) -> bool:
        """Whether the values depend on what was seen before."""
        return isinstance(self.net, RecurrentTeamNet)

    def unroll(self, observations: th.Tensor, sizes: Sequence[int]) -> th.Tensor:
        """Whole episodes, as `RecurrentTeamNet.unroll_packed` takes them, to values [S, C, K].

        Args:
            observations: [S, I].
            sizes: How many episodes each timestep has.
        """
        if isinstance(self.net, RecurrentTeamNet):
            return self.head.logits(self.net.unroll_packed(observations, sizes))
        return self.forward(observations)

    def mixed(self, values_BCK: th.Tensor, categories_BC: th.Tensor, observations: th.Tensor) -> th.Tensor:
        """The value of chosen categories [B, C] int64: [B, 1], or [B, N] of independent learners."""
        chosen = values_BCK.gather(2, categories_BC.unsqueeze(2)).squeeze(2)
        mixed: th.Tensor = self.mixer(chosen, observations)
        return mixed


class FactoredQPolicy(BasePolicy):
    """Value network and target network of `FactoredDQN`; it acts greedily.

    | visibility | mixer | known as |
    |---|---|---|
    | `joint` | `sum` | the paper's centralized sum of Q-values |
    | `own` | `sum` | VDN |
    | `own` | `none` | IQL |
    | `own` | `monotonic` | QMIX |

    Args:
        observation_space: Box [I].
        action_space: Discrete or MultiDiscrete.
        lr_schedule: Learning rate by remaining progress (1 to 0).
        team: The team's spaces. Without them, or with an action space that is not the team's (the views
            `product` and `one-at-a-time`), the environment is one agent's that sees everything.
        visibility: What each agent's values see.
        mixer: How values become the team's.
        network: `feed-forward`; `entities` for teams whose layouts name them (`EntityNet`), also in the views
            `one-at-a-time` (`OneAtATimeNet`) and `product` (`ProductNet`); `pooled`, of `joint`
            visibility (`PooledNet`); or `recurrent`, with a memory, for `RecurrentFactoredDQN`.
        hidden_sizes: Hidden layers of each component (the paper's DQNs: 200 units, E.3); of `entities`, the
            width of an entity and then the layers of the head; of `recurrent`, the units of the memory.
        mixer_width: Units of the `monotonic` mixer.
        mixer_hidden: Hidden units of the networks that give its weights.
        activation_fn: Module class put after each hidden layer.
        share_parameters: One set of weights for all agents' components (`feed-forward`): see `NetworkSpec`.
        use_agent_id: A one-hot agent number as further input of `entities`, for agents that are not alike.
        topology: Whose messages components that see their `own` listen to.
        optimizer_class: Optimizer of the values.
        optimizer_kwargs: Its arguments, less the learning rate.

    Source: sections 4.2 and 6.5, appendix E.3.
    """

    optimizer: th.optim.Optimizer

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Discrete | spaces.MultiDiscrete,
        lr_schedule: Schedule,
        *,
        team: TeamSpaces | None = None,
        visibility: Visibility = "joint",
        mixer: MixerKind = "sum",
        network: NetworkKind = "feed-forward",
        hidden_sizes: Sequence[int] = (200, 200),
        mixer_width: int = 32,
        mixer_hidden: int = 64,
        activation_fn: type[nn.Module] = nn.ReLU,
        share_parameters: bool = False,
        use_agent_id: bool = False,
        topology: Topology = "complete",
        optimizer_class: type[th.optim.Optimizer] = th.optim.Adam,
        optimizer_kwargs: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(
            observation_space,
            action_space,
            optimizer_class=optimizer_class,
            optimizer_kwargs=optimizer_kwargs,
        )
        self.visibility: Visibility = visibility
        self.spec = NetworkSpec(
            *(network, tuple(hidden_sizes), activation_fn, share_parameters, use_agent_id), topology=topology
        )
        self._mixer: dict[str, Any] = {
            "mixer": mixer,
            "mixer_width": mixer_width,
            "mixer_hidden": mixer_hidden,
        }
        self._whole_team = team
        self.acts_as_team = team is not None and are_equal(action_space, team.action_space)
        self.view = _product_view(team, action_space)
        """The action view, if it is `product`: what each of its actions is."""
        if team is not None and self.acts_as_team:
            self.team = team
        else:
            self.team = TeamSpaces(["agent"], {"agent": observation_space}, {"agent": action_space})
        self.head = ActionHead(self.team.column_categories)
        self.q_net, self.q_net_target = self.make_q_net(), self.make_q_net()
        self.q_net_target.load_state_dict(self.q_net.state_dict())
        self.q_net_target.requires_grad_(False)
        self.optimizer = self.optimizer_class(
            self.q_net.parameters(),
            lr=lr_schedule(1.0),  # type: ignore[call-arg]  # torch's base class has none, every optimizer has
            **self.optimizer_kwargs,
        )

    def make_q_net(self) -> QNetwork:
        """A value network with new weights."""
        mixer = make_mixer(
            self._mixer["mixer"],
            self.team,
            width=self._mixer["mixer_width"],
            hyper_hidden=self._mixer["mixer_hidden"],
        )
        return QNetwork(self._make_net(), mixer, self.head)

    def _make_net(self) -> nn.Module:
        whole = self._whole_team
        if self.spec.kind == "entities" and whole is not None and not self.acts_as_team:
            if self.view is not None:
                return ProductNet(whole, self.visibility, self.spec, self.view.n_actions)
            if not are_equal(self.action_space, OneAtATimeActions(whole).space):
                raise ExpertError(
                    f"FactoredDQN: entity networks have no values of {self.action_space}; expected network: "
                    "feed-forward, or the action view joint, product or one-at-a-time"
                )
            return OneAtATimeNet(whole, actor_net(whole, self.visibility, self.spec))
        return actor_net(self.team, self.visibility, self.spec)

    @property
    def is_recurrent(self) -> bool:
        """Whether the value network has a memory."""
        return self.q_net.is_recurrent

    def values(self, observations: th.Tensor, masks: th.Tensor | None = None) -> th.Tensor:
        """Values [B, C, K] of the joint action's columns for joint observations [B, I]."""
        values: th.Tensor = self.q_net(observations, masks)
        return values

    def forward(self, observation: PyTorchObs, deterministic: bool = True) -> th.Tensor:
        """Greedy actions [B, ...] for observations [B, I]."""
        return self._predict(observation, deterministic)

    def _predict(self, observation: PyTorchObs, deterministic: bool = True) -> th.Tensor:
        assert isinstance(observation, th.Tensor)
        return self.values(observation.float()).argmax(dim=-1)

    def read(
        self,
        observation: npt.NDArray[Any] | dict[str, npt.NDArray[Any]],
        action_masks: npt.NDArray[np.bool_] | None = None,
        state: DeviceState | None = None,
        episode_start: npt.NDArray[np.bool_] | None = None,
    ) -> tuple[th.Tensor, bool, DeviceState | None]:
        """Values of the joint action's columns, with the arguments of SB3's `predict`.

        Args:
            observation: [I] or [B, I] float32.
            action_masks: Available categories [M] or [B, M] bool, or None.
            state: What the call of the step before returned, ([B, S] float32,), if there is a memory.
            episode_start: Where an episode begins with this observation, [B] bool.

        Returns:
            Values [B, C, K], whether there was a batch of observations, and the state for the next step.
        """
        self.set_training_mode(False)
        tensor, vectorized = self.obs_to_tensor(observation)
        assert isinstance(tensor, th.Tensor)
        masks = None
        if action_masks is not None:
            masks = th.as_tensor(action_masks, device=self.device).reshape(-1, self.head.mask_size)
        with th.no_grad():
            outputs, state = step_network(self.q_net.net, tensor.float(), state, episode_start)
            return self.head.logits(outputs, masks), vectorized, state

    def write(self, categories_BC: th.Tensor, vectorized: bool) -> npt.NDArray[Any]:
        """Categories [B, C] as actions of the policy's own space, [B, ...] or a single one."""
        shape = self.action_space.shape
        assert shape is not None
        actions: npt.NDArray[Any] = categories_BC.cpu().numpy().reshape(-1, *shape)
        return actions if vectorized else actions.squeeze(axis=0)

    @with_host_state
    def predict(  # one argument more than SB3's, as in sb3-contrib's maskable policies
        self,
        observation: npt.NDArray[Any] | dict[str, npt.NDArray[Any]],
        state: DeviceState | None = None,
        episode_start: npt.NDArray[np.bool_] | None = None,
        deterministic: bool = False,
        action_masks: npt.NDArray[np.bool_] | None = None,
    ) -> tuple[npt.NDArray[Any], DeviceState | None]:
        """Greedy actions, whatever `deterministic` is: exploration is the algorithm's.

        Args:
            observation: [I] or [B, I] float32.
            state: What the call of the step before returned, if the networks have a memory.
            episode_start: Where an episode begins with this observation, [B] bool.
            deterministic: Unused.
            action_masks: Available categories [M] or [B, M] bool, or None.

        Returns:
            Actions [...] or [B, ...], and the state for the next step; without a memory, `state` as it came.
        """
        values, vectorized, state = self.read(observation, action_masks, state, episode_start)
        return self.write(values.argmax(dim=-1), vectorized), state

    def team_policy(self) -> TeamPolicy:
        """The agents' value networks as a team whose likeliest actions are the greedy ones.

        Draws nothing from PyTorch's generator.

        Raises:
            ExpertError: They see more than their own agent's observation, or act in another view.
        """
        if self.visibility != "own" or not self.acts_as_team:
            raise ExpertError(
                "FactoredDQN: its values cannot be taken apart by agent; expected visibility: own, with the "
                "team's spaces and the action view joint"
            )
        return TeamPolicy.of_actors(self.q_net.net, self.team, self.spec).to(self.device)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return {
            "observation_space": self.observation_space,
            "action_space": self.action_space,
            "lr_schedule": self._dummy_schedule,
            "team": self._whole_team,
            "visibility": self.visibility,
            **self.spec.arguments(),
            **self._mixer,
            "optimizer_class": self.optimizer_class,
            "optimizer_kwargs": self.optimizer_kwargs,
        }


def _product_view(team: TeamSpaces | None, space: spaces.Space[Any]) -> ProductActions | None:
    """The view whose actions are all joint actions of the team, if this is its space."""
    if team is None or not isinstance(space, spaces.Discrete) or team.n_columns < 2:
        return None
    if not team.is_discrete or math.prod(team.column_categories) != space.n:
        return None
    return ProductActions(team, max_actions=int(space.n))
