"""Action views: what a single-agent learner acts in, and the packed joint actions that it stands for.

| name | space | for |
|---|---|---|
| `joint` | the team's own: MultiDiscrete, or Box | PPO, MaskablePPO; SAC, TD3 on a continuous team |
| `product` | Discrete, one action for each combination | DQN: the exponential expert |
| `one-at-a-time` | Discrete, one choice changes or none | DQN on larger teams |
| `relaxed` | Box, a score for each category | actor-critics over relaxed one-hot actions |

Shapes: B batch, C columns of a packed action, M categories of all columns (`mask_size`), O outputs
    (`output_size`).

Source: section 4.2 (the joint action space grows exponentially; moving one agent at a time is one relief).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from gymnasium import spaces

from cesma_sb3.errors import ActionViewError, SpaceError, UnknownNameError
from cesma_sb3.spaces.team_spaces import TeamSpaces
from cesma_sb3.spaces.types import Array, Floats, Index, Masks, Packed, Space


@runtime_checkable
class ActionView(Protocol):
    """A space of actions for a single-agent learner, each of which stands for a packed joint action."""

    name: str
    space: Space
    team: TeamSpaces

    def decode(self, actions: Array, masks: Masks | None = None) -> Packed:
        """View actions [B, ...] as packed joint actions [B, C].

        Args:
            actions: Elements of the view's space.
            masks: Joint masks [B, M]. A view whose actions rank categories picks among the available ones.
        """

    def encode(self, packed: Array) -> Array:
        """Packed joint actions [B, C] as view actions [B, ...].

        Raises:
            ActionViewError: The view cannot express one of them.
        """

    def masks(self, agent_masks: Masks) -> Masks:
        """Joint masks [B, M] as flags [B, n] of the view's own actions, as sb3-contrib reads them."""


class JointActions:
    """The packed joint action itself, an element of `TeamSpaces.action_space`."""

    name = "joint"

    def __init__(self, team: TeamSpaces) -> None:
        self.team = team
        self.space = team.action_space
        self._categorical = np.array([n > 0 for n in team.column_categories], dtype=bool)

    def decode(self, actions: Array, masks: Masks | None = None) -> Packed:
        """Packed actions [B, C] as they are: categories rounded, scalars clipped to their bounds."""
        batch = np.asarray(actions).reshape(-1, self.team.n_columns)
        if self.team.is_discrete:
            categories: Packed = np.rint(batch).astype(np.int64)
            return categories
        assert isinstance(self.space, spaces.Box)
        packed = np.clip(batch.astype(np.float32), self.space.low, self.space.high)
        packed[:, self._categorical] = np.rint(packed[:, self._categorical])
        return packed

    def encode(self, packed: Array) -> Array:
        """Packed joint actions [B, C] as they are, in the team's dtype."""
        return np.asarray(packed).reshape(-1, self.team.n_columns).astype(self.team.action_dtype)

    def masks(self, agent_masks: Masks) -> Masks:
        """The joint masks themselves, [B, M]."""
        return agent_masks


class ProductActions:
    """One action for each combination of the agents' actions: Discrete(product of all categories).

    The last column counts fastest.

    Args:
        team: Its columns must be categorical.
        max_actions: The largest space that is built; the product grows exponentially with the team.

    Raises:
        ActionViewError: A column is continuous, or the product is above `max_actions`.
    """

    name = "product"

    def __init__(self, team: TeamSpaces, max_actions: int = 10_000) -> None:
        self.team = team
        self._sizes = _categorical_columns(team, self.name)
        self.n_actions = math.prod(self._sizes)
        if self.n_actions > max_actions:
            raise ActionViewError(
                f"action view 'product': {' x '.join(map(str, self._sizes))} = {self.n_actions:,} joint "
                f"actions, at most {max_actions:,} are allowed; use 'joint', 'one-at-a-time' or 'relaxed', "
                "or raise max_actions"
            )
        self.space: Space = spaces.Discrete(self.n_actions)

    def decode(self, actions: Array, masks: Masks | None = None) -> Packed:
        """Numbers of combinations [B] int as packed joint actions [B, C] int64."""
        columns = np.unravel_index(np.asarray(actions, dtype=np.int64).reshape(-1), self._sizes)
        return np.stack(columns, axis=1).astype(np.int64)

    def encode(self, packed: Array) -> Array:
        """Packed joint actions [B, C] as the numbers of their combinations, [B] int64."""
        columns = np.asarray(packed, dtype=np.int64).reshape(-1, self.team.n_columns)
        return np.asarray(np.ravel_multi_index(tuple(columns.T), self._sizes), dtype=np.int64)

    def masks(self, agent_masks: Masks) -> Masks:
        """Joint masks [B, M] as flags [B, product]: a combination is available if each of its choices is."""
        joint = np.ones((len(agent_masks), 1), dtype=bool)
        for where in self.team.column_masks:
            joint = (joint[:, :, None] & agent_masks[:, None, where]).reshape(len(agent_masks), -1)
        return joint

    def marginals(self, probabilities: Array) -> Floats:
        """The distribution of each column from one over combinations.

        Args:
            probabilities: [B, product]; each row sums to 1.

        Returns:
            [B, M] float32; the categories of each column sum to 1.
        """
        table = np.asarray(probabilities).reshape(-1, *self._sizes)
        axes = range(1, table.ndim)
        sums = [table.sum(axis=tuple(other for other in axes if other != axis)) for axis in axes]
        return np.concatenate(sums, axis=1).astype(np.float32)


