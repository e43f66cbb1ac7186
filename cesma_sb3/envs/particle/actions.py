"""From a packed joint action to forces and messages.

A movable agent's first action column is its move: 0 nothing, 1 left, 2 right, 3 down, 4 up. An agent that
sends messages has a column with the symbol, after the move when it has both. With continuous actions the
agent has a scalar in [0, 1] for each of these categories: opposite pushes are subtracted, and the message is
sent as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium import spaces

from cesma_sb3.envs.particle.world import Body
from cesma_sb3.errors import SpaceError
from cesma_sb3.spaces.layout import ActionKind, ActionPart
from cesma_sb3.spaces.types import Array, Doubles, Index

MOVES = ("nothing", "left", "right", "down", "up")
N_MOVES = len(MOVES)
# [2, moves]: x and y of each move.
DIRECTIONS: Doubles = np.array([[0.0, -1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, -1.0, 1.0]])


class Controls:
    """The actions of a scenario's agents: their spaces, and the forces and messages that they become.

    Args:
        agents: The bodies that act.
        message_size: C, the number of symbols.
        continuous: Whether actions are scalars in [0, 1] instead of categories.
    """

    def __init__(self, agents: Sequence[Body], message_size: int, continuous: bool) -> None:
        self.agents, self.message_size, self.continuous = tuple(agents), message_size, continuous
        counts = [self._counts(body) for body in agents]
        widths = [sum(count) if continuous else len(count) for count in counts]
        starts = np.cumsum([0, *widths])
        self.n_columns = int(starts[-1])
        # [n_columns]: how many values an action may take.
        self._categories: Index = np.array([n for count in counts for n in count], dtype=np.int64)

        movers = [i for i, body in enumerate(agents) if body.movable]
        # A slice where it does: NumPy then needs no copy.
        self._movers: Index | slice = (
            slice(None) if len(movers) == len(agents) else np.array(movers, dtype=np.int64)
        )
        self._move_columns: Index = np.array([starts[i] for i in movers], dtype=np.int64)
        accel: Doubles = np.array([agents[i].accel for i in movers])[:, None]
        self._accel = accel[:, None]
        # The pushes of all agents in one table [2, movers * 5], so that one look-up serves the team.
        self._pushes: Doubles = (DIRECTIONS[:, None] * accel).reshape(2, -1)
        self._offsets: Index = N_MOVES * np.arange(len(movers))[:, None]

        self._senders: Index = np.array(
            [i for i, body in enumerate(agents) if not body.silent], dtype=np.int64
        )
        self._message_columns: Index = np.array(
            [starts[i + 1] - (message_size if continuous else 1) for i in self._senders], dtype=np.int64
        )

    def _counts(self, body: Body) -> list[int]:
        """Categories of the move and of the message, of those that the agent has."""
        return [N_MOVES] * body.movable + [self.message_size] * (not body.silent)

    def action_space(self, index: int) -> spaces.Space[Any]:
        """The space of one agent: Discrete, MultiDiscrete [move, symbol], or Box [0, 1]."""
        counts = self._counts(self.agents[index])
        if self.continuous:
            return spaces.Box(0.0, 1.0, (sum(counts),), np.float32)
        return spaces.Discrete(counts[0]) if len(counts) == 1 else spaces.MultiDiscrete(counts)

    def action_parts(self, index: int) -> tuple[ActionPart, ...]:
        """The meaning of each of one agent's action columns: a move, or a message."""
        body = self.agents[index]
        moves, messages = ["move"], ["message"]
        if self.continuous:
            moves = [f"move_{name}" for name in MOVES]
            messages = [f"message_{symbol}" for symbol in range(self.message_size)]
        named: list[tuple[str, ActionKind]] = [(name, "move") for name in moves if body.movable]
        named += [(name, "message") for name in messages if not body.silent]
        directions = None if self.continuous else tuple(map(tuple, DIRECTIONS.T.tolist()))
        return tuple(
            ActionPart(name, kind, column, directions if kind == "move" else None)
            for column, (name, kind) in enumerate(named)
        )

    def apply(self, packed: Array) -> tuple[Doubles, Doubles | None]:
        """Forces and messages of packed joint actions.

        Args:
            packed: [B, n_columns], int64 or float32. Continuous actions outside [0, 1] are clipped.

        Returns:
            push [A, 2, B], and messages [A, C, B] or None when no agent can send any.

        Raises:
            SpaceError: An action does not exist or is not a number, or the shape is wrong.
        """
        self._check(packed)
        columns = packed.T
        if self.continuous:
            columns = np.clip(columns, 0.0, 1.0)
        push = np.zeros((len(self.agents), 2, len(packed)))
        push[self._movers] = (
            self._continuous_push(columns) if self.continuous else self._discrete_push(columns)
        )
        return push, self._messages(columns) if self._senders.size else None

    def _discrete_push(self, columns: Array) -> Doubles:
        """Forces of the agents that can move, [movers, 2, B]."""
        moves = columns[self._move_columns] + self._offsets
        return self._pushes.take(moves, axis=1).swapaxes(0, 1)

    def _continuous_push(self, columns: Array) -> Doubles:
        """Forces of the agents that can move, [movers, 2, B]."""
        start = self._move_columns
        x = columns[start + 2] - columns[start + 1]
        y = columns[start + 4] - columns[start + 3]
        return np.stack([x, y], axis=1) * self._accel

    def _messages(self, columns: Array) -> Doubles:
        """Messages [A, C, B]; zeros of agents that cannot send any."""
        messages = np.zeros((len(self.agents), self.message_size, columns.shape[1]))
        symbols = np.arange(self.message_size)
        if self.continuous:
            messages[self._senders] = columns[self._message_columns[:, None] + symbols]
        else:
            messages[self._senders] = columns[self._message_columns][:, None] == symbols[:, None]
        return messages

    def _check(self, packed: Array) -> None:
        if packed.ndim != 2 or packed.shape[1] != self.n_columns:
            raise SpaceError(f"joint actions have shape {packed.shape}, expected (batch, {self.n_columns})")
        bad = ~np.isfinite(packed) if self.continuous else (packed < 0) | (packed >= self._categories)
        if bad.any():
            env, column = (int(index) for index in np.argwhere(bad)[0])
            expected = "a finite number" if self.continuous else f"0 to {self._categories[column] - 1}"
            raise SpaceError(
                f"action {packed[env, column]} in column {column} of environment {env}, expected {expected}"
            )
