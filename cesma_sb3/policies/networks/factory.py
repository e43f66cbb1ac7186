"""Actors and critics of a team, by what each component sees and by the kind of network."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Literal, get_args

import torch as th
from torch import nn

from cesma_sb3.errors import ExpertError, LayoutError, check_choice
from cesma_sb3.policies.networks.custom import MakeModule, SeparateNet
from cesma_sb3.policies.networks.entities import EntityNet
from cesma_sb3.policies.networks.feed_forward import TeamNet
from cesma_sb3.policies.networks.images import PictureNet
from cesma_sb3.policies.networks.pooled import PooledNet
from cesma_sb3.policies.networks.recurrent import RecurrentTeamNet
from cesma_sb3.policies.networks.visibility import (
    Visibility,
    are_alike,
    egocentric_order,
    own_egocentric_order,
)
from cesma_sb3.spaces.communication import Topology, unheard_entries
from cesma_sb3.spaces.team_spaces import TeamSpaces

NetworkKind = Literal["feed-forward", "entities", "pooled", "recurrent", "cnn", "custom"]
CriticForm = Literal["joint", "additive"]
CriticValues = Literal["summed", "each"]
"""`summed`: the components' values add up to the team's. `each`: every agent has a value of its own."""


@dataclasses.dataclass(frozen=True)
class NetworkSpec:
    """How the components of an actor or critic are built.

    Raises:
        UnknownNameError: There is no such kind.
    """

    kind: NetworkKind = "feed-forward"
    """`feed-forward`: layers on the flat observation. `entities`: `EntityNet`, which needs layouts.
    `pooled`: `PooledNet`, of `joint` visibility alone. `recurrent`: `RecurrentTeamNet`, which has a memory.
    `cnn`: `PictureNet`, of pictures. `custom`: `SeparateNet`, of `module`."""
    hidden_sizes: tuple[int, ...] = (128, 128)
    """Hidden layers of each component; of `entities`, the width of an entity and then the layers of the
    head; of `pooled`, the units of an agent and then the layers of the head; of `recurrent`, the units of the
    memory alone; of `cnn`, the features of a picture and then the layers on them."""
    activation: type[nn.Module] = nn.ReLU
    """Module class between the layers."""
    share_parameters: bool = False
    """One set of weights for all agents' own components (`entities` and `pooled` always share). Feed-forward
    ones of alike agents see what there is of the others in the order around their own agent
    (`own_egocentric_order`); of `joint` visibility they are a component for each agent, all with the same
    weights, that see the whole team with their own agent first (`egocentric_order`)."""
    use_agent_id: bool = False
    """`entities` only: each agent's features carry its number, for agents that are not alike."""
    n_neighbours: int | None = None
    """`entities` only: how many landmarks, and how many other agents, an agent's network sees: the nearest.
    None: all."""
    topology: Topology = "complete"
    """Whose messages components of `own` visibility see."""
    module: MakeModule | None = None
    """`custom` only: makes an agent's network, `module(n_inputs, n_outputs, **module_kwargs)`."""
    module_kwargs: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """`custom` only: further arguments of `module`."""

    @property
    def fits_any_team(self) -> bool:
        """Whether all agents have the same weights and none has a number: they act for any team of agents."""
        return self.kind == "entities" and not self.use_agent_id

    def __post_init__(self) -> None:
        check_choice("network", self.kind, get_args(NetworkKind))

    def of_critic(self, visibility: Visibility, hidden_sizes: tuple[int, ...]) -> NetworkSpec:
        """How a critic beside such actors is built: as they are, or feed-forward where it cannot be."""
        without = {"recurrent", "custom"} | ({"pooled"} if visibility == "own" else set())
        kind: NetworkKind = "feed-forward" if self.kind in without else self.kind
        return dataclasses.replace(self, kind=kind, hidden_sizes=hidden_sizes)

    def arguments(self) -> dict[str, Any]:
        """The spec as keyword arguments of the policies that build networks from one (`TeamPolicy`)."""
        custom = {"module": self.module, "module_kwargs": dict(self.module_kwargs)}
        nearest = {} if self.n_neighbours is None else {"n_neighbours": self.n_neighbours}
        return {
            "network": self.kind,
            "hidden_sizes": self.hidden_sizes,
            "activation_fn": self.activation,
            "share_parameters": self.share_parameters,
            "use_agent_id": self.use_agent_id,
            **nearest,
            **({} if self.topology == "complete" else {"topology": self.topology}),
            **(custom if self.kind == "custom" else {}),
        }


