"""A team as it is for a controller that neither talks nor hears: without messages.

The paper's expert sees all agents' goals at once, so it needs no messages: its labels are pi*(o-hat), on
physical observations and for physical actions. The *silent view* of a team leaves the message parts of
observations out, and the message columns of actions. An agent that can only talk is left with one category,
nothing to choose.

Shapes: B batch; of the full team I entries of an observation, C action columns, M mask flags; I', C', M' the
same of the silent one.

Source: section 4.4 and Appendix C (o-hat and a-hat, the physical observations and actions).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from cesma_sb3.spaces.action_views import Packed
from cesma_sb3.spaces.agent_spaces import ActionColumns, Floats, Space, flat_bounds, without_mask
from cesma_sb3.spaces.communication import message_columns
from cesma_sb3.spaces.layout import ActionPart, AgentLayout, ObservationLayout
from cesma_sb3.spaces.team_spaces import Masks, TeamSpaces

Index = npt.NDArray[np.int64]

NOTHING = spaces.Discrete(1)
"""The action space of an agent that can only talk."""


def has_messages(team: TeamSpaces) -> bool:
    """Whether some agent's action says something."""
    return any(part.kind == "message" for agent in team.agents for part in team.layouts[agent].action)


def silent_team(team: TeamSpaces) -> TeamSpaces:
    """The same agents without messages; a team in which nobody speaks is its own silent team."""
    return SilentTeam(team).team


class SilentTeam:
    """The way from a team's joint arrays to those of its silent view, and back.

    Args:
        team: The full team.

    Attributes:
        full: The team as it is.
        team: Its silent view; `full` itself where nobody speaks.
    """

    def __init__(self, team: TeamSpaces) -> None:
        self.full = self.team = team
        self.is_identity = not has_messages(team)
        if self.is_identity:
            return
        entries = [_kept_entries(team, agent) for agent in team.agents]
        columns = [_kept_columns(team, agent) for agent in team.agents]
        kept = list(zip(team.agents, entries, columns, strict=True))
        actions = {agent: _action_space(team.action_spaces[agent], own) for agent, _, own in kept}
        self.team = TeamSpaces(
            team.agents,
            {a: _observation_space(team.observation_spaces[a], seen, actions[a]) for a, seen, _ in kept},
            actions,
            {agent: _layout(team.layouts[agent], own) for agent, _, own in kept},
            masks_in_infos=team.masks_in_infos,
        )
        self._entries = _joint(entries, team.observation_slices)  # [I']
        # Columns of the full team that are physical, and the place of each in the silent one, where an agent
        # that can only talk has a column that no full column stands for.
        self._columns = _joint(columns, team.action_columns)
        self._places = _joint([np.arange(len(own)) for own in columns], self.team.action_columns)
        self._flags = _joint_ranges(team.column_masks, self._columns)
        self._flag_places = _joint_ranges(self.team.column_masks, self._places)
        self._quiet = team.join_actions({})  # category 0, or the number nearest to 0
        said = np.flatnonzero(message_columns(team)).tolist()
        self._symbols = [column for column in said if team.column_categories[column]]

    def observations(self, joint: Floats) -> Floats:
        """Joint observations [B, I] -> [B, I']."""
        if self.is_identity:
            return joint
        kept: Floats = np.asarray(joint)[..., self._entries]
        return kept

    def actions(self, packed: npt.NDArray[Any], masks: Masks | None = None) -> Packed:
        """Packed actions of the silent team [B, C'] -> of the full one [B, C].

        Message columns are the first category that is available, or the number nearest to 0.

        Args:
            packed: Actions.
            masks: Available categories of the full team, [B, M]; None: all.
        """
        if self.is_identity:
            return packed
        full: Packed = np.tile(self._quiet, (len(packed), 1))
        full[:, self._columns] = packed[:, self._places]
        if masks is not None:
            for column in self._symbols:
                full[:, column] = masks[:, self.full.column_masks[column]].argmax(axis=1)
        return full

    def silence(self, packed: npt.NDArray[Any]) -> Packed:
        """Packed actions of the full team [B, C] -> of the silent one [B, C']: what was said is left out."""
        if self.is_identity:
            return packed
        silent: Any = np.zeros((len(packed), self.team.n_columns), dtype=self.team.action_dtype)
        silent[:, self._places] = packed[:, self._columns]
        actions: Packed = silent
        return actions

    def masks(self, joint: Masks) -> Masks:
        """Joint masks [B, M] -> [B, M']; having nothing to choose is always possible."""
        if self.is_identity:
            return joint
        silent = np.ones((len(joint), self.team.mask_size), dtype=bool)
        silent[:, self._flag_places] = joint[:, self._flags]
        return silent

    def probabilities(self, silent: Floats) -> Floats:
        """Distributions over categories of the silent team [B, M'] -> of the full one [B, M].

        Of a message, category 0 is certain.
        """
        if self.is_identity:
            return silent
        full = np.zeros((len(silent), self.full.mask_size), dtype=np.float32)
        full[:, [where.start for where in self.full.column_masks if where.stop > where.start]] = 1.0
        full[:, self._flags] = silent[:, self._flag_places]
        return full


