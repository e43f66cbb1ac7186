"""A scripted prey for mpe2's `simple_tag`: it runs from the nearest, and stays in the field."""

from __future__ import annotations

from typing import Any

import numpy as np

from cesma_sb3.envs.particle.actions import DIRECTIONS, N_MOVES
from cesma_sb3.errors import ExpertError
from cesma_sb3.spaces.team_spaces import TeamSpaces
from cesma_sb3.spaces.types import Doubles, Masks, Observations, Packed

_FIELD = 0.6
"""Distance from the middle at which a wall begins to push. Beyond 0.9 the game has the prey pay."""
_WALL = 10.0
"""How hard a wall pushes, for each unit of distance beyond `_FIELD`, beside a predator one unit away: 1."""


class FleeingPrey:
    """Every prey moves away from the nearest predator that is near, and from the walls; else it does nothing.

    A prey observes its velocity and its place, then relative to it the obstacles, the predators and the other
    prey, then the velocities of these: two numbers each.

    Args:
        team: All prey of one game.
        n_obstacles: How many obstacles there are, the environment's `num_obstacles`.
        sight: How near a predator must be, in the game's units: the field is two wide.

    Raises:
        ExpertError: The observations are of another game, or of another number of obstacles.
    """

    def __init__(self, team: TeamSpaces, n_obstacles: int = 2, sight: float = 0.5) -> None:
        self.team, self.sight = team, sight
        n_prey, (width, *others) = team.n_agents, team.observation_sizes
        self._first = 4 + 2 * n_obstacles
        n_predators, rest = divmod(width - self._first - 4 * (n_prey - 1), 2)
        if any(other != width for other in others) or rest or n_predators < 1:
            raise ExpertError(
                f"FleeingPrey: observations of {', '.join(map(str, team.observation_sizes))} numbers, "
                f"expected those of mpe2's simple_tag with {n_obstacles} obstacles"
            )
        if team.n_columns != (N_MOVES if team.is_continuous else 1) * n_prey:
            raise ExpertError("FleeingPrey: expected five moves of each agent, as mpe2's simple_tag has them")
        self._last = self._first + 2 * n_predators

    def labels(self, observations: Observations, masks: Masks | None = None) -> Packed:
        """The moves of all prey (`Expert.labels`)."""
        batch = len(observations)
        seen = observations.reshape(batch, self.team.n_agents, -1).astype(np.float64)
        moves = (self._push(seen) @ DIRECTIONS).argmax(axis=-1)  # nothing where all is in balance
        packed: Any = (
            np.eye(N_MOVES, dtype=np.float32)[moves].reshape(batch, -1) if self.team.is_continuous else moves
        )
        actions: Packed = packed
        return actions

    def _push(self, seen: Doubles) -> Doubles:
        """Where each prey is driven, [B, A, 2], from what it sees [B, A, F]."""
        places = seen[..., 2:4]
        predators = seen[..., self._first : self._last].reshape(*seen.shape[:2], -1, 2)
        distances = np.linalg.norm(predators, axis=-1, keepdims=True).clip(0.05)
        nearest = distances.argmin(axis=-2, keepdims=True)
        near = np.where(distances < self.sight, predators / distances**3, 0.0)
        away = -np.take_along_axis(near, nearest, axis=-2)[..., 0, :]
        wall = _WALL * np.sign(places) * (np.abs(places) - _FIELD).clip(0.0)
        push: Doubles = away - wall
        return push
