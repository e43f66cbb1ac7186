"""Networks over sets of entities: blind to the order of what an agent sees, and shared by all agents.

An agent's observation is read by its layout: its own features, and groups of alike entities (landmarks, other
agents). Every entity is encoded together with the agent's own features and with its relation to the entities
of the other groups; each group is summed up by its maximum. One network serves all agents, and does not know
how many entities there are.

Shape suffixes: B batch, N agents, K entities of a group, J entities of another, F features, H hidden units.

Source: deep sets (Zaheer et al., 2017) with relations between groups; layouts:
`cesma_sb3.spaces.layout`.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from itertools import pairwise

import torch as th
from torch import nn

from cesma_sb3.errors import LayoutError
from cesma_sb3.policies.networks.visibility import Visibility
from cesma_sb3.spaces.team_spaces import TeamSpaces

Columns = list[list[int]]


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

    Call: [B, observation_size (+ output_size)] float32 -> [B, sum(output_sizes)] float32, agent by agent.

    Raises:
        LayoutError: The agents' layouts differ, or have no entities, or the agents have different actions.
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
    ) -> None:
        super().__init__()
        if len(set(output_sizes)) != 1:
            raise LayoutError("entity networks: the agents have different actions; use feed-forward networks")
        self.activation = activation()
        own, groups, teammates = _columns(team)
        if with_actions:
            for features, actions in zip(own, team.output_slices, strict=True):
                features += [team.observation_size + c for c in range(actions.start, actions.stop)]
        self._index("own", own)
        for name, columns in groups.items():
            self._index(name, columns)
        self.names = tuple(groups)
        self.starts = [where.start for where in team.observation_slices]
        # Whose own features join the entities that are the other agents, [N, N - 1].
        others = [[j for j in range(team.n_agents) if j != i] for i in range(team.n_agents)]
        self.register_buffer("_others", th.tensor(others, dtype=th.long), persistent=False)
        ids = th.eye(team.n_agents)
        self.register_buffer("_ids", ids, persistent=False)  # [N, N]
        self.register_buffer("_teammate_ids", ids[self._others], persistent=False)  # [N, N - 1, N]
        self.use_agent_id = use_agent_id
        self.teammates = teammates
        self.joins_teammates = visibility == "joint" and team.n_agents > 1
        if self.joins_teammates and teammates is None:
            raise LayoutError(
                "entity networks: the layout has no part of kind 'agents', which `joint` visibility needs"
            )

        n_ids = team.n_agents if use_agent_id else 0
        n_own = len(own[0]) + n_ids
        n_features = {name: len(columns[0][0]) for name, columns in groups.items()}
        if teammates is not None:
            n_features[teammates] += n_own if self.joins_teammates else n_ids
        self._build(n_own, n_features, hidden_sizes, output_sizes[0])

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

    _columns_own: th.Tensor
    _others: th.Tensor
    _ids: th.Tensor
    _teammate_ids: th.Tensor

    def _index(self, name: str, columns: object) -> None:
        self.register_buffer(f"_columns_{name}", th.tensor(columns, dtype=th.long), persistent=False)

    def forward(self, x_BI: th.Tensor, others_BI: th.Tensor | None = None) -> th.Tensor:
        """See the class.

        Args:
            x_BI: What the agents' own features are read from, and all entities.
            others_BI: What an agent sees of the others' own features (`joint` visibility); None: `x_BI`.
        """
        own_BNF, entities = self._read(x_BI, x_BI if others_BI is None else others_BI)
        summary_BNH, *context = self.encode_own(own_BNF).chunk(1 + len(self.names), dim=-1)
        summaries = [self.activation(summary_BNH)]
        for name, context_BNH in zip(self.names, context, strict=True):
            encoded_BNKH = self.encode[name](entities[name]) + context_BNH.unsqueeze(2)
            for other in self.names:
                if other != name:
                    encoded_BNKH = encoded_BNKH + self._relation(name, other, entities)
            inside_BNKH = self.activation(self.combine[name](self.activation(encoded_BNKH)))
            summaries.append(inside_BNKH.amax(dim=2))
        outputs: th.Tensor = self.head(th.cat(summaries, dim=-1)).flatten(1)
        return outputs

    def _read(self, x_BI: th.Tensor, others_BI: th.Tensor) -> tuple[th.Tensor, dict[str, th.Tensor]]:
        """Own features [B, N, F], and of each group its entities [B, N, K, F]."""
        own_BNF = self._own(x_BI)
        entities = {name: x_BI[:, getattr(self, f"_columns_{name}")] for name in self.names}
        if self.teammates is not None and self.joins_teammates:
            seen_BNF = own_BNF if others_BI is x_BI else self._own(others_BI)
            entities[self.teammates] = th.cat([entities[self.teammates], seen_BNF[:, self._others]], dim=-1)
        elif self.teammates is not None and self.use_agent_id:
            ids = self._teammate_ids.expand(x_BI.shape[0], -1, -1, -1)
            entities[self.teammates] = th.cat([entities[self.teammates], ids], dim=-1)
        return own_BNF, entities

    def _own(self, x_BI: th.Tensor) -> th.Tensor:
        own_BNF = x_BI[:, self._columns_own]
        if self.use_agent_id:
            own_BNF = th.cat([own_BNF, self._ids.expand(x_BI.shape[0], -1, -1)], dim=-1)
        return own_BNF

    def _relation(self, name: str, other: str, entities: dict[str, th.Tensor]) -> th.Tensor:
        """What the entities of a group have to do with those of another: [B, N, K, H]."""
        layers = self.relate[f"{name}>{other}"]
        assert isinstance(layers, nn.ModuleList)
        first, second, merge = layers
        # The greatest activation over the pairs is that of the greatest sum: activations that rise need
        # no tensor of all pairs.
        greatest_BN1H = second(entities[other]).amax(dim=2, keepdim=True)
        related: th.Tensor = merge(self.activation(first(entities[name]) + greatest_BN1H))
        return related

    def component(self, index: int) -> EntityNet:
        """One agent's network alone, on its own observation: [B, own observation] -> [B, its outputs].

        Only for `own` visibility: no other network can be taken apart.
        """
        assert not self.joins_teammates
        alone = copy.deepcopy(self)
        for name in ("own", *self.names):
            columns = getattr(self, f"_columns_{name}")[index : index + 1] - self.starts[index]
            setattr(alone, f"_columns_{name}", columns.clone())
        alone._ids = self._ids[index : index + 1].clone()
        alone._teammate_ids = self._teammate_ids[index : index + 1].clone()
        alone.starts = [0]
        return alone


def _columns(team: TeamSpaces) -> tuple[Columns, dict[str, list[Columns]], str | None]:
    """Columns of the joint observation: own features [N, F], entities [N, K, F], the agents' group.

    Messages count only in a team that has somebody who speaks; where nobody does they never change.
    """
    layouts = [team.layouts[agent].observation for agent in team.agents]
    if any(layout.parts != layouts[0].parts for layout in layouts):
        raise LayoutError(
            "entity networks: the agents' observation layouts differ; use feed-forward networks"
        )
    somebody_speaks = any(
        part.kind == "message" for agent in team.agents for part in team.layouts[agent].action
    )
    own: Columns = [[] for _ in team.agents]
    groups: dict[str, list[Columns]] = {}
    teammates = None
    for agent, (layout, where) in enumerate(zip(layouts, team.observation_slices, strict=True)):
        for part in layout.parts:
            start = where.start + layout.slice(part.name).start
            entities = [
                list(range(start + k * part.size, start + (k + 1) * part.size)) for k in range(part.count)
            ]
            if part.kind == "own":
                own[agent] += [column for entity in entities for column in entity]
            elif part.count and (part.kind != "message" or somebody_speaks):
                groups.setdefault(part.name, []).append(entities)
                if part.kind == "agents":
                    teammates = part.name
    if not groups:
        raise LayoutError(
            "entity networks: the layouts of this team have no entities; use feed-forward networks"
        )
    return own, groups, teammates
