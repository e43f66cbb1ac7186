"""What moves cost bodies that would collide: each answers the others' moves, the one that gains most first.

A body's move costs what it costs alone, and the collisions that are expected on its path while the others
keep to theirs. All begin with the move that is best alone. Then, in sweeps, a body takes the best answer to
the others if it gains more by that than every body near it. Two bodies near each other never change
together, so what all moves cost together falls in every sweep, until no body alone can do better.

Shapes: B batch, K bodies, M moves, H steps, E pairs of bodies near each other (each in both orders).

Source: best responses in a potential game (Monderer & Shapley, 1996), in the order of maximum gain
(Maheswaran et al., "Distributed Algorithms for DCOP: A Graphical-Game-Based Approach", 2004).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from cesma_sb3.envs.particle.world import CONTACT_FORCE, Body

Floats = npt.NDArray[np.float64]
Index = npt.NDArray[np.int64]

# By trial (0 to 0.04, with 6, 12 and 24 agents): without it 24 agents collide a quarter more; from 0.01 on,
# fewer than 24 keep more distance than they need.
UNCERTAINTY = 0.005
# The fall of an expectation beyond which it counts as none, in units of the uncertainty.
_TAIL = 8.0
# Gains below it are rounding.
_ROUNDING = 1e-9


class Crowd:
    """Bodies that keep out of each other's way.

    Args:
        bodies: The bodies (size, mass, and whether they collide).
        collision_cost: What a colliding pair costs for a step, in units of distance; 0: bodies ignore each
            other.
        uncertainty: Of the distance of two bodies, for each step that it is predicted ahead, in units of
            distance, more than 0: a collision is then expected in parts.
    """

    def __init__(self, bodies: Sequence[Body], collision_cost: float, uncertainty: float) -> None:
        self.collision_cost = collision_cost
        self.uncertainty = uncertainty
        size = np.array([body.size for body in bodies])
        collides = np.array([body.collide for body in bodies]) & (collision_cost > 0)
        # Distances [K, K] below which two bodies touch, which a body and itself never do.
        can_touch = collides[:, None] & collides & ~np.eye(len(bodies), dtype=bool)
        self._touch = np.where(can_touch, size[:, None] + size, -np.inf)
        self._mass = np.array([body.mass for body in bodies])[:, None]
        self.is_empty = not can_touch.any()
        """Whether no two bodies can collide."""

    def accelerations(self, positions: Floats) -> Floats:
        """By which bodies that touch push each other apart: positions [B, K, 2] -> [B, K, 2]."""
        if self.is_empty:
            return np.zeros_like(positions)
        vectors, lengths = _between(positions)
        # The world's soft wall is rounded within a thousandth of the contact, which does not matter here.
        strength = CONTACT_FORCE * np.maximum(self._touch - lengths, 0.0) / np.maximum(lengths, 1e-12)
        accelerations: Floats = np.einsum("bij,bijx->bix", strength, vectors) / self._mass
        return accelerations

    def costs(self, costs: Floats, positions: Floats, paths: Floats) -> Floats:
        """What each move costs when the others do what is best for them: [B, K, M].

        The others' moves are the cheapest by the same costs: no body alone can do better.

        Args:
            costs: Of each move alone, [B, K, M].
            positions: Where every path starts, [B, K, 2].
            paths: Where each move leads, [B, K, M, H, 2].
        """
        batch, bodies, others = self._near(positions, paths)
        if not len(batch):
            return costs
        n_bodies, shape = costs.shape[1], costs.shape
        # From here on the bodies of all environments stand in one row.
        costs, paths = costs.reshape(-1, shape[2]), paths.reshape(-1, *paths.shape[2:])
        moves = costs.argmin(axis=1)
        me, other, touch = batch * n_bodies + bodies, batch * n_bodies + others, self._touch[bodies, others]
        starts = np.flatnonzero(np.diff(me, prepend=-1))
        crowded, everybody = me[starts], np.arange(len(moves))
        expected = np.empty((len(me), shape[2]))  # collisions of each pair, by the moves of its first
        stale, total = np.arange(len(me)), costs.copy()
        while True:
            against = paths[other[stale], moves[other[stale]]]
            expected[stale] = self._collisions(paths[me[stale]], against[:, None], touch[stale])
            total[crowded] = costs[crowded] + self.collision_cost * np.add.reduceat(expected, starts)
            gains = total[everybody, moves] - total.min(axis=1)
            ranks = gains.argsort(kind="stable").argsort()  # of equal gains, one goes first
            changes = gains > _ROUNDING
            changes[crowded] &= ranks[crowded] > np.maximum.reduceat(ranks[other], starts)
            if not changes.any():
                return total.reshape(shape)
            moves = np.where(changes, total.argmin(axis=1), moves)
            stale = np.flatnonzero(changes[other])

    def _near(self, positions: Floats, paths: Floats) -> tuple[Index, Index, Index]:
        """The pairs whose paths may touch: [E] environments, bodies and others, in this order."""
        if self.is_empty:
            nothing = np.zeros(0, dtype=np.int64)
            return nothing, nothing, nothing
        reach = np.linalg.norm(paths - positions[:, :, None, None], axis=-1).max(axis=(2, 3))
        margin = _TAIL * self.uncertainty * paths.shape[3]
        gaps = _between(positions)[1] - self._touch
        batch, bodies, others = np.nonzero(gaps < reach[:, :, None] + reach[:, None] + margin)
        return batch, bodies, others

    def _collisions(self, paths: Floats, others: Floats, touch: Floats) -> Floats:
        """Expected steps in contact: paths [E, M, H, 2], others [E, 1, H, 2], distances [E] -> [E, M]."""
        from scipy.special import expit  # slow to import, and students need none

        gaps = touch[:, None, None] - np.linalg.norm(paths - others, axis=-1)
        expected: Floats = expit(gaps / (self.uncertainty * np.arange(1, paths.shape[2] + 1))).sum(axis=-1)
        return expected


def _between(positions: Floats) -> tuple[Floats, Floats]:
    """Vectors [B, K, K, 2] to each body from each other, and their lengths [B, K, K]."""
    vectors = positions[:, :, None] - positions[:, None]
    return vectors, np.linalg.norm(vectors, axis=-1)
