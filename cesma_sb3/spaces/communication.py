"""Who hears whom: which entries of a joint observation are what other agents said at the step before.

An environment declares it by its layouts: a part of an observation of kind `message` is heard, an action part
of kind `message` is said. Here the two are put together, once, as index arrays.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from cesma_sb3.errors import LayoutError
from cesma_sb3.spaces.layout import Part
from cesma_sb3.spaces.team_spaces import TeamSpaces
from cesma_sb3.spaces.types import Flags, Floats, Index


class _Entry(NamedTuple):
    """One heard number: where it stands and where it comes from."""

    place: int
    receiver: int
    sender: int
    column: int
    category: int


@dataclasses.dataclass(frozen=True)
class MessageChannel:
    """The heard entries of a team's joint observation and their sources. Shapes: L heard entries.

    A discrete message of S categories is heard one-hot in a slot of S entries; a message of S numbers as
    these numbers. What a silent agent would have said is no entry: its slot stays as the environment fills
    it.

    Source: section 4.4: c_i = (b_1, ..., b_{i-1}, b_{i+1}, ..., b_M).
    """

    team: TeamSpaces
    places: Index
    """Where each heard entry stands in the joint observation, [L]."""
    receivers: Index
    """Who hears it, [L]."""
    senders: Index
    """Who said it at the step before, [L]."""
    columns: Index
    """The column of the packed joint action that says it, [L]."""
    categories: Index
    """The category of that column that the entry is 1 for; -1 where the column is a number, [L]."""

    @classmethod
    def of(cls, team: TeamSpaces) -> MessageChannel | None:
        """The channel that the team's layouts declare; None where nothing that is said is heard.

        The senders of a part with `count` K are the other agents in the team's order if they are K, else the
        other agents that speak, if those are K.

        Raises:
            LayoutError: The senders of a part cannot be told, or what they say does not fill its slots.
        """
        columns = message_columns(team)
        said = [[c for c in range(where.start, where.stop) if columns[c]] for where in team.action_columns]
        if not any(said):
            return None
        entries: list[_Entry] = []
        for receiver, agent in enumerate(team.agents):
            layout = team.layouts[agent].observation
            for part in layout.parts:
                if part.kind == "message":
                    start = team.observation_slices[receiver].start + layout.slice(part.name).start
                    entries += _heard(team, said, receiver, part, start)
        if not entries:
            return None
        places, receivers, senders, sources, categories = np.array(entries, dtype=np.int64).T
        return cls(team, places, receivers, senders, sources, categories)

    @property
    def outputs(self) -> Index:
        """The network output of the sender that each heard entry comes from, [L]."""
        starts = np.array([where.start for where in self.team.column_outputs], dtype=np.int64)
        outputs: Index = starts[self.columns] + np.maximum(self.categories, 0)
        return outputs

    def encode(self, actions: npt.NDArray[np.generic]) -> Floats:
        """What is heard one step after packed joint actions: [B, n_columns] -> [B, L] float32."""
        said = np.asarray(actions)[:, self.columns]
        heard = np.where(self.categories >= 0, said == self.categories, said)
        return heard.astype(np.float32)


def message_columns(team: TeamSpaces) -> Flags:
    """Which columns of a packed joint action are messages, [n_columns] bool."""
    flags = np.zeros(team.n_columns, dtype=bool)
    for agent, where in zip(team.agents, team.action_columns, strict=True):
        for part in team.layouts[agent].action:
            flags[where.start + part.column] |= part.kind == "message"
    return flags


def _heard(team: TeamSpaces, said: list[list[int]], receiver: int, part: Part, start: int) -> list[_Entry]:
    """The entries of one part, which stands at `start` of the joint observation."""
    where = f"layout of {team.agents[receiver]}: part {part.name!r}"
    others = [agent for agent in range(team.n_agents) if agent != receiver]
    speaking = [agent for agent in others if said[agent]]
    if part.count == 0:
        return []
    senders = others if part.count == len(others) else speaking
    if len(senders) != part.count:
        raise LayoutError(
            f"{where}: messages of {part.count} agents, expected of all {len(others)} others or of the "
            f"{len(speaking)} of them that speak"
        )
    entries = []
    for slot, sender in enumerate(senders):
        sources = _sources(team, said[sender])
        if sources and len(sources) != part.size:
            raise LayoutError(
                f"{where}: slots of {part.size}, but what {team.agents[sender]} says takes {len(sources)}"
            )
        begin = start + slot * part.size
        entries += [_Entry(begin + i, receiver, sender, *source) for i, source in enumerate(sources)]
    return entries


def _sources(team: TeamSpaces, said: list[int]) -> list[tuple[int, int]]:
    """Column and category (-1 for a number) of each number that these columns of one agent say."""
    sizes = [team.column_categories[column] for column in said]
    return [
        (column, category)
        for column, size in zip(said, sizes, strict=True)
        for category in (range(size) if size else (-1,))
    ]
