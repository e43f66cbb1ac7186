"""The analytically derived expert of cooperative navigation: optimal assignment, then steering.

Source: section 4.1 ("or potentially even analytically derived experts"). It is also the reference of the
normalised score: 1 is what it reaches.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.optimize import linear_sum_assignment

from cesma_sb3.envs.particle.controls import DIRECTIONS, N_MOVES
from cesma_sb3.envs.particle.world import DAMPING, TIME_STEP, Body
from cesma_sb3.errors import ExpertError
from cesma_sb3.experts.protocol import Actions, Masks, Observations
from cesma_sb3.joint.layout import AgentLayout
from cesma_sb3.joint.spaces import TeamSpaces

Floats = npt.NDArray[np.float64]

# Steps that a push is followed for. By trial (2 to 12; 3 and 6 agents): from 4 on, pushes are gentler and
# returns lower.
HORIZON = 3


class ScriptedNavigationExpert:
    """Assigns landmarks to agents so that the sum of travel times is least, and steers each to its own.

    Every step is decided anew from the joint observation alone. An agent is steered by trying each push,
    letting the agent coast, and taking the push that keeps it nearest to its landmark over the next steps.

    Args:
        team: A team whose layouts have the parts `velocity` and `landmarks` (relative positions).
        bodies: The agents' bodies (acceleration, mass, top speed), in the order of the team.

    Raises:
        ExpertError: The team's layouts lack these parts, or there are fewer landmarks than agents.
    """

    def __init__(self, team: TeamSpaces, bodies: Sequence[Body]) -> None:
        self.team = team
        if len(bodies) != team.n_agents:
            raise ExpertError(f"scripted expert: {len(bodies)} bodies for {team.n_agents} agents")
        self._velocity = np.stack([self._columns(agent, "velocity") for agent in team.agents])  # [N, 2]
        landmarks = np.stack([self._columns(agent, "landmarks") for agent in team.agents])
        self._landmarks = landmarks.reshape(team.n_agents, -1, 2)  # [N, L, 2]
        if self._landmarks.shape[1] < team.n_agents:
            raise ExpertError(
                f"scripted expert: {self._landmarks.shape[1]} landmarks for {team.n_agents} agents"
            )
        accel = np.array([body.accel / body.mass for body in bodies])
        self._max_speed = np.array([body.max_speed for body in bodies])[:, None, None]  # [N, 1, 1]
        # Speed that a steady push along one axis approaches; it decides how long a distance takes.
        self._speed = np.minimum(accel * TIME_STEP / DAMPING, self._max_speed[:, 0, 0])
        # What each move adds to the velocity: [N, moves, 2].
        self._pushes = DIRECTIONS.T[None] * (accel * TIME_STEP)[:, None, None]

    def _columns(self, agent: str, part: str) -> npt.NDArray[np.int64]:
        layout: AgentLayout | None = (self.team.layouts or {}).get(agent)
        if layout is None or part not in {p.name for p in layout.observation.parts}:
            raise ExpertError(
                f"scripted expert: the layout of {agent} has no part {part!r}: this is no navigation task"
            )
        own, inside = (
            self.team.observation_slices[self.team.agent_index(agent)],
            layout.observation.slice(part),
        )
        return np.arange(own.start + inside.start, own.start + inside.stop)

    def labels(self, observations: Observations, masks: Masks | None = None) -> Actions:
        """See `Expert.labels`."""
        observed = np.asarray(observations, dtype=np.float64)
        velocities = observed[:, self._velocity]  # [B, N, 2]
        to_landmarks = observed[:, self._landmarks]  # [B, N, L, 2]
        goals = self.assign(to_landmarks)
        errors = np.take_along_axis(to_landmarks, goals[:, :, None, None], axis=2)[:, :, 0]
        return self._pack(self._costs(errors, velocities).argmin(axis=2))

    def assign(self, to_landmarks: Floats) -> npt.NDArray[np.int64]:
        """The landmark of each agent.

        Args:
            to_landmarks: Landmarks relative to agents [B, N, L, 2].

        Returns:
            [B, N] int64, different for each agent of a team.
        """
        distances = np.linalg.norm(to_landmarks, axis=-1)
        # The return sums the distance over the steps of the approach: distance times travel time, over two.
        costs = distances**2 / self._speed[None, :, None]
        return np.stack([linear_sum_assignment(cost)[1] for cost in costs]).astype(np.int64)

    def _costs(self, errors: Floats, velocities: Floats) -> Floats:
        """Distance to the landmark over the next steps for each move: errors [B, N, 2] -> [B, N, moves]."""
        # mpe2 moves by the old velocity and then accelerates, so a push is felt one step late.
        where = errors[:, :, None] - velocities[:, :, None] * TIME_STEP
        speed = velocities[:, :, None] * (1 - DAMPING) + self._pushes
        length = np.maximum(np.linalg.norm(speed, axis=-1, keepdims=True), 1e-12)
        speed = speed * np.minimum(1.0, self._max_speed / length)
        cost = np.zeros(speed.shape[:-1])
        for _ in range(HORIZON):
            where = where - speed * TIME_STEP
            speed = speed * (1 - DAMPING)
            cost += np.linalg.norm(where, axis=-1)
        return cost

    def _pack(self, moves: npt.NDArray[np.int64]) -> Actions:
        """Moves [B, N] as packed joint actions; a continuous team gets a full push."""
        if self.team.is_discrete:
            return moves.astype(np.int64)
        return np.eye(N_MOVES, dtype=np.float32)[moves].reshape(len(moves), -1)
