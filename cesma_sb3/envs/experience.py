"""The experience of a training: the states that its environments showed, recorded at the joint seam.

Shape suffixes: T vector steps, B environments, I entries of the joint observation, N agents, M mask flags,
C action columns.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from cesma_sb3.envs.joint_vec_env import JointVecEnv, StepReturn
from cesma_sb3.envs.vec_wrappers import JointVecEnvWrapper
from cesma_sb3.errors import SpaceError
from cesma_sb3.spaces.row_arrays import Rows, compact_dtype
from cesma_sb3.spaces.team_spaces import TeamSpaces
from cesma_sb3.spaces.types import Array, Flags, Floats, Index, Masks, Observations, Packed
from cesma_sb3.utils.stateful import Stateful


class States(NamedTuple):
    """States in which a team had to act: T vector steps of B environments, in the order of time.

    Of one environment alone the arrays have no dimension B.
    """

    observations: Floats
    """Joint observations, [T, B, I] float32."""
    alive: Flags
    """Which agents were alive, [T, B, N]."""
    starts: Flags
    """Which states are the first of an episode, [T, B]."""
    masks: Masks | None
    """Available categories, [T, B, M]; None of a team without masks."""
    cuts: Flags | None = None
    """Before which vector steps all episodes were cut off by a reset, [T]; None: before none."""
    labels: Packed | None = None
    """Packed joint actions to imitate, [T, B, C]; None: the expert is asked."""


class Experience(Stateful):
    """The newest states that batched environments have shown, whatever acted in them.

    The finished expert can label them, where they do not have labels of their own: they are then the first
    dataset of DAgger, and cost no environment step. Observations are those of the whole team, in the joint
    order, with what was received as messages (an expert without messages sends none: see
    `cesma_sb3.imitation.labelling`).

    Args:
        team: The team.
        n_envs: Environments stepped together.
        capacity: Most samples kept, rounded down to whole vector steps, at least one of them.

    Raises:
        ValueError: `n_envs` is below 1.
    """

    state_attributes = ("rows", "n_steps")

    def __init__(self, team: TeamSpaces, n_envs: int, capacity: int) -> None:
        if n_envs < 1:
            raise ValueError(f"n_envs={n_envs}: expected at least 1")
        self.team = team
        self.n_envs = n_envs
        self.limit = max(1, capacity // n_envs)
        """Most vector steps kept."""
        self.rows = Rows(self.limit, {"observations": compact_dtype(team)})
        self.n_steps = 0
        """Vector steps ever recorded."""
        self.is_whole = False
        """Whether the newest states are the last of their episodes: of what is recorded no more."""

    def __len__(self) -> int:
        """Samples kept."""
        return self.n_kept * self.n_envs

    @property
    def n_kept(self) -> int:
        """Vector steps kept."""
        return min(self.n_steps, self.limit)

    @property
    def n_bytes(self) -> int:
        """Memory that is allocated, in bytes."""
        return self.rows.n_bytes

    def expect(self, n_samples: int) -> None:
        """Announce so many samples: their memory is allocated at once, up to the capacity."""
        self.rows.expect(self.n_kept + n_samples // self.n_envs + 2)

    def append(
        self,
        observations: Observations,
        alive: Flags,
        starts: Flags,
        masks: Masks | None,
        *,
        cuts: bool = False,
    ) -> None:
        """Record one state of every environment; the arrays are copied.

        Args:
            observations: [B, I].
            alive: [B, N].
            starts: Which are the first of an episode, [B].
            masks: [B, M], or None.
            cuts: Whether the episodes before were cut off: all environments were reset.

        Raises:
            SpaceError: As of `extend`.
            ConfigError: There is not enough memory.
        """
        masks_TBM = None if masks is None else masks[None]
        self.extend(States(observations[None], alive[None], starts[None], masks_TBM, np.array([cuts])))

    def extend(self, states: States) -> None:
        """Record the states of several vector steps; the arrays are copied.

        Raises:
            SpaceError: An array is not of this team's shape; or masks are missing or too many; or some states
                have labels and others have none.
            ConfigError: There is not enough memory.
        """
        n_steps = len(states.starts)
        if states.cuts is None:
            states = states._replace(cuts=np.zeros(n_steps, dtype=bool))
        self._check(states)
        kept: dict[str, Array] = {
            name: each[-self.limit :] for name, each in states._asdict().items() if each is not None
        }
        kept["observations"] = kept["observations"].astype(np.float32, copy=False)
        numbers = self.n_steps + np.arange(n_steps)[-self.limit :]
        self.rows.write(numbers % self.limit, kept)
        self.n_steps += n_steps

    def _check(self, states: States) -> None:
        team, steps = self.team, np.shape(states.starts)[:1]
        has_labels = "labels" in self.rows.arrays if self.n_steps else states.labels is not None
        expected: dict[str, tuple[int, ...] | None] = {
            "observations": (*steps, self.n_envs, team.observation_size),
            "alive": (*steps, self.n_envs, team.n_agents),
            "starts": (*steps, self.n_envs),
            "masks": (*steps, self.n_envs, team.mask_size) if team.has_masks else None,
            "cuts": steps,
            "labels": (*steps, self.n_envs, team.n_columns) if has_labels else None,
        }
        for name, array in states._asdict().items():
            shape = None if array is None else array.shape
            if shape != expected[name]:
                raise SpaceError(f"experience: {name} of shape {shape}, expected {expected[name]}")

    def states(self, first: int = 0, last: int | None = None, *, env: int | None = None) -> States:
        """Copies of the vector steps from `first` up to `last`, counted from the oldest one that is kept.

        Args:
            first: From 0.
            last: At most `n_kept`; None: `n_kept`.
            env: Of this environment alone; None: of all.

        Raises:
            ValueError: Nothing was recorded.
        """
        if not self.n_steps:
            raise ValueError("the experience is empty: nothing was recorded")
        places = self._places(first, self.n_kept if last is None else last)
        envs = slice(None) if env is None else env
        kept: dict[str, Any] = {
            name: array[places] if name == "cuts" else array[places, envs]
            for name, array in self.rows.arrays.items()
        }
        kept["observations"] = kept["observations"].astype(np.float32, copy=False)
        return States(**{"masks": None} | kept)

    def blocks(self, n_samples: int) -> Iterator[States]:
        """All vector steps in blocks of about `n_samples` samples."""
        n_steps = max(1, n_samples // self.n_envs)
        for first in range(0, self.n_kept, n_steps):
            yield self.states(first, min(first + n_steps, self.n_kept))

    def episodes(self) -> list[tuple[int, slice]]:
        """Whole episodes, in the order in which they ended.

        Left out are those whose beginning is no longer kept, and those that have not ended: that are under
        way (unless `is_whole`), or were cut off.

        Returns:
            Of each its environment, and its vector steps, counted from the oldest one that is kept.
        """
        if not self.n_kept:
            return []
        places = self._places(0, self.n_kept)
        starts, cuts = (self.rows.arrays[name][places] for name in ("starts", "cuts"))
        found = [
            (env, slice(begin, end))
            for env in range(self.n_envs)
            for begin, end in pairwise(np.flatnonzero(starts[:, env]).tolist())
            if not cuts[end]
        ]
        if self.is_whole:
            begins = [(env, np.flatnonzero(starts[:, env])) for env in range(self.n_envs)]
            found += [(env, slice(int(each[-1]), self.n_kept)) for env, each in begins if len(each)]
        return sorted(found, key=lambda episode: episode[1].stop)

    def _places(self, first: int, last: int) -> Index:
        """The rows of these vector steps."""
        places: Index = (self.n_steps - self.n_kept + np.arange(first, last)) % self.limit
        return places


def experience_bytes(team: TeamSpaces) -> int:
    """Memory of one sample of a team's experience, in bytes."""
    masks = team.mask_size if team.has_masks else 0
    return team.observation_size * compact_dtype(team).itemsize + team.n_agents + 1 + masks


