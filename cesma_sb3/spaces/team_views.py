"""Views of a team: its joint arrays with parts left out, in another order, or among those of others.

The view is a team of its own. Its observations and actions consist of entries and columns of the full team's:
index arrays convert between the two. There are four kinds:

- The *message-free view* leaves out the message parts of observations and the message columns of actions. The
  paper's expert sees all agents' goals at once and needs no messages: its labels are pi*(o-hat), for physical
  observations and physical actions. An agent that can only talk is left with one category.
- The *reordered view* has the same agents in another order.
- The *larger view* has further agents, of which nothing is known.
- The *undivided view* has one agent, which sees and does everything (`cesma_sb3.envs.partition`).

Shapes: B batch; of the full team I entries of an observation, C action columns, M categories of all columns;
I', C', M' the same of the view.

Source: section 4.4 and Appendix C (o-hat and a-hat, the physical observations and actions).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from gymnasium import spaces

from cesma_sb3.spaces.agent_spaces import ActionColumns, flat_bounds, without_mask
from cesma_sb3.spaces.communication import message_columns
from cesma_sb3.spaces.layout import AgentLayout, ObservationLayout
from cesma_sb3.spaces.team_spaces import TeamSpaces
from cesma_sb3.spaces.types import Actor, Array, Floats, Index, Masks, Observations, Packed, Space

NO_CHOICE = spaces.Discrete(1)
"""The action space of an agent that can only talk, in the message-free view."""


class TeamView:
    """Converts joint arrays from a team to a view of it, and actions and probabilities back.

    Args:
        full: The team.
        team: The view, as a team.
        entries: Of each entry of the view's joint observation the place in the full team's, [I'], -1 of what
            it lacks.
        columns: The columns of the full team's packed actions that the view has too, [K].
        places: The column of the view that each of these is, [K].
        sources: Of each entry of the full team's joint observation the place in the view's, [I], -1 of what
            it lacks; None: as `entries` say. A view may have once what several agents observe.
    """

    def __init__(
        self,
        full: TeamSpaces,
        team: TeamSpaces,
        *,
        entries: Index,
        columns: Index,
        places: Index,
        sources: Index | None = None,
    ) -> None:
        self.full, self.team = full, team
        self._entries, self._columns, self._places = entries, columns, places
        if sources is None:
            sources = np.full(full.observation_size, -1)
            sources[entries[entries >= 0]] = np.flatnonzero(entries >= 0)
        self._sources = sources
        self._has_more = bool((entries < 0).any())
        self._flags = _ranges(full.column_masks, columns)
        self._flag_places = _ranges(team.column_masks, places)
        self._default = full.join_actions({})  # category 0, or the number nearest to 0
        left_out = np.setdiff1d(np.arange(full.n_columns), columns).tolist()
        self._choices_left_out = [column for column in left_out if full.column_categories[column]]

    def observations(self, joint: Array) -> Array:
        """Joint observations of the full team [..., I] as those of the view [..., I']; what it lacks is 0."""
        own: Array = np.asarray(joint)[..., self._entries]
        if self._has_more:
            own[..., self._entries < 0] = 0.0
        return own

    def full_observations(self, joint: Array) -> Array:
        """Joint observations of the view [..., I'] as those of the full team [..., I]; what it lacks is 0."""
        full = np.asarray(joint, dtype=np.float32)[..., self._sources]
        full[..., self._sources < 0] = 0.0
        return full

    def masks(self, joint: Masks) -> Masks:
        """Joint masks of the full team [B, M] as those of the view [B, M']; what it lacks is available."""
        own = np.ones((len(joint), self.team.mask_size), dtype=bool)
        own[:, self._flag_places] = joint[:, self._flags]
        return own

    def actions(self, packed: Array, masks: Masks | None = None) -> Array:
        """Packed actions of the view as those of the full team.

        A column that the view leaves out becomes the first available category, or the number nearest to 0.

        Args:
            packed: Actions of the view [B, C'].
            masks: Available categories of the full team, [B, M]; None: all.

        Returns:
            [B, C], of the full team's dtype; floats where categories are written as floats.
        """
        dtype = self._default.dtype
        if self.full.is_discrete:  # what is no whole number stays so, and is refused where it is carried out
            dtype = np.result_type(packed.dtype, dtype)
        full = np.tile(self._default.astype(dtype), (len(packed), 1))
        full[:, self._columns] = packed[:, self._places]
        if masks is not None:
            for column in self._choices_left_out:
                full[:, column] = masks[:, self.full.column_masks[column]].argmax(axis=1)
        return full

    def actor(self, act: Actor) -> Actor:
        """An actor of the view as one of the full team."""

        def of_full(observations: Observations, masks: Masks | None = None) -> Packed:
            own = None if masks is None else self.masks(masks)
            return self.actions(act(self.observations(observations), own), masks)

        return of_full

    def probabilities(self, flat: Floats) -> Floats:
        """Distributions over the view's categories [B, M'] as those over the full team's [B, M].

        In a column that the view leaves out, category 0 has probability 1.
        """
        full = np.zeros((len(flat), self.full.mask_size), dtype=np.float32)
        full[:, [self.full.column_masks[column].start for column in self._choices_left_out]] = 1.0
        full[:, self._flags] = flat[:, self._flag_places]
        return full


def reordered_view(full: TeamSpaces, team: TeamSpaces) -> TeamView:
    """The view in which the agents have the order of another team of the same agents.

    Args:
        full: The team.
        team: The same agents in the other order.

    Raises:
        SpaceError: These are other agents.
        LayoutError: The order of the others is part of what an agent observes.
    """
    full.in_order(team.agents, who="the environment")
    return larger_view(full, team)


def larger_view(full: TeamSpaces, team: TeamSpaces) -> TeamView:
    """The view in which the agents stand where their namesakes do in a team of more agents.

    The others observe zeros, can do everything, and do nothing.

    Args:
        full: The team.
        team: One with all its agents, whose spaces are the same, and maybe others.
    """
    entries = np.full(team.observation_size, -1)
    known = [agent for agent in team.agents if agent in full.agents]
    own, others = ([each.agents.index(agent) for agent in known] for each in (full, team))
    entries[_ranges(team.observation_slices, others)] = _ranges(full.observation_slices, own)
    if team.unseen_space == full.unseen_space:
        entries[team.unseen_slice] = np.arange(full.unseen_slice.start, full.unseen_slice.stop)
    return TeamView(
        full,
        team,
        entries=entries,
        columns=_ranges(full.action_columns, own),
        places=_ranges(team.action_columns, others),
    )


def has_messages(team: TeamSpaces) -> bool:
    """Whether an agent's action sends a message."""
    return bool(message_columns(team).any())


def message_free_view(full: TeamSpaces) -> TeamView:
    """The view without messages; its team is the full team itself where no agent sends any."""
    entries = [_physical_entries(full.layouts[agent]) for agent in full.agents]
    columns = [np.flatnonzero(~message_columns(full)[where]) for where in full.action_columns]
    team = full
    if has_messages(full):
        kept = list(zip(full.agents, entries, columns, strict=True))
        actions = {agent: _action_space(full.action_spaces[agent], own) for agent, _, own in kept}
        team = TeamSpaces(
            full.agents,
            {a: _observation_space(full.observation_spaces[a], seen, actions[a]) for a, seen, _ in kept},
            actions,
            {agent: _layout(full.layouts[agent], own) for agent, _, own in kept},
            masks_in_infos=full.masks_in_infos,
            unseen_space=full.unseen_space,
        )
    else:
        entries = [np.arange(size) for size in full.observation_sizes]
    return TeamView(
        full,
        team,
        entries=_with_unseen(full, _joint(entries, full.observation_slices)),
        columns=_joint(columns, full.action_columns),
        # An agent that can only talk has a column in the view that no column of the full team stands for.
        places=_joint([np.arange(len(own)) for own in columns], team.action_columns),
    )


def _ranges(slices: Sequence[slice], places: Sequence[int] | Index) -> Index:
    """The indices within the slices at these places, one slice after the other."""
    ranges = [np.arange(slices[place].start, slices[place].stop) for place in places]
    return np.concatenate([np.zeros(0, dtype=np.int64), *ranges])


def _with_unseen(team: TeamSpaces, entries: Index) -> Index:
    """Indices of entries that agents observe, and of those that none does behind them."""
    return np.concatenate([entries, np.arange(team.unseen_slice.start, team.unseen_slice.stop)])


def _joint(kept: Sequence[Index], slices: Sequence[slice]) -> Index:
    """Indices within each agent's slice as indices of the joint array."""
    return np.concatenate([where.start + own for own, where in zip(kept, slices, strict=True)])


def _physical_entries(layout: AgentLayout) -> Index:
    """The entries of an agent's flat observation that are no messages."""
    kept = [np.full(part.width, part.kind != "message") for part in layout.observation.parts]
    return np.flatnonzero(np.concatenate([np.zeros(0, dtype=bool), *kept]))


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
    return whole.space_of(columns) if len(columns) else NO_CHOICE


def _layout(layout: AgentLayout, columns: Index) -> AgentLayout:
    observed = [part for part in layout.observation.parts if part.kind != "message"]
    place = {int(column): index for index, column in enumerate(columns)}
    moves = [part for part in layout.action if part.kind != "message"]
    acts = [dataclasses.replace(part, column=place[part.column]) for part in moves]
    return AgentLayout(ObservationLayout(tuple(observed)), tuple(acts))
