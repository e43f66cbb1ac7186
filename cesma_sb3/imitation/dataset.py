"""DAgger's dataset: arrays in memory, up to a capacity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, get_args

import numpy as np
import numpy.typing as npt
import torch as th

from cesma_sb3.algorithms.episode_store import EpisodeStore
from cesma_sb3.errors import ConfigError, check_choice
from cesma_sb3.imitation.settings import BufferConfig, WhenFull
from cesma_sb3.policies.team_policy import TeamPolicy
from cesma_sb3.spaces.communication import MessageChannel
from cesma_sb3.spaces.row_arrays import Rows, compact_dtype
from cesma_sb3.spaces.team_spaces import TeamSpaces
from cesma_sb3.utils.stateful import Stateful


class Samples(NamedTuple):
    """Labelled joint observations, as arrays (to be stored) or as tensors (a batch to train on).

    Shapes: S samples.
    """

    observations: npt.NDArray[np.float32]  # [S, observation_size]
    labels: npt.NDArray[np.int64] | npt.NDArray[np.float32]  # packed joint actions [S, n_columns]
    alive: npt.NDArray[np.bool_]  # [S, n_agents]
    masks: npt.NDArray[np.bool_] | None = None  # available categories [S, mask_size]
    probabilities: npt.NDArray[np.float32] | None = None  # soft labels [S, mask_size]
    # Of teams that communicate: the step before, with the messages that were received then.
    previous: npt.NDArray[np.float32] | None = None  # joint observations [S, observation_size]
    follows: npt.NDArray[np.bool_] | None = None  # which agents were there to send [S, n_agents]
    previous_masks: npt.NDArray[np.bool_] | None = None  # categories that were available [S, mask_size]


class Batch(NamedTuple):
    """`Samples` as tensors, [B, ...]; of whole episodes, those of all their timesteps (`Episodes`)."""

    observations: th.Tensor
    labels: th.Tensor
    alive: th.Tensor
    masks: th.Tensor | None = None
    probabilities: th.Tensor | None = None
    previous: th.Tensor | None = None
    follows: th.Tensor | None = None
    previous_masks: th.Tensor | None = None
    sizes: list[int] | None = None
    """How many episodes each timestep holds; None of single samples."""

    def with_step_before(self) -> Batch:
        """Whole episodes that say of each step who was there to send before it, and by what masks.

        What was observed before is in the episode itself: `previous` stays None.
        """
        assert self.sizes is not None
        is_real = self.alive.any(dim=1, keepdim=True)  # in padding nothing is received
        masks = None if self.masks is None else earlier(self.masks, self.sizes)
        return self._replace(follows=earlier(self.alive, self.sizes) & is_real, previous_masks=masks)


def earlier(rows: th.Tensor, sizes: Sequence[int]) -> th.Tensor:
    """The row of the timestep before in the same episode; zeros in the first timestep.

    Args:
        rows: Of whole episodes, [S, ...], as `Episodes` has them.
        sizes: How many episodes each timestep holds.
    """
    sizes_T = np.asarray(sizes)
    back = np.repeat(sizes_T[:-1], sizes_T[1:])
    places = th.from_numpy(np.arange(sizes[0], len(rows)) - back).to(rows.device)
    return th.cat([th.zeros_like(rows[: sizes[0]]), rows[places]])


class AggregatedDataset(Stateful):
    """DAgger's dataset, shared by the team or one for each agent.

    With a dataset of its own, an agent's samples are its own observations and labels in the trajectories, and
    each batch takes other timesteps for each agent: row b of a batch is then no joint state, but holds for
    each agent its part of some joint state. All agents still learn in one pass, as long as each one's network
    sees its own observation alone.

    Nothing touches the disk. Memory is allocated for the samples that come, or that `expect` announces, not
    for all of `capacity` (`Rows`).

    Args:
        capacity: Most samples kept.
        when_full: `drop-oldest`: a new sample replaces the oldest (the last `capacity` are kept).
            `reservoir`: every sample ever added is kept with the same probability (Vitter, 1985,
            algorithm R).
        rng: Draws batches, and what the reservoir replaces.
        separate: The team, if each agent draws samples of its own; None: all learn from the same ones.
        observation_dtype: What observations are stored as where it holds them exactly (`compact_dtype`);
            batches are float32.

    Raises:
        ValueError: `capacity` is below 1.
        UnknownNameError: `when_full` is neither.

    Source: section 4.3: "having a shared dataset of trajectories in this way allows us to view (pi_1, ...,
    pi_M) as a single neural-network with disconnected components"; appendix A.1, "each agent has its own
    dataset of trajectories", which leaves open how they differ: here, in what is drawn.
    """

    state_attributes = ("capacity", "rng", "n_seen", "rows")

    def __init__(
        self,
        capacity: int,
        *,
        when_full: WhenFull = "drop-oldest",
        rng: np.random.Generator | None = None,
        separate: TeamSpaces | None = None,
        observation_dtype: npt.DTypeLike = np.float32,
    ) -> None:
        if capacity < 1:
            raise ValueError(f"capacity={capacity}: expected at least 1")
        check_choice("when_full", when_full, get_args(WhenFull))
        self.capacity = capacity
        self.when_full = when_full
        self.rng = rng if rng is not None else np.random.default_rng()
        self.n_seen = 0  # samples ever added
        self.rows = Rows(capacity, dict.fromkeys(_OBSERVATIONS, observation_dtype))
        self._owners = None if separate is None else _owners(separate)

    def __len__(self) -> int:
        return min(self.n_seen, self.capacity)

    @property
    def n_bytes(self) -> int:
        """Memory that is allocated, in bytes."""
        return self.rows.n_bytes

    def has(self, count: int) -> bool:
        """Whether there are at least `count` samples."""
        return len(self) >= count

    def expect(self, count: int) -> None:
        """Allocate memory at once for at most `count` more samples."""
        self.rows.expect(self.n_seen + count)

    def add(self, samples: Samples, ended: npt.NDArray[np.bool_] | None = None) -> None:
        """Add samples; the arrays are copied.

        Args:
            samples: Of any number of steps.
            ended: Unused: samples need no episodes.

        Raises:
            ValueError: The arrays differ in length, or a field that earlier samples had is missing (or new),
                or samples of a team that communicates come to datasets of the agents' own.
            ConfigError: There is not enough memory.
        """
        fields = {name: array for name, array in samples._asdict().items() if array is not None}
        count = len(samples.observations)
        lengths = {name: len(array) for name, array in fields.items()}
        if set(lengths.values()) != {count}:
            raise ValueError(f"samples of different lengths: {lengths}")
        held = self.rows.arrays
        if held and fields.keys() != held.keys():
            raise ValueError(f"samples with {sorted(fields)}, but the dataset holds {sorted(held)}")
        if self._owners is not None and "previous" in fields:
            raise ValueError(
                "agents that communicate need a shared dataset: one's message is another's input"
            )
        places, kept = self._places(count)
        self.rows.write(places, {name: array[kept] for name, array in fields.items()})
        self.n_seen += count

    def _places(self, count: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Where the next `count` samples go, and which of them are kept."""
        numbers = np.arange(self.n_seen, self.n_seen + count)
        kept = np.arange(count)
        if self.when_full == "drop-oldest":
            kept = kept[-self.capacity :]  # more than fits at once: the newest
            return numbers[kept] % self.capacity, kept
        # The i-th sample takes a random place among i + 1; places at or beyond the capacity drop it.
        drawn = self.rng.integers(0, numbers + 1)
        places = np.where(numbers < self.capacity, numbers, drawn)
        stays = places < self.capacity
        return places[stays], kept[stays]

    def sample(self, batch_size: int, device: th.device | str = "cpu") -> Batch:
        """Draw a batch uniformly with replacement.

        Raises:
            ValueError: The dataset is empty.
        """
        if not len(self):
            raise ValueError("the dataset is empty: collect or set demonstrations first")
        if self._owners is None:
            rows = self.rng.integers(0, len(self), size=batch_size)
            drawn = {name: array.take(rows, axis=0) for name, array in self.rows.arrays.items()}
        else:
            n_agents = self.rows.arrays["alive"].shape[1]
            agents_rows = self.rng.integers(0, len(self), size=(batch_size, n_agents))
            drawn = {
                name: array[agents_rows[:, self._owners[name]], np.arange(array.shape[1])]
                for name, array in self.rows.arrays.items()
            }
        return _batch(drawn, device)


