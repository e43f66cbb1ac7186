"""The communication topology of a team: which observation entries are messages that other agents sent before.

An environment declares it by its layouts: a part of an observation of kind `message` receives, an action part
of kind `message` sends. Here the two are matched, once, as index arrays. A team may use less than its
environment offers: its `Topology` says whom each agent listens to.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Literal, get_args

import numpy as np

from cesma_sb3.errors import LayoutError, check_choice, unknown_name
from cesma_sb3.spaces.layout import Part
from cesma_sb3.spaces.team_spaces import TeamSpaces
from cesma_sb3.spaces.types import Array, Flags, Floats, Index

TopologyName = Literal["complete", "ring"]
Topology = TopologyName | Mapping[str, Sequence[str]]
"""Whom each agent listens to. `complete`: to all who send, as in the paper. `ring`: to the nearest agent
before it in the team that sends anything; the last agent is before the first. Or by an agent's name the names
of those that it listens to; who is not named listens to all."""


@dataclasses.dataclass(frozen=True)
class MessageChannel:
    """The received entries of a team's joint observation, and their sources. Shapes: L received entries.

    A discrete message of S categories is received one-hot in a slot of S entries, a message of S scalars as
    these scalars. The slot of an agent that sends nothing has no received entries: it stays as the
    environment fills it.

    Source: section 4.4: c_i = (b_1, ..., b_{i-1}, b_{i+1}, ..., b_M).
    """

    team: TeamSpaces
    places: Index
    """The place of each received entry in the joint observation, [L]."""
    receivers: Index
    """The index of the agent that receives it, [L]."""
    senders: Index
    """The index of the agent that sent it one step before, [L]."""
    columns: Index
    """The column of the packed joint action that sends it, [L]."""
    categories: Index
    """The category of that column for which the entry is 1; -1 where the column is continuous, [L]."""

    @classmethod
    def of(cls, team: TeamSpaces, topology: Topology = "complete") -> MessageChannel | None:
        """The channel that the team's layouts declare; None where no message is received.

        The senders of a part with `count` K are the other agents in the team's order if they are K, else the
        other agents that send messages, if those are K.

        Args:
            team: The team's spaces.
            topology: Leaves out the entries that nobody listens to.

        Raises:
            LayoutError: A part has another number of senders, or messages do not fill its slots; or the
                topology names an agent that is not there, that does not send, or itself.
        """
        sent = _sent_entries(team)
        heard = _listens(team, topology, [agent for agent in range(team.n_agents) if sent[agent]])
        if not any(sent):
            return None
        entries: list[tuple[int, ...]] = []
        for receiver, agent in enumerate(team.agents):
            layout = team.layouts[agent].observation
            for part in layout.parts:
                if part.kind != "message":
                    continue
                start = team.observation_slices[receiver].start + layout.slice(part.name).start
                for slot, sender in enumerate(_senders(team, sent, receiver, part)):
                    for i, source in enumerate(sent[sender]):
                        entries.append((start + slot * part.size + i, receiver, sender, *source))
        entries = [entry for entry in entries if heard[entry[1], entry[2]]]
        if not entries:
            return None
        return cls(team, *np.array(entries, dtype=np.int64).T)

    @property
    def outputs(self) -> Index:
        """The network output of the sender that each received entry comes from, [L]."""
        starts = np.array([where.start for where in self.team.column_outputs], dtype=np.int64)
        outputs: Index = starts[self.columns] + np.maximum(self.categories, 0)
        return outputs

    def encode(self, actions: Array) -> Floats:
        """The received entries one step after packed joint actions: [..., n_columns] -> [..., L] float32."""
        sent = np.asarray(actions)[..., self.columns]
        received = np.where(self.categories >= 0, sent == self.categories, sent)
        return received.astype(np.float32)


def unheard_entries(team: TeamSpaces, topology: Topology) -> set[int]:
    """Entries of the joint observation that are messages to which their receiver does not listen.

    Raises:
        LayoutError: As `MessageChannel.of`.
    """
    offered, heard = MessageChannel.of(team), MessageChannel.of(team, topology)
    places = set() if offered is None else set(offered.places.tolist())
    return places - (set() if heard is None else set(heard.places.tolist()))


def message_columns(team: TeamSpaces) -> Flags:
    """Which columns of a packed joint action are messages, [n_columns] bool."""
    flags = np.zeros(team.n_columns, dtype=bool)
    for agent, where in zip(team.agents, team.action_columns, strict=True):
        for part in team.layouts[agent].action:
            flags[where.start + part.column] |= part.kind == "message"
    return flags


def _listens(team: TeamSpaces, topology: Topology, senders: list[int]) -> Flags:
    """Whether agent i listens to agent j, [N, N] bool."""
    agents = team.agents
    heard = ~np.eye(team.n_agents, dtype=bool)
    if topology != "complete" and not senders:
        raise LayoutError(f"topology {topology!r}: expected complete, for no agent sends messages")
    if not isinstance(topology, Mapping):
        check_choice("topology", topology, get_args(TopologyName))
        for agent in range(team.n_agents) if topology == "ring" else ():
            behind = [(agent - step) % team.n_agents for step in range(1, team.n_agents)]
            nearest = next((other for other in behind if other in senders), None)
            heard[agent] = [other == nearest for other in range(team.n_agents)]
        return heard
    for listener, names in topology.items():
        if listener not in agents:
            raise LayoutError(f"topology: {unknown_name('agent', listener, agents)}")
        others = [agents[sender] for sender in senders if agents[sender] != listener]
        for name in names:
            if name not in others:
                raise LayoutError(f"topology: {listener}: {unknown_name('sender', name, others)}")
        heard[agents.index(listener)] = [name in names for name in agents]
    return heard


def _sent_entries(team: TeamSpaces) -> list[list[tuple[int, int]]]:
    """Column and category (-1 of a continuous column) of each entry that each agent sends."""
    is_message = message_columns(team)
    return [
        [
            (column, category)
            for column in range(where.start, where.stop)
            if is_message[column]
            for category in (range(team.column_categories[column]) or (-1,))
        ]
        for where in team.action_columns
    ]


def _senders(team: TeamSpaces, sent: list[list[tuple[int, int]]], receiver: int, part: Part) -> list[int]:
    """The sender of each slot of a received part."""
    if part.count == 0:
        return []
    where = f"layout of {team.agents[receiver]}: part {part.name!r}"
    others = [agent for agent in range(team.n_agents) if agent != receiver]
    sending = [agent for agent in others if sent[agent]]
    senders = others if part.count == len(others) else sending
    if len(senders) != part.count:
        raise LayoutError(
            f"{where}: messages of {part.count} agents, expected of all {len(others)} others or of the "
            f"{len(sending)} of them that send any"
        )
    for sender in senders:
        size = len(sent[sender])
        if size not in (0, part.size):
            raise LayoutError(
                f"{where}: slots of {part.size}, but what {team.agents[sender]} sends takes {size}"
            )
    return senders
