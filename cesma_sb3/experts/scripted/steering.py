"""Steering of particle bodies: the push that brings each nearest to where it should be, and into nobody.

A push is chosen by trying each, letting the body coast, and summing its distance and its collisions over the
next steps.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from cesma_sb3.envs.particle.actions import DIRECTIONS, N_MOVES
from cesma_sb3.envs.particle.world import DAMPING, TIME_STEP, Body
from cesma_sb3.errors import ExpertError
from cesma_sb3.experts.scripted.crowd import Crowd
from cesma_sb3.spaces.team_spaces import TeamSpaces
from cesma_sb3.spaces.types import Packed

Floats = npt.NDArray[np.float64]
Index = npt.NDArray[np.int64]

# Steps that a push is followed for. By trial (2 to 12; 3 and 6 agents): from 4 on, pushes are gentler and
# returns lower.
HORIZON = 3


class Steering:
    """How some agents of a team are moved. Shapes: B batch, K steered agents.

    Args:
        team: A team whose layouts have the part `velocity`.
        bodies: The steered agents' bodies (acceleration, mass, top speed).
        agents: The steered agents' places in the team.
        collision_cost: What two of them that collide cost for a step, in units of distance.
        uncertainty: Of the distance of two of them, a step ahead (`Crowd`).

    Attributes:
        speed: [K] that a steady push along one axis approaches; it decides how long a distance takes.

    Raises:
        ExpertError: A layout lacks the part, or actions are not the moves of a particle body.
    """

    def __init__(
        self,
        team: TeamSpaces,
        bodies: Sequence[Body],
        agents: Sequence[int],
        collision_cost: float,
        uncertainty: float,
    ) -> None:
        self.team = team
        self._crowd = Crowd(bodies, collision_cost, uncertainty)
        self._velocity = np.stack([columns_of(team, agent, "velocity") for agent in agents])  # [K, 2]
        accel = np.array([body.accel / body.mass for body in bodies])
        max_speed = np.array([body.max_speed for body in bodies])
        self._max_speed = max_speed[:, None, None]
        self.speed = np.minimum(accel * TIME_STEP / DAMPING, max_speed)
        # What each move adds to the velocity: [K, moves, 2].
        self._pushes = DIRECTIONS.T[None] * (accel * TIME_STEP)[:, None, None]
        moves = [_move_columns(team, agent) for agent in agents]
        if len({len(columns) for columns in moves} | {1, N_MOVES}) > 2:
            raise ExpertError("scripted expert: actions are not the moves of a particle body")
        self._columns: Index = np.array(moves, dtype=np.int64)  # [K, 1] or [K, moves]

    def costs(self, observations: Floats, positions: Floats, targets: Floats) -> Floats:
        """What each move costs each agent, in units of distance: [B, K, moves].

        Args:
            observations: Joint observations [B, I] float64.
            positions: Of the steered agents, from any origin, [B, K, 2].
            targets: Where each should be, from the same origin, [B, K, 2].
        """
        velocities = observations[:, self._velocity]
        # mpe2 moves by the old velocity and then accelerates, so a push is felt one step late.
        arrived = positions + velocities * TIME_STEP
        paths = self._paths(arrived, velocities, self._crowd.accelerations(positions))
        costs = np.linalg.norm(paths - targets[:, :, None, None], axis=-1).sum(axis=-1)
        return self._crowd.costs(costs, arrived, paths)

    def actions(self, costs: Floats) -> Packed:
        """Packed joint actions [B, C]: the cheapest moves; agents that are not steered and messages are 0."""
        moves = costs.argmin(axis=2)
        packed = np.tile(self.team.join_actions({}), (len(costs), 1))
        is_choice = self._columns.shape[1] == 1
        packed[:, self._columns] = moves[:, :, None] if is_choice else np.eye(N_MOVES)[moves]
        actions: Packed = packed
        return actions

    def probabilities(self, costs: Floats, temperature: float) -> npt.NDArray[np.float32]:
        """The softmax of minus the costs of each agent's moves, [B, mask_size]; of all else category 0."""
        from scipy.special import softmax  # slow to import, and students need none

        starts = np.array([where.start for where in self.team.column_masks])
        flat = np.zeros((len(costs), self.team.mask_size), dtype=np.float32)
        flat[:, starts] = 1.0
        flat[:, starts[self._columns] + np.arange(N_MOVES)] = softmax(-costs / temperature, axis=2)
        return flat

    def _paths(self, positions: Floats, velocities: Floats, accelerations: Floats) -> Floats:
        """The next steps by each push, which is felt from here on, and coasting: [B, K, moves, H, 2].

        Contacts are followed for two steps, of which nobody's push changes anything.
        """
        speed = (velocities * (1 - DAMPING) + accelerations * TIME_STEP)[:, :, None] + self._pushes
        speed = self._limited(speed)
        where, after = positions[:, :, None], self._crowd.accelerations(positions) * TIME_STEP
        steps = []
        for step in range(HORIZON):
            where = where + speed * TIME_STEP
            steps.append(where)
            speed = speed * (1 - DAMPING)
            if step == 0:
                speed = self._limited(speed + after[:, :, None])
        return np.stack(steps, axis=3)

    def _limited(self, velocities: Floats) -> Floats:
        """Velocities [B, K, moves, 2] of at most the top speeds."""
        length = np.maximum(np.linalg.norm(velocities, axis=-1, keepdims=True), 1e-12)
        limited: Floats = velocities * np.minimum(1.0, self._max_speed / length)
        return limited


def columns_of(team: TeamSpaces, agent: int, part: str) -> Index:
    """Where a part of an agent's observation stands in the joint one: [width] int64.

    Raises:
        ExpertError: The layout has no such part.
    """
    layout = team.layouts[team.agents[agent]].observation
    if part not in {p.name for p in layout.parts}:
        raise ExpertError(
            f"scripted expert: the layout of {team.agents[agent]} has no part {part!r}: "
            "this is no navigation task"
        )
    start, inside = team.observation_slices[agent].start, layout.slice(part)
    return np.arange(start + inside.start, start + inside.stop)


def _move_columns(team: TeamSpaces, agent: int) -> list[int]:
    """The columns of a packed joint action that move an agent: one choice, or a number for each move."""
    where, parts = team.action_columns[agent], team.layouts[team.agents[agent]].action
    declared = [where.start + part.column for part in parts if part.kind == "move"]
    return declared or list(range(where.start, where.stop))