class OneAtATimeActions:
    """One choice differs from doing nothing, or none does: Discrete(sum of (categories - 1), plus 1).

    Action 0 is all no-ops; then, column by column, every category but the no-op.

    Args:
        team: Its columns must be categorical.
        noop: The category that is doing nothing: one for all columns, or one for each column.

    Raises:
        ActionViewError: A column is continuous, or has no category `noop`.

    Source: section 4.2: "we can restrict it to moving only one agent at a time, while the others default to a
    "do nothing" action"; section 6.5.
    """

    name = "one-at-a-time"

    def __init__(self, team: TeamSpaces, noop: int | Sequence[int] = 0) -> None:
        self.team = team
        sizes = _categorical_columns(team, self.name)
        noops = (noop,) * len(sizes) if isinstance(noop, int) else tuple(noop)
        if len(noops) != len(sizes) or any(not 0 <= idle < n for idle, n in zip(noops, sizes, strict=True)):
            raise ActionViewError(f"action view 'one-at-a-time': noop {noop}, but the categories are {sizes}")
        self.noop = np.array(noops, dtype=np.int64)
        choices = [(column, category) for column, n in enumerate(sizes) for category in range(n)]
        moves = [(column, category) for column, category in choices if category != noops[column]]
        self._table = np.tile(self.noop, (len(moves) + 1, 1))
        for action, (column, category) in enumerate(moves, start=1):
            self._table[action, column] = category
        # Action of each (column, category), for the way back; the no-op's entry is action 0.
        self._action = np.zeros((len(sizes), max(sizes)), dtype=np.int64)
        for action, (column, category) in enumerate(moves, start=1):
            self._action[column, category] = action
        self.space: Space = spaces.Discrete(len(moves) + 1)

    def decode(self, actions: Array, masks: Masks | None = None) -> Packed:
        """Moves [B] int as packed joint actions [B, C]; an idle column with category 0 alone takes it."""
        packed: Index = self._table[np.asarray(actions, dtype=np.int64).reshape(-1)]
        if masks is not None:
            for column, where in enumerate(self.team.column_masks):
                rests = packed[:, column] == self.noop[column]
                packed[rests & ~masks[:, where.start + 1 : where.stop].any(axis=1), column] = 0
        return packed

    def encode(self, packed: Array) -> Array:
        """Packed joint actions [B, C] as moves, [B] int64.

        Raises:
            ActionViewError: Two choices of one joint action differ from the no-op.
        """
        columns = np.asarray(packed, dtype=np.int64).reshape(-1, self.team.n_columns)
        moved = columns != self.noop
        if (moved.sum(axis=1) > 1).any():
            row = columns[(moved.sum(axis=1) > 1).argmax()].tolist()
            raise ActionViewError(
                f"action view 'one-at-a-time': {row} has two choices that differ from the no-op "
                f"{self.noop.tolist()}"
            )
        return np.asarray(self._action[np.arange(self.team.n_columns), columns].max(axis=1), dtype=np.int64)

    def masks(self, agent_masks: Masks) -> Masks:
        """Joint masks [B, M] as flags [B, n] of the moves.

        A move is available where its category is and all others can do nothing. An agent that is left with
        nothing but category 0 (a dead one) counts as doing nothing.

        Raises:
            ActionViewError: No action of the view is available: more than one column cannot take its no-op.
        """
        can_rest = np.stack(  # [B, columns]
            [
                agent_masks[:, where.start + idle] | ~agent_masks[:, where.start + 1 : where.stop].any(axis=1)
                for where, idle in zip(self.team.column_masks, self.noop, strict=True)
            ],
            axis=1,
        )
        stuck = (~can_rest).sum(axis=1)
        flags = np.zeros((len(agent_masks), len(self._table)), dtype=bool)
        flags[:, 0] = stuck == 0
        for column, where in enumerate(self.team.column_masks):
            others_rest = stuck == ~can_rest[:, column]  # nobody is stuck, or this one alone
            for category in range(where.stop - where.start):
                if category != self.noop[column]:
                    available = agent_masks[:, where.start + category]
                    flags[:, self._action[column, category]] = others_rest & available
        if not flags.any(axis=1).all():
            row = int((~flags.any(axis=1)).argmax())
            columns = np.flatnonzero(~can_rest[row]).tolist()
            raise ActionViewError(
                f"action view 'one-at-a-time': columns {columns} cannot take their no-op now "
                f"({self.noop.tolist()}), so that no action is available"
            )
        return flags