Net = TeamNet | EntityNet | PooledNet | RecurrentTeamNet | PictureNet | SeparateNet


def make_net(
    team: TeamSpaces,
    visibility: Visibility,
    output_sizes: Sequence[int],
    spec: NetworkSpec,
    *,
    with_actions: bool = False,
    for_each_agent: bool = False,
) -> Net:
    """The network of an actor or a critic.

    Args:
        team: The team's spaces.
        visibility: What each component sees.
        output_sizes: Outputs for each agent.
        spec: How it is built.
        with_actions: The input is the joint observation followed by one-hot actions [B, output_size].
        for_each_agent: A component for each agent also where all of them see the same.

    Returns:
        A module [B, observation_size (+ output_size)] -> [B, sum of the components' outputs]. Without
        `for_each_agent` and shared parameters, feed-forward networks of `joint` visibility have one
        component, which gives all outputs, and so have recurrent ones without `for_each_agent`; all others
        have one an agent.

    Raises:
        LayoutError: Entities of a team without any; pictures of agents that observe none; or a memory of
            several sizes.
        ExpertError: A custom network that is no actor of each agent's own; a pooled one that does not see
            all; pictures and actions together.
        UnknownNameError: There is no such visibility.
    """
    check_choice("visibility", visibility, get_args(Visibility))
    layers: dict[str, Any] = {"hidden_sizes": spec.hidden_sizes, "activation": spec.activation}
    unheard = unheard_entries(team, spec.topology) if visibility == "own" else set()
    if spec.kind == "entities":
        arguments = layers | {"with_actions": with_actions, "use_agent_id": spec.use_agent_id}
        arguments |= {"unheard": unheard}
        return EntityNet(team, visibility, output_sizes, n_neighbours=spec.n_neighbours, **arguments)
    if spec.kind == "cnn":
        if with_actions:
            raise ExpertError("network cnn: gives no values of actions; expected another network")
        return PictureNet(team, visibility, output_sizes, **layers, share_parameters=spec.share_parameters)
    visible = _visible(team, visibility, with_actions, in_order_around=_are_one(team, spec), unheard=unheard)
    if spec.kind == "custom":
        if visibility != "own" or with_actions:
            raise ExpertError("network custom: is of each agent's own observation; expected another network")
        return _custom_net(visible, output_sizes, spec)
    if spec.kind == "pooled":
        return _pooled_net(team, visibility, output_sizes, spec)
    if visibility == "joint" and for_each_agent:
        visible *= team.n_agents
    if visibility == "joint" and _are_one(team, spec):
        visible = egocentric_order(team, with_actions)
    sizes = output_sizes if len(visible) == team.n_agents else [sum(output_sizes)]
    if spec.kind == "recurrent":
        return _recurrent_net(visible, sizes, spec)
    return TeamNet(visible, sizes, share_parameters=spec.share_parameters, **layers)


def _custom_net(
    visible: Sequence[Sequence[int]], output_sizes: Sequence[int], spec: NetworkSpec
) -> SeparateNet:
    if spec.module is None:
        raise ExpertError("network custom: expected a module, which makes each agent's network")
    return SeparateNet(visible, output_sizes, spec.module, spec.module_kwargs)


def _pooled_net(
    team: TeamSpaces, visibility: Visibility, output_sizes: Sequence[int], spec: NetworkSpec
) -> PooledNet:
    if visibility != "joint":
        raise ExpertError("network pooled: sees what all agents observe; expected visibility: joint")
    unseen = range(sum(team.observation_sizes), team.observation_size)
    return PooledNet(
        [[*range(own.start, own.stop), *unseen] for own in team.observation_slices],
        output_sizes,
        hidden_sizes=spec.hidden_sizes,
        activation=spec.activation,
    )


def _recurrent_net(
    visible: Sequence[Sequence[int]], output_sizes: Sequence[int], spec: NetworkSpec
) -> RecurrentTeamNet:
    if len(spec.hidden_sizes) != 1:
        raise LayoutError(
            f"hidden_sizes: expected one number, the units of a memory, got {list(spec.hidden_sizes)}"
        )
    return RecurrentTeamNet(
        visible,
        output_sizes,
        hidden_size=spec.hidden_sizes[0],
        activation=spec.activation,
        share_parameters=spec.share_parameters,
    )