def _kept_entries(team: TeamSpaces, agent: str) -> Index:
    """Which entries of the agent's flat observation are no messages."""
    parts = team.layouts[agent].observation.parts
    kept = [np.full(part.width, part.kind != "message") for part in parts]
    return np.flatnonzero(np.concatenate([np.zeros(0, dtype=bool), *kept]))


def _kept_columns(team: TeamSpaces, agent: str) -> Index:
    """Which of the agent's action columns are no messages."""
    where = team.action_columns[team.agent_index(agent)]
    kept = np.ones(where.stop - where.start, dtype=bool)
    kept[[part.column for part in team.layouts[agent].action if part.kind == "message"]] = False
    return np.flatnonzero(kept)


def _joint(kept: Sequence[Index], slices: Sequence[slice]) -> Index:
    """Places within each agent's slice as places in the joint array."""
    return np.concatenate([where.start + own for own, where in zip(kept, slices, strict=True)])


def _joint_ranges(slices: Sequence[slice], columns: Index) -> Index:
    """All that stands in the slices of these columns."""
    ranges = [np.arange(slices[column].start, slices[column].stop) for column in columns]
    return np.concatenate([np.zeros(0, dtype=np.int64), *ranges]).astype(np.int64)


def _observation_space(space: Space, entries: Index, action_space: Space) -> Space:
    bare, masked = without_mask(space)
    low, high = flat_bounds(bare)
    if len(entries) < len(low):
        bare = spaces.Box(low[entries], high[entries], dtype=np.float32)
    if not masked:
        return bare
    flags = sum(ActionColumns.of(action_space).categories)
    return spaces.Dict({"observation": bare, "action_mask": spaces.MultiBinary(flags)})


def _action_space(space: Space, columns: Index) -> Space:
    whole = ActionColumns.of(space)
    if len(columns) == whole.n_columns:
        return space
    if not len(columns):
        return NOTHING
    if whole.is_continuous:
        return spaces.Box(whole.low[columns], whole.high[columns], dtype=np.float32)
    categories = [whole.categories[column] for column in columns]
    return spaces.Discrete(categories[0]) if len(categories) == 1 else spaces.MultiDiscrete(categories)


def _layout(layout: AgentLayout, columns: Index) -> AgentLayout:
    heard = [part for part in layout.observation.parts if part.kind != "message"]
    place = {int(column): index for index, column in enumerate(columns)}
    acts = [ActionPart(p.name, p.kind, place[p.column]) for p in layout.action if p.kind != "message"]
    return AgentLayout(ObservationLayout(tuple(heard)), tuple(acts))