class RelaxedActions:
    """A score in [-1, 1] for each category and a value in [-1, 1] for each scalar: Box [-1, 1]^O.

    The largest score of a column is its category; a scalar is rescaled to its bounds.

    Args:
        team: Its scalars must have finite bounds.

    Raises:
        ActionViewError: A scalar has no finite bounds.
    """

    name = "relaxed"

    def __init__(self, team: TeamSpaces) -> None:
        self.team = team
        self.space: Space = spaces.Box(-1.0, 1.0, shape=(team.output_size,), dtype=np.float32)
        continuous = [column for column, n in enumerate(team.column_categories) if n == 0]
        self._columns = np.array(continuous, dtype=np.int64)
        self._outputs = np.array([team.column_outputs[column].start for column in continuous], dtype=np.int64)
        if continuous:
            assert isinstance(team.action_space, spaces.Box)
            self._low = team.action_space.low[self._columns].astype(np.float64)
            self._span = team.action_space.high[self._columns].astype(np.float64) - self._low
            if not np.isfinite(self._span).all():
                raise ActionViewError("action view 'relaxed': a scalar without bounds cannot be rescaled")

    def decode(self, actions: Array, masks: Masks | None = None) -> Packed:
        """Scores [B, O] float as packed actions [B, C]: the best available category of each column."""
        logits = np.asarray(actions, dtype=np.float32).reshape(-1, self.team.output_size)
        packed: Any = np.zeros((len(logits), self.team.n_columns), dtype=self.team.action_dtype)
        for column, n in enumerate(self.team.column_categories):
            if n:
                choices = logits[:, self.team.column_outputs[column]]
                if masks is not None:
                    choices = np.where(masks[:, self.team.column_masks[column]], choices, -np.inf)
                packed[:, column] = choices.argmax(axis=1)
        if len(self._columns):
            unit = (np.clip(logits[:, self._outputs], -1.0, 1.0).astype(np.float64) + 1.0) / 2.0
            packed[:, self._columns] = self._low + unit * self._span
        decoded: Packed = packed
        return decoded

    def encode(self, packed: Array) -> Array:
        """Packed actions [B, C] as scores [B, O] float32: 1 for the chosen category, -1 for the others."""
        columns = np.asarray(packed).reshape(-1, self.team.n_columns)
        actions = np.full((len(columns), self.team.output_size), -1.0, dtype=np.float32)
        for column, n in enumerate(self.team.column_categories):
            if n:
                index = self.team.column_outputs[column].start + np.rint(columns[:, column]).astype(np.int64)
                actions[np.arange(len(columns)), index] = 1.0
        if len(self._columns):
            span = np.where(self._span > 0, self._span, 1.0)
            actions[:, self._outputs] = 2.0 * (columns[:, self._columns] - self._low) / span - 1.0
        return actions

    def masks(self, agent_masks: Masks) -> Masks:
        """Joint masks [B, M] as flags [B, O] of the scores, true for scalars."""
        flags = np.ones((len(agent_masks), self.team.output_size), dtype=bool)
        for outputs, where, n in zip(
            self.team.column_outputs, self.team.column_masks, self.team.column_categories, strict=True
        ):
            if n:
                flags[:, outputs] = agent_masks[:, where]
        return flags


_VIEWS: dict[str, Any] = {
    view.name: view for view in (JointActions, ProductActions, OneAtATimeActions, RelaxedActions)
}
VIEW_NAMES: tuple[str, ...] = tuple(_VIEWS)
"""The names that `make_view` knows."""


def make_view(name: str | ActionView, team: TeamSpaces, **kwargs: Any) -> ActionView:
    """The action view of a team that is called `name`.

    Args:
        name: One of `VIEW_NAMES`, or an action view, which is returned if it is one of this team.
        team: The team that it controls.
        **kwargs: `max_actions` of `product`, `noop` of `one-at-a-time`.

    Raises:
        UnknownNameError: There is no such view.
        ActionViewError: The view cannot hold the team's actions, or does not take such an argument.
        SpaceError: The view is another team's.
    """
    if not isinstance(name, str):
        if name.team != team:
            raise SpaceError(f"action view {name.name!r}: made for another team than {team}")
        return name
    if name not in _VIEWS:
        raise UnknownNameError.of("action view", name, _VIEWS)
    try:
        view: ActionView = _VIEWS[name](team, **kwargs)
    except TypeError as error:
        raise ActionViewError(f"action view {name!r}: {error}") from None
    return view


def _categorical_columns(team: TeamSpaces, name: str) -> tuple[int, ...]:
    for agent, where in zip(team.agents, team.action_columns, strict=True):
        if 0 in team.column_categories[where]:
            raise ActionViewError(
                f"action view {name!r}: the action of {agent} is continuous, but only choices can be "
                "enumerated; use 'joint' or 'relaxed'"
            )
    return team.column_categories
