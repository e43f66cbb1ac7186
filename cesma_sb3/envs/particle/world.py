"""Many particle environments at once: disks that accelerate, slow down, and push each other apart.

The physics are those of OpenAI's multi-agent particle environments as mpe2 runs them, in the same order:
forces from the positions, positions from the old velocities, velocities from the forces, top speeds last.

The last axis of every array is that of the environments, so that each NumPy loop runs over environments and a
team of any size costs the same number of calls. The letters in the shapes:

    B environments, E entities (agents first, then landmarks), A agents, L landmarks, C message size,
    P pairs that can collide

Source: Lowe et al., "Multi-Agent Actor-Critic for Mixed Cooperative-Competitive Environments", and mpe2's
World.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import inf
from typing import Any

import numpy as np

from cesma_sb3.errors import SpaceError, UnknownNameError
from cesma_sb3.spaces.types import Array, Doubles, Flags, Index

# Parts of an environment's state that are not the world's.
EPISODE_STATE = ("steps", "agent_returns", "rng")
TIME_STEP = 0.1
DAMPING = 0.25
CONTACT_FORCE = 100.0
CONTACT_MARGIN = 1e-3
# Keeps 0 / 0 away where a body is at rest or two bodies are at the very same place.
TINY = 1e-100
# The exponential of anything below is 0 in float64.
LEAST_EXPONENT = -746.0


@dataclass(frozen=True)
class Body:
    """An agent or a landmark: a disk.

    Landmarks never move, whatever `movable` says.
    """

    name: str
    size: float = 0.05
    """Radius."""
    mass: float = 1.0
    accel: float = 5.0
    """Force of one full push by the agent itself."""
    max_speed: float = inf
    movable: bool = True
    collide: bool = True
    """Whether other bodies that collide push it away."""
    silent: bool = True
    """Whether it sends no messages."""
    color: tuple[int, int, int] | None = None
    """RGB, 0 to 255; None lets the renderer choose."""


class World:
    """The state of `n_envs` environments with the same bodies, and the step that moves them.

    Args:
        agents: The bodies that act.
        landmarks: The bodies that stay where they are put.
        n_envs: B, the number of environments that are stepped together.
        message_size: C, numbers in one agent's message.
        variables: Other state of a scenario (goals, say): name -> array [B, ...].

    Attributes:
        positions: [E, 2, B] float64. Write to them through `place` or `set_state`, never directly.
        velocities: [A, 2, B] float64.
        messages: [A, C, B] float64; the message that each agent sent last.
        variables: name -> array [B, ...].
        first, second: [P] int64, the entities of each pair that can collide.
    """

    def __init__(
        self,
        *,
        agents: Sequence[Body],
        landmarks: Sequence[Body],
        n_envs: int,
        message_size: int = 0,
        variables: Mapping[str, Array] | None = None,
    ) -> None:
        bodies = (*agents, *landmarks)
        self.agents, self.landmarks = tuple(agents), tuple(landmarks)
        self.n_agents, self.n_envs = len(agents), n_envs
        self.positions: Doubles = np.zeros((len(bodies), 2, n_envs))
        self.velocities: Doubles = np.zeros((self.n_agents, 2, n_envs))
        self.messages: Doubles = np.zeros((self.n_agents, message_size, n_envs))
        self.variables = dict(variables or {})

        pairs = [
            (a, b)
            for a, b in combinations(range(len(bodies)), 2)
            if a < self.n_agents and bodies[a].collide and bodies[b].collide
        ]
        self.first, self.second = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
        size: Doubles = np.array([body.size for body in bodies])
        self.touch_distance: Doubles = (size[self.first] + size[self.second])[:, None]
        agent: Index = np.arange(self.n_agents)[:, None]
        # [A, P]: 1 where the agent is the first of the pair, -1 where it is the second.
        self._side: Doubles = (agent == self.first) * 1.0 - (agent == self.second) * 1.0
        self._in_pair: Doubles = np.abs(self._side)

        # A body that cannot move is one that no force accelerates.
        response = [TIME_STEP / body.mass if body.movable else 0.0 for body in agents]
        self._response: Doubles = np.array(response)[:, None, None]
        self._max_speed: Doubles = np.array([body.max_speed for body in agents])[:, None]
        self._has_max_speed = bool(np.isfinite(self._max_speed).any())
        self._separation: tuple[Doubles, Doubles] | None = None

    @property
    def agent_positions(self) -> Doubles:
        """A view [A, 2, B]."""
        return self.positions[: self.n_agents]

    @property
    def landmark_positions(self) -> Doubles:
        """A view [L, 2, B]."""
        return self.positions[self.n_agents :]

    def place(self, which: Index, positions: Doubles) -> None:
        """Puts every entity of some environments somewhere, at rest and without messages.

        Args:
            which: [b] int64, the environments.
            positions: [E, 2, b].
        """
        self.positions[:, :, which] = positions
        self.velocities[:, :, which] = 0.0
        self.messages[:, :, which] = 0.0
        self._separation = None

    def step(self, push: Doubles, messages: Doubles | None = None) -> None:
        """Moves every environment by one time step.

        Args:
            push: [A, 2, B], the agents' own forces.
            messages: [A, C, B], the messages that the agents send; None when they send none.
        """
        force = push + self._contact_forces() if self.first.size else push
        positions, velocities = self.agent_positions, self.velocities
        positions += velocities * TIME_STEP
        velocities *= 1.0 - DAMPING
        velocities += force * self._response
        if self._has_max_speed:
            speed = np.maximum(length(velocities), TINY)
            velocities *= np.minimum(1.0, self._max_speed / speed)[:, None]
        if messages is not None:
            self.messages[...] = messages
        self._separation = None

    def separation(self) -> tuple[Doubles, Doubles]:
        """Vectors [P, 2, B] and lengths [P, B] from the second to the first of each pair that can collide."""
        if self._separation is None:
            vectors = self.positions[self.first] - self.positions[self.second]
            self._separation = vectors, length(vectors)
        return self._separation

    def touching(self) -> Flags:
        """Which pairs overlap: [P, B]."""
        return self.separation()[1] < self.touch_distance

    def collisions(self) -> Doubles:
        """The number of bodies that each agent overlaps, [A, B]."""
        return self._in_pair @ self.touching()

    def _contact_forces(self) -> Doubles:
        """Forces [A, 2, B] that push touching bodies apart, from a soft wall around each."""
        vectors, lengths = self.separation()
        depth = ((self.touch_distance - lengths) / CONTACT_MARGIN).ravel()
        # All other pairs are so far apart that their force is 0 in float64; np.exp is slow to underflow.
        near = np.flatnonzero(depth > LEAST_EXPONENT)
        depth = depth[near]
        # log(1 + exp(depth)) without overflow; several times faster than np.logaddexp for large teams.
        force = np.maximum(depth, 0.0) + np.log1p(np.exp(-np.abs(depth)))
        force *= CONTACT_FORCE * CONTACT_MARGIN
        # Two bodies at the very same place have no direction to part in: no force, where mpe2 has NaN.
        force /= np.maximum(lengths.ravel()[near], TINY)
        strength = np.zeros(lengths.size)
        strength[near] = force
        forces = vectors * strength.reshape(-1, 1, self.n_envs)
        on_agents: Doubles = self._side @ forces.reshape(len(forces), -1)
        return on_agents.reshape(self.velocities.shape)

    def _moving(self) -> dict[str, Doubles]:
        """Views of the arrays that make up the state, environments last."""
        return {
            "positions": self.agent_positions,
            "velocities": self.velocities,
            "landmarks": self.landmark_positions,
            "messages": self.messages,
        }

    def get_state(self) -> dict[str, Array]:
        """A copy of everything that changes, environments first.

        Returns:
            `positions` [B, A, 2], `velocities` [B, A, 2], `landmarks` [B, L, 2], `messages` [B, A, C]
            (float64), and each of the scenario's variables under its name.
        """
        state: dict[str, Array] = {key: envs_first(array) for key, array in self._moving().items()}
        return state | {key: array.copy() for key, array in self.variables.items()}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Takes over what `get_state` returned, or a part of it: what is not named stays.

        Args:
            state: Arrays of the same shapes; what an environment keeps beside the world (`EPISODE_STATE`) is
                left to it.

        Raises:
            UnknownNameError: No such part of the state.
            SpaceError: An array has another shape.
        """
        arrays = {key: np.moveaxis(array, -1, 0) for key, array in self._moving().items()} | self.variables
        for key, values in state.items():
            if key in EPISODE_STATE:
                continue
            if key not in arrays:
                raise UnknownNameError.of("part of the state", key, arrays)
            if np.shape(values) != arrays[key].shape:
                raise SpaceError(f"{key} has shape {np.shape(values)}, expected {arrays[key].shape}")
            arrays[key][...] = values
        self._separation = None


def envs_first(array: Doubles) -> Doubles:
    """A contiguous copy [B, ...] of an array [..., B]."""
    return np.moveaxis(array, -1, 0).copy()


def squared_length(vectors: Doubles) -> Doubles:
    """The squared lengths [..., B] of vectors [..., 2, B]."""
    x, y = vectors[..., 0, :], vectors[..., 1, :]
    result: Doubles = x * x + y * y
    return result


def length(vectors: Doubles) -> Doubles:
    """The lengths [..., B] of vectors [..., 2, B]."""
    result: Doubles = np.sqrt(squared_length(vectors))
    return result