def actor_net(team: TeamSpaces, visibility: Visibility, spec: NetworkSpec) -> Net:
    """The actor of a team: [B, observation_size] to the outputs of its actions [B, output_size]."""
    return make_net(team, visibility, team.output_sizes, spec)


class TeamValue(nn.Module):
    """The value of the team's state: the sum of its components' values.

    Call: joint observations [B, observation_size] -> [B, 1].
    """

    def __init__(self, team: TeamSpaces, visibility: Visibility, spec: NetworkSpec) -> None:
        super().__init__()
        # A feed-forward component that sees everything gives as many values as agents; summed, they are one.
        self.net = make_net(team, visibility, [1] * team.n_agents, spec)

    def forward(self, observations: th.Tensor) -> th.Tensor:
        """The team's value, [B, 1]."""
        return self.each(observations).sum(dim=1, keepdim=True)

    def each(self, observations: th.Tensor) -> th.Tensor:
        """The values that are summed: [B, n_agents]; agent by agent where components see their `own`."""
        values: th.Tensor = self.net(observations)
        return values


class ActionValue(nn.Module):
    """The team's value of a joint action: the sum of its components' values, or a value for each agent.

    Args:
        team: The team's spaces; its action columns must be categorical.
        visibility: What each component sees.
        spec: How the network is built.
        form: `joint`: a network of observations and actions. `additive`: linear in each agent's action,
            Q(o, a) = V(o) + sum over agents of A_i(o) . a_i, so that one pass values every action of
            every agent.
        values: `summed`, or `each`: agent i's own Q_i(o, a), as in MADDPG, or Q_i(o_i, a_i) where components
            see their `own`. `additive` is then linear in its own action alone: V_i + A_i . a_i, both of which
            depend on the others' actions where components see all.
        with_policy: The network of an additive form also gives the logits of every action, so that it is
            actor and critic in one.

    Call: joint observations [B, observation_size], relaxed one-hot actions [B, output_size] -> [B]; of `each`
        [B, n_agents].

    Raises:
        ExpertError: The network has a memory, or is pooled.
        UnknownNameError: There is no such form, or no such values.

    Source: section 4.2 (the sum of separate values as the team's value) for the additive form; Lowe et al.
        (2017) for a critic of each agent.
    """

    def __init__(
        self,
        team: TeamSpaces,
        visibility: Visibility,
        spec: NetworkSpec,
        form: CriticForm,
        values: CriticValues = "summed",
        *,
        with_policy: bool = False,
    ) -> None:
        super().__init__()
        check_choice("critic_form", form, get_args(CriticForm))
        check_choice("critic_values", values, get_args(CriticValues))
        self.form = form
        self.values = values
        self.visibility = visibility
        each = values == "each"
        if spec.kind in {"recurrent", "pooled"}:
            raise ExpertError(f"network: a critic of actions is feed-forward or entities, not {spec.kind}")
        owners = [agent for agent, size in enumerate(team.output_sizes) for _ in range(size)]
        is_own = th.tensor(owners) == th.arange(team.n_agents).unsqueeze(1)
        self.register_buffer("_is_own", is_own.unsqueeze(1), persistent=False)
        if form == "joint":
            ones = [1] * team.n_agents
            self.net = make_net(team, visibility, ones, spec, with_actions=True, for_each_agent=each)
            return
        self.sees_others = each and visibility == "joint"
        sizes = [1 + (1 + with_policy) * size for size in team.output_sizes]
        others = {"with_actions": self.sees_others, "for_each_agent": self.sees_others}
        self.net = make_net(team, visibility, sizes, spec, **others)
        # Of each agent in turn: its value, its advantages, and its logits if there are any.
        starts = [sum(sizes[:agent]) for agent in range(team.n_agents)]
        advantages = [s + 1 + k for s, n in zip(starts, team.output_sizes, strict=True) for k in range(n)]
        logits = [s + 1 + n + k for s, n in zip(starts, team.output_sizes, strict=True) for k in range(n)]
        self.register_buffer("_values", th.tensor(starts), persistent=False)
        self.register_buffer("_advantages", th.tensor(advantages), persistent=False)
        self.register_buffer("_logits", th.tensor(logits), persistent=False)

    sees_others: bool
    """Of an additive form, whether each agent's part of the table depends on the others' actions."""
    _values: th.Tensor
    _advantages: th.Tensor
    _logits: th.Tensor
    _is_own: th.Tensor

    def forward(self, observations: th.Tensor, actions: th.Tensor) -> th.Tensor:
        """The team's value [B], or each agent's [B, n_agents], of observations and actions."""
        if self.form == "additive":
            return self.of_table(self.table(observations, actions), actions)
        joint: th.Tensor = self.net(th.cat([observations, actions], dim=1))
        return joint if self.values == "each" else joint.sum(dim=1)

    def table(self, observations: th.Tensor, others: th.Tensor) -> th.Tensor:
        """All values V_i and A_i of an additive form.

        Args:
            observations: Joint observations [B, observation_size].
            others: Relaxed one-hot actions [B, output_size], of which agent i's part of the table sees all
                but agent i's; read only if the table `sees_others`.

        Returns:
            [B, n_agents + output_size], as the network gives them; with logits, these too.
        """
        assert self.form == "additive"
        if self.sees_others:
            return self._with_own(observations, th.zeros_like(others), others)
        outputs: th.Tensor = self.net(observations)
        return outputs

    def of_table(self, table: th.Tensor, actions: th.Tensor) -> th.Tensor:
        """The values of actions [B, output_size] that a `table` holds.

        They are linear in the actions: those of independent choices' probabilities are the expected values.

        Returns:
            As `forward`: [B], or [B, n_agents].
        """
        advantages = table[:, self._advantages] * actions
        if self.values == "each":
            own: th.Tensor = table[:, self._values] + advantages @ self._is_own[:, 0].T.to(actions.dtype)
            return own
        additive: th.Tensor = table[:, self._values].sum(dim=1) + advantages.sum(dim=1)
        return additive

    def logits(self, table: th.Tensor) -> th.Tensor:
        """The logits [B, output_size] in a `table` that was made `with_policy`."""
        return table[:, self._logits]

    def q_own_action(self, observations: th.Tensor, own: th.Tensor, others: th.Tensor) -> th.Tensor:
        """Q_i(o, a) of `each` agent i with its own action from one joint action and the others' from another.

        All N joint actions are valued in one pass, and no gradient of Q_i reaches the others' actions.

        Args:
            observations: Joint observations [B, observation_size].
            own: Relaxed one-hot actions [B, output_size], of which Q_i sees agent i's.
            others: The same, of which Q_i sees all but agent i's; without gradient.

        Returns:
            [B, n_agents] float32.
        """
        assert self.values == "each"
        if self.form == "additive":
            return self.of_table(self.table(observations, others), own)
        if self.visibility == "own":  # each component sees its own action alone
            alone: th.Tensor = self(observations, own)
            return alone
        return self._with_own(observations, own, others)

    def _with_own(self, observations: th.Tensor, own: th.Tensor, others: th.Tensor) -> th.Tensor:
        """What each agent's component gives for its `own` action and those of the `others`, in one pass."""
        if isinstance(self.net, EntityNet):
            seen = (th.cat([observations, actions], dim=1) for actions in (own, others))
            entities: th.Tensor = self.net(*seen)
            return entities
        actions_NBO = th.where(self._is_own, own, others)
        observations_NBI = observations.expand(len(actions_NBO), -1, -1)
        assert isinstance(self.net, TeamNet)
        return self.net.forward_per_component(th.cat([observations_NBI, actions_NBO], dim=2))


def _are_one(team: TeamSpaces, spec: NetworkSpec) -> bool:
    """Whether feed-forward components of alike agents share their weights."""
    return spec.kind == "feed-forward" and spec.share_parameters and are_alike(team)


def _visible(
    team: TeamSpaces,
    visibility: Visibility,
    with_actions: bool,
    *,
    in_order_around: bool,
    unheard: Collection[int],
) -> list[list[int]]:
    """Columns of the input that each feed-forward component sees."""
    offset = team.observation_size
    if visibility == "joint":
        return [list(range(offset + (team.output_size if with_actions else 0)))]
    own = [list(range(s.start, s.stop)) for s in team.observation_slices]
    visible = own_egocentric_order(team) if in_order_around else own
    visible = [[column for column in seen if column not in unheard] for seen in visible]
    if with_actions:
        for seen, actions in zip(visible, team.output_slices, strict=True):
            seen += [offset + column for column in range(actions.start, actions.stop)]
    return visible