class EpisodeDataset(Stateful):
    """DAgger's dataset for recurrent students: whole episodes, drawn side by side with padding.

    An episode can be drawn once it has ended. No agent is alive in padding, so that losses skip it. The step
    before each sample is not stored: it is in the same episode.

    Args:
        capacity: Most samples kept; the oldest episodes make room for the newest.
        rng: Draws batches.
        observation_dtype: As in `AggregatedDataset`.

    Raises:
        ValueError: `capacity` is below 1.
    """

    state_attributes = ("rng", "store")

    def __init__(
        self, capacity: int, *, rng: np.random.Generator, observation_dtype: npt.DTypeLike = np.float32
    ) -> None:
        self.capacity = capacity
        self.rng = rng
        self.store = EpisodeStore(capacity, compact=dict.fromkeys(_OBSERVATIONS, observation_dtype))

    def __len__(self) -> int:
        """Samples of the episodes kept."""
        return self.store.n_steps

    @property
    def n_bytes(self) -> int:
        """Memory that is allocated, in bytes."""
        return self.store.rows.n_bytes

    def has(self, count: int) -> bool:
        """Whether there are at least `count` episodes, or as many as there will ever be room for."""
        return len(self.store) >= count or self.store.n_steps < self.store.n_seen

    def expect(self, count: int) -> None:
        """Allocate memory at once for at most `count` more samples."""
        self.store.rows.expect(self.store.n_seen + count)

    def add(self, samples: Samples, ended: npt.NDArray[np.bool_] | None = None) -> None:
        """Add a step of every environment, or one whole episode; the arrays are copied.

        Args:
            samples: One of each environment; or the steps of an episode in their order.
            ended: Which episodes end with this step, [B]; None: the samples are one whole episode.

        Raises:
            ValueError: A field that earlier samples had is missing, or is new.
            ConfigError: An episode is longer than `capacity`, or there is not enough memory.
        """
        alone = samples._replace(previous=None, follows=None, previous_masks=None)
        fields = {name: array for name, array in alone._asdict().items() if array is not None}
        if ended is None:
            self.store.append_episode(fields)
        else:
            self.store.append(fields, ended)

    def sample(self, batch_size: int, device: th.device | str = "cpu") -> Batch:
        """Draw episodes uniformly with replacement, the longest first in each timestep.

        Raises:
            ValueError: No episode has ended yet.
        """
        drawn = self.store.sample(batch_size, self.rng)
        return _batch(drawn.fields, device)._replace(sizes=drawn.sizes)


