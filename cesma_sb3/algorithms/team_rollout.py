"""A rollout of a team: SB3's, with what its agents knew in each step, drawn as samples or as sequences.

Shapes: T steps of a rollout, E environments, S samples, B environments drawn, N agents, V values (1 of the
team, or N), A action columns, M mask flags, H entries of the memory.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import NamedTuple

import numpy as np
import torch as th
from stable_baselines3.common.buffers import RolloutBuffer

from cesma_sb3.spaces.types import Array, Index


class TeamSamples(NamedTuple):
    """SB3's `RolloutBufferSamples`, and more. Of agents with a memory S is T * B: all of B environments."""

    observations: th.Tensor  # [S, I] float32
    actions: th.Tensor  # packed [S, A]
    old_values: th.Tensor  # [S, V]
    old_log_prob: th.Tensor  # [S, N]
    advantages: th.Tensor  # [S, V]
    returns: th.Tensor  # [S, V]
    masks: th.Tensor | None = None  # available categories [S, M] bool
    labels: th.Tensor | None = None  # what an expert would do, packed [S, A]
    alive: th.Tensor | None = None  # with labels: who was alive [S, N] bool
    memory: th.Tensor | None = None  # before the first step [B, H]
    starts: th.Tensor | None = None  # where episodes begin [T, B] bool


class TeamRolloutBuffer(RolloutBuffer):
    """SB3's rollout buffer [T, E], whose numbers may be those of each agent [T, E, N].

    Args:
        *args: Of SB3's buffer, as the keyword arguments.
    """

    memory: th.Tensor | None
    """What the agents remembered before the first step, [E, H]; None of agents without a memory."""

    def reset(self) -> None:
        """Forget the rollout."""
        super().reset()
        self.memory = None
        self._known: dict[str, Array] = {}

    def note(self, **known: Array | None) -> None:
        """Note more of the step that is added next: fields of `TeamSamples`, each [E, ...] or None."""
        for name, rows in known.items():
            if rows is None:
                continue
            if name not in self._known:
                self._known[name] = np.zeros((self.buffer_size, *rows.shape), rows.dtype)
            self._known[name][self.pos] = rows

    def get(  # type: ignore[override]  # more than SB3's samples
        self, batch_size: int | None = None
    ) -> Generator[TeamSamples, None, None]:
        """The rollout in random order (of NumPy's global generator, as SB3's): single steps, in batches.

        Of agents with a memory it is all steps of some environments, of one at least.

        Args:
            batch_size: Samples of a batch; None: all.
        """
        n_steps, n_envs = self.buffer_size, self.n_envs
        size = n_steps * n_envs if batch_size is None else batch_size
        if self.memory is None:
            order = np.random.permutation(n_steps * n_envs)  # noqa: NPY002  # SB3's draws
            for first in range(0, len(order), size):
                envs, steps = np.divmod(order[first : first + size], n_steps)
                yield self._taken(steps, envs)
            return
        order = np.random.permutation(n_envs)  # noqa: NPY002  # SB3's draws
        width = max(1, size // n_steps)
        for first in range(0, n_envs, width):
            yield self.sequences(order[first : first + width])

    def sequences(self, envs: Index) -> TeamSamples:
        """All steps of these environments, in the order of time."""
        steps = np.arange(self.buffer_size)[:, None]
        samples = self._taken(*(grid.ravel() for grid in np.broadcast_arrays(steps, envs)))
        if self.memory is None:
            return samples
        starts = self.episode_starts[:, envs] > 0
        return samples._replace(memory=self.memory[envs], starts=self._tensor(starts))

    def _taken(self, steps: Index, envs: Index) -> TeamSamples:
        """The samples of these steps in these environments, each [S]."""
        fields = (self.observations, self.actions, self.values, self.log_probs, self.advantages, self.returns)
        taken = [self._tensor(array[steps, envs].reshape(len(steps), -1)) for array in fields]
        known = {name: self._tensor(array[steps, envs]) for name, array in self._known.items()}
        return TeamSamples(*taken, **known)

    def _tensor(self, array: Array) -> th.Tensor:
        return self.to_torch(array, copy=False)
