"""Networks over sets of entities: blind to the order of what an agent sees, and shared by all agents.

An agent's observation is read by its layout: its own features, and groups of alike entities (landmarks, other
agents). Every entity is encoded together with the agent's own features and with its relation to the entities
of the other groups; each group is summed up by its maximum. One network serves all agents, and does not know
how many entities there are. Where it sees only the nearest of each group, a crowd costs an agent no more than
a few, and looks to it like a few.

Shape suffixes: B batch, N agents, K entities of a group, J entities of another, F features, H hidden units.

Source: deep sets (Zaheer et al., 2017) with relations between groups; layouts:
`cesma_sb3.spaces.layout`.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Sequence
from itertools import pairwise

import torch as th
from torch import nn

from cesma_sb3.errors import LayoutError
from cesma_sb3.policies.networks.amax import amax
from cesma_sb3.policies.networks.columns import Columns
from cesma_sb3.policies.networks.visibility import Visibility
from cesma_sb3.spaces.team_spaces import TeamSpaces

Rows = list[list[int]]


class EntityNet(nn.Module):
    """One permutation-invariant network for every agent of a team.

    Args:
        team: A team whose agents all have layouts with the same parts.
        visibility: `own`: an agent's network sees its own observation. `joint`: what it sees of each other
            agent is joined by that agent's own features, so that the whole team is seen.
        output_sizes: Outputs of each agent; the same number for all.
        hidden_sizes: H of the entities, then the hidden layers of the head (at least one).
        activation: Module class between the layers.
        with_actions: The input is the joint observation followed by one-hot actions: an agent's own count as
            its own features.
        use_agent_id: Each agent's features carry its one-hot number: for agents that are not alike. The
            network then serves this team alone.
        n_neighbours: The nearest entities of each group that an agent's network sees, by the length of their
            first pair (x, y); of groups that are not planar, it sees all. None: all of all groups.
        unheard: Entries of messages that the agents do not listen to: zeros in their place.

    Call: [B, observation_size (+ output_size)] float32 -> [B, sum(output_sizes)] float32, agent by agent.

    Raises:
        LayoutError: The agents' layouts differ, or have no entities, or none that are planar where the
            nearest are to be seen, or the agents have different actions.
    """

    def __init__(
        self,
        team: TeamSpaces,
        visibility: Visibility,
        output_sizes: Sequence[int],
        *,
        hidden_sizes: Sequence[int] = (64, 64),
        activation: type[nn.Module] = nn.ReLU,
        with_actions: bool = False,
        use_agent_id: bool = False,
        n_neighbours: int | None = None,
        unheard: Collection[int] = (),
    ) -> None:
        super().__init__()
        if len(set(output_sizes)) != 1:
            raise LayoutError("entity networks: the agents have different actions; use feed-forward networks")
        self.activation = activation()
        self.reader = EntityReader(
            team,
            joins_teammates=visibility == "joint" and team.n_agents > 1,
            with_actions=with_actions,
            use_agent_id=use_agent_id,
            n_neighbours=n_neighbours,
            unheard=unheard,
        )
        self._build(self.reader.n_own, self.reader.n_features, hidden_sizes, output_sizes[0])

    def _build(
        self, n_own: int, n_features: dict[str, int], hidden_sizes: Sequence[int], n_outputs: int
    ) -> None:
        """The layers, for own features and for groups of entities with so many features."""
        groups, (width, *head) = tuple(n_features), hidden_sizes
        # One map of the own features for all that reads them: each group, and the summary of the agent
        # itself.
        self.encode_own = nn.Linear(n_own, width * (1 + len(groups)))
        self.encode = nn.ModuleDict({name: nn.Linear(n, width, bias=False) for name, n in n_features.items()})
        pairs = [(name, other) for name in groups for other in groups if name != other]
        self.relate = nn.ModuleDict(
            {
                f"{name}>{other}": nn.ModuleList(
                    [
                        nn.Linear(n_features[name], width),
                        nn.Linear(n_features[other], width, bias=False),
                        nn.Linear(width, width, bias=False),
                    ]
                )
                for name, other in pairs
            }
        )
        self.combine = nn.ModuleDict({name: nn.Linear(width, width) for name in groups})
        layers: list[nn.Module] = []
        sizes = [width * (1 + len(groups)), *head]
        for before, after in pairwise(sizes):
            layers += [nn.Linear(before, after), type(self.activation)()]
        self.head = nn.Sequential(*layers, nn.Linear(sizes[-1], n_outputs))

    def forward(self, x_BI: th.Tensor, others_BI: th.Tensor | None = None) -> th.Tensor:
        """Outputs of every agent, [B, sum(output_sizes)] float32.

        Args:
            x_BI: What the agents' own features are read from, and all entities.
            others_BI: What an agent sees of the others' own features (`joint` visibility); None: `x_BI`.
        """
        own_BNF, entities = self.reader(x_BI, x_BI if others_BI is None else others_BI)
        summary_BNH, *context = self.encode_own(own_BNF).chunk(1 + len(entities), dim=-1)
        summaries = [self.activation(summary_BNH)]
        for (name, entities_BNKF), context_BNH in zip(entities.items(), context, strict=True):
            encoded_BNKH = self.encode[name](entities_BNKF) + context_BNH.unsqueeze(2)
            for other in entities:
                if other != name:
                    encoded_BNKH = encoded_BNKH + self._relation(name, other, entities)
            inside_BNKH = self.activation(self.combine[name](self.activation(encoded_BNKH)))
            summaries.append(amax(inside_BNKH, dim=2).squeeze(2))
        outputs: th.Tensor = self.head(th.cat(summaries, dim=-1)).flatten(1)
        return outputs

    def _relation(self, name: str, other: str, entities: dict[str, th.Tensor]) -> th.Tensor:
        """What the entities of a group have to do with those of another: [B, N, K, H]."""
        layers = self.relate[f"{name}>{other}"]
        assert isinstance(layers, nn.ModuleList)
        first, second, merge = layers
        # The greatest activation over the pairs is that of the greatest sum: activations that rise need
        # no tensor of all pairs.
        greatest_BN1H = amax(second(entities[other]), dim=2)
        related: th.Tensor = merge(self.activation(first(entities[name]) + greatest_BN1H))
        return related

    def component(self, index: int, inputs: Sequence[int] | None = None) -> EntityNet:
        """One agent's network alone, on its own observation: [B, own observation] -> [B, its outputs].

        Only for `own` visibility: no other network can be taken apart.

        Args:
            index: Which agent.
            inputs: The columns of its own observation, as for other networks.
        """
        alone = copy.deepcopy(self)
        alone.reader = self.reader.agent(index)
        return alone


class EntityReader(nn.Module):
    """Own features and entities of each agent, read from one flat input; without weights.

    Args:
        team: A team whose agents all have layouts with the same parts.
        joins_teammates: The entities that are the other agents carry these agents' own features.
        with_actions: The input is the joint observation followed by one-hot actions.
        use_agent_id: Each agent's own features, and the entity that stands for it, carry its one-hot number.
        n_neighbours: Entities of a planar group that are read: the nearest, in any order. None: all.
        unheard: Columns of messages that are read as zeros.

    Call: [B, observation_size (+ output_size)] float32 twice, the second for the own features that
        teammates carry -> own features [B, N, F], and by group the entities [B, N, K, F].

    Raises:
        LayoutError: The agents' layouts differ, or have no entities, or none that are planar where the
            nearest are to be read, or no other agents to join.
    """

    def __init__(
        self,
        team: TeamSpaces,
        *,
        joins_teammates: bool,
        with_actions: bool,
        use_agent_id: bool,
        n_neighbours: int | None = None,
        unheard: Collection[int] = (),
    ) -> None:
        super().__init__()
        own, groups, self.teammates = _read_layouts(team, unheard)
        self.n_neighbours = n_neighbours
        layout = team.layouts[team.agents[0]].observation
        self._planar = {part.name for part in layout.parts if part.is_planar and part.size} & set(groups)
        if n_neighbours is not None and not self._planar:
            raise LayoutError(
                "n_neighbours: expected layouts with a planar group of entities, of which some are nearest"
            )
        if joins_teammates and self.teammates is None:
            raise LayoutError(
                "entity networks: the layout has no part of kind 'agents', which `joint` visibility needs"
            )
        if with_actions:
            for features, actions in zip(own, team.output_slices, strict=True):
                features += [team.observation_size + c for c in range(actions.start, actions.stop)]
        self.joins_teammates = joins_teammates
        self.use_agent_id = use_agent_id
        self.starts = [where.start for where in team.observation_slices]
        self.own = Columns(th.tensor(own, dtype=th.long))
        self.groups = nn.ModuleDict(
            {name: Columns(th.tensor(columns, dtype=th.long)) for name, columns in groups.items()}
        )
        others = [[j for j in range(team.n_agents) if j != i] for i in range(team.n_agents)]
        ids = th.eye(team.n_agents)
        self.register_buffer("_others", th.tensor(others, dtype=th.long), persistent=False)  # [N, N - 1]
        self.register_buffer("_ids", ids, persistent=False)  # [N, N]
        self.register_buffer("_teammate_ids", ids[self._others], persistent=False)  # [N, N - 1, N]

        n_ids = team.n_agents if use_agent_id else 0
        self.n_own = len(own[0]) + n_ids
        """Own features of an agent."""
        self.n_features = {name: len(columns[0][0]) for name, columns in groups.items()}
        """Features of an entity, by group."""
        if self.teammates is not None:
            self.n_features[self.teammates] += self.n_own if joins_teammates else n_ids

    _others: th.Tensor
    _ids: th.Tensor
    _teammate_ids: th.Tensor

    def forward(self, x_BI: th.Tensor, others_BI: th.Tensor) -> tuple[th.Tensor, dict[str, th.Tensor]]:
        """Own features and entities: the shapes are in the docstring of the class."""
        own_BNF = self._own(x_BI)
        entities = {name: group(x_BI) for name, group in self.groups.items()}
        mates = self.teammates
        if mates is not None and self.joins_teammates:
            seen_BNF = own_BNF if others_BI is x_BI else self._own(others_BI)
            entities[mates] = th.cat([entities[mates], seen_BNF[:, self._others]], dim=-1)
        elif mates is not None and self.use_agent_id:
            ids = self._teammate_ids.expand(x_BI.shape[0], -1, -1, -1)
            entities[mates] = th.cat([entities[mates], ids], dim=-1)
        return own_BNF, {name: self._nearest(name, group) for name, group in entities.items()}

    def _nearest(self, name: str, entities_BNKF: th.Tensor) -> th.Tensor:
        """The entities of a group that are seen, all or the nearest."""
        n = self.n_neighbours
        if n is None or name not in self._planar or entities_BNKF.shape[2] <= n:
            return entities_BNKF
        distance_BNK = entities_BNKF[..., :2].square().sum(dim=-1)
        nearest_BNK = distance_BNK.topk(n, dim=2, largest=False, sorted=False).indices
        return entities_BNKF.gather(2, nearest_BNK.unsqueeze(-1).expand(-1, -1, -1, entities_BNKF.shape[3]))

    def _own(self, x_BI: th.Tensor) -> th.Tensor:
        own_BNF: th.Tensor = self.own(x_BI)
        if self.use_agent_id:
            own_BNF = th.cat([own_BNF, self._ids.expand(x_BI.shape[0], -1, -1)], dim=-1)
        return own_BNF

    def agent(self, index: int) -> EntityReader:
        """The reader of one agent alone, from its own observation [B, own observation].

        Only of readers that join no teammates: others read what other agents observe.
        """
        assert not self.joins_teammates
        alone = copy.deepcopy(self)
        alone.own = self.own.only(index).shifted(self.starts[index])
        for name, columns in self.groups.items():
            assert isinstance(columns, Columns)
            alone.groups[name] = columns.only(index).shifted(self.starts[index])
        alone._ids = self._ids[index : index + 1].clone()
        alone._teammate_ids = self._teammate_ids[index : index + 1].clone()
        alone.starts = [0]
        return alone


def _read_layouts(
    team: TeamSpaces, unheard: Collection[int]
) -> tuple[Rows, dict[str, list[Rows]], str | None]:
    """Columns of the joint observation: own features [N, F], entities [N, K, F], the agents' group.

    Messages count only in a team in which an agent can send some; without a sender they never change.
    """
    layouts = [team.layouts[agent].observation for agent in team.agents]
    if any(layout.parts != layouts[0].parts for layout in layouts):
        raise LayoutError(
            "entity networks: the agents' observation layouts differ; use feed-forward networks"
        )
    has_senders = any(part.kind == "message" for agent in team.agents for part in team.layouts[agent].action)
    own: Rows = [[] for _ in team.agents]
    groups: dict[str, list[Rows]] = {}
    teammates = None
    for agent, (layout, where) in enumerate(zip(layouts, team.observation_slices, strict=True)):
        for part in layout.parts:
            start = where.start + layout.slice(part.name).start
            entities = [
                [-1 if column in unheard else column for column in range(first, first + part.size)]
                for first in range(start, start + part.width, part.size or 1)
            ]
            if part.kind == "own":
                own[agent] += [column for entity in entities for column in entity]
            elif part.count and (part.kind != "message" or has_senders):
                groups.setdefault(part.name, []).append(entities)
                if part.kind == "agents":
                    teammates = part.name
    if not groups:
        raise LayoutError(
            "entity networks: the layouts of this team have no entities; use feed-forward networks"
        )
    return own, groups, teammates