class RecordedVecEnv(JointVecEnvWrapper, Stateful):
    """A joint environment whose states are recorded, whatever is trained in it and whatever is around it.

    Args:
        venv: The environment, in any action view. Closing the wrapper closes it.
        experience: Where its states are recorded.

    Raises:
        SpaceError: The experience is of another team, or of another number of environments.
    """

    state_attributes = ("venv", "experience")

    def __init__(self, venv: JointVecEnv, experience: Experience) -> None:
        super().__init__(venv)
        if experience.team != venv.team or experience.n_envs != venv.num_envs:
            raise SpaceError(
                f"experience: of {experience.n_envs} environments of {experience.team}; expected "
                f"{venv.num_envs} of {venv.team}"
            )
        self.experience = experience

    def reset(self) -> Observations:
        """Start an episode in every environment: observations [B, I] float32."""
        observations = super().reset()
        self._record(observations, np.ones(self.num_envs, dtype=bool), cuts=True)
        return observations

    def step_wait(self) -> StepReturn:
        """Return the results of the actions that `step_async` took, as the environment does."""
        observations, rewards, dones, infos = super().step_wait()
        self._record(observations, dones)
        return observations, rewards, dones, infos

    def _record(self, observations: Observations, starts: Flags, *, cuts: bool = False) -> None:
        self.experience.append(observations, self.alive, starts, self.agent_masks, cuts=cuts)