Dataset = AggregatedDataset | EpisodeDataset


def make_dataset(buffer: BufferConfig, students: TeamPolicy, rng: np.random.Generator) -> Dataset:
    """Make an empty dataset for a team of students: of samples, or of episodes if they are recurrent.

    Args:
        buffer: What kind, and how large.
        students: The team that learns from it.
        rng: Draws batches, and what a reservoir replaces.

    Raises:
        ConfigError: Agents cannot have datasets of their own, because they communicate, see everything or are
            recurrent; or recurrent students want a reservoir.
    """
    team, dtype = students.team, compact_dtype(students.team)
    if not buffer.shared:
        if MessageChannel.of(team) is not None:
            raise ConfigError("shared_dataset false: agents that communicate learn from one another")
        if students.actor_visibility != "own":
            raise ConfigError("shared_dataset false: a `joint` actor learns from joint observations")
    if not students.is_recurrent:
        return AggregatedDataset(
            buffer.capacity,
            when_full=buffer.when_full,
            rng=rng,
            separate=None if buffer.shared else team,
            observation_dtype=dtype,
        )
    if not buffer.shared:
        raise ConfigError("shared_dataset false: agents with a memory learn from the team's episodes")
    if buffer.when_full != "drop-oldest":
        raise ConfigError(f"when_full {buffer.when_full!r}: expected 'drop-oldest' for agents with a memory")
    return EpisodeDataset(buffer.capacity, rng=rng, observation_dtype=dtype)


def sample_bytes(team: TeamSpaces, *, has_masks: bool, soft_labels: bool, communicates: bool) -> int:
    """Memory of one sample of a team in a dataset, in bytes.

    Args:
        team: The team.
        has_masks: Whether actions can be unavailable.
        soft_labels: Whether the expert's distribution is stored too.
        communicates: Whether the step before is stored too.
    """
    masks = team.mask_size if has_masks else 0
    seen = team.observation_size * compact_dtype(team).itemsize + team.n_agents + masks
    labels = team.n_columns * np.dtype(team.action_dtype).itemsize
    return labels + seen * (2 if communicates else 1) + (4 * team.mask_size if soft_labels else 0)


_OBSERVATIONS = ("observations", "previous")
"""Fields that hold joint observations."""


def _batch(drawn: Mapping[str, npt.NDArray[Any]], device: th.device | str) -> Batch:
    """Arrays as tensors; observations are converted on the device, to which fewer bytes then travel."""
    fields: dict[str, Any] = {name: th.from_numpy(array).to(device) for name, array in drawn.items()}
    fields |= {name: fields[name].to(th.float32) for name in _OBSERVATIONS if name in fields}
    return Batch(**fields)


def _owners(team: TeamSpaces) -> dict[str, npt.NDArray[np.int64]]:
    """Which agent each column of each field belongs to."""
    slices = {
        "observations": team.observation_slices,
        "labels": team.action_columns,
        "masks": team.mask_slices,
        "probabilities": team.mask_slices,
    }
    agents = np.arange(team.n_agents)
    owners = {name: np.repeat(agents, [s.stop - s.start for s in of]) for name, of in slices.items()}
    return {**owners, "alive": agents}
