"""The aggregated dataset: preallocated arrays, a cap, and a stated policy for what happens at the cap."""

from __future__ import annotations

from typing import Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt
import torch as th

from cesma_sb3.errors import check_choice
from cesma_sb3.joint.episodes import EpisodeStore
from cesma_sb3.joint.spaces import TeamSpaces

WhenFull = Literal["drop-oldest", "reservoir"]


class Samples(NamedTuple):
    """Labelled joint observations, as arrays (to be stored) or as tensors (a batch to train on).

    Shapes: S samples.
    """

    observations: npt.NDArray[np.float32]  # [S, observation_size]
    labels: npt.NDArray[np.int64] | npt.NDArray[np.float32]  # packed joint actions [S, n_columns]
    alive: npt.NDArray[np.bool_]  # [S, n_agents]
    masks: npt.NDArray[np.bool_] | None = None  # available categories [S, mask_size]
    probabilities: npt.NDArray[np.float32] | None = None  # soft labels [S, mask_size]
    # Of teams that communicate: the step before, messages in it as they were heard then.
    previous: npt.NDArray[np.float32] | None = None  # joint observations [S, observation_size]
    follows: npt.NDArray[np.bool_] | None = None  # who was there to speak [S, n_agents]
    previous_masks: npt.NDArray[np.bool_] | None = None  # categories that were available [S, mask_size]


class Batch(NamedTuple):
    """`Samples` as tensors; of whole episodes, with time as a dimension before that of samples."""

    observations: th.Tensor
    labels: th.Tensor
    alive: th.Tensor
    masks: th.Tensor | None = None
    probabilities: th.Tensor | None = None
    previous: th.Tensor | None = None
    follows: th.Tensor | None = None
    previous_masks: th.Tensor | None = None

    def flat(self) -> Batch:
        """All steps of all episodes as samples: [T, B, ...] to [T * B, ...]."""
        fields = {name: field.flatten(0, 1) for name, field in self._asdict().items() if field is not None}
        return Batch(**fields)


class AggregatedDataset:
    """DAgger's dataset, shared by the team or one for each agent.

    With a dataset of its own, an agent's samples are its own observations and labels in the trajectories, and
    each batch takes other timesteps for each agent: row b of a batch is then no joint state, but holds for
    each agent its part of some joint state. All agents still learn in one pass, as long as each one's network
    sees its own observation alone.

    Nothing is copied when it grows, nothing touches the disk, and memory is claimed once, by the first add.

    Args:
        capacity: Most samples kept.
        when_full: `drop-oldest`: a new sample replaces the oldest (the last `capacity` are kept).
            `reservoir`: every sample ever added is kept with the same probability (Vitter, 1985,
            algorithm R).
        rng: Draws batches, and what the reservoir replaces.
        separate: The team, if each agent draws samples of its own; None: all learn from the same ones.

    Raises:
        ValueError: `capacity` is below 1.
        UnknownNameError: `when_full` is neither.

    Source: section 4.3: "having a shared dataset of trajectories in this way allows us to view (pi_1, ...,
    pi_M) as a single neural-network with disconnected components"; appendix A.1, "each agent has its own
    dataset of trajectories", which leaves open how they differ: here, in what is drawn.
    """

    def __init__(
        self,
        capacity: int,
        *,
        when_full: WhenFull = "drop-oldest",
        rng: np.random.Generator | None = None,
        separate: TeamSpaces | None = None,
    ) -> None:
        if capacity < 1:
            raise ValueError(f"capacity={capacity}: expected at least 1")
        check_choice("when_full", when_full, get_args(WhenFull))
        self.capacity = capacity
        self.when_full = when_full
        self.rng = rng if rng is not None else np.random.default_rng()
        self.n_seen = 0  # samples ever added
        self._arrays: dict[str, npt.NDArray[np.generic]] = {}
        self._owners = None if separate is None else _owners(separate)

    def __len__(self) -> int:
        return min(self.n_seen, self.capacity)

    @property
    def rows_in_use(self) -> tuple[int, int]:
        """Length of the arrays, and how many of their rows hold something: what a checkpoint keeps."""
        return self.capacity, len(self)

    @property
    def n_bytes(self) -> int:
        """Memory claimed by the arrays, in bytes."""
        return sum(array.nbytes for array in self._arrays.values())

    def add(self, samples: Samples, ended: npt.NDArray[np.bool_] | None = None) -> None:
        """Adds samples; the arrays are copied.

        Args:
            samples: Of any number of steps.
            ended: Unused: these samples stand for themselves.

        Raises:
            ValueError: The arrays differ in length, or a field that earlier samples had is missing (or new),
                or samples of a team that communicates come to datasets of the agents' own.
        """
        fields = {name: array for name, array in samples._asdict().items() if array is not None}
        count = len(samples.observations)
        lengths = {name: len(array) for name, array in fields.items()}
        if set(lengths.values()) != {count}:
            raise ValueError(f"samples of different lengths: {lengths}")
        if not self._arrays:
            self._arrays = {
                name: np.zeros((self.capacity, *array.shape[1:]), array.dtype)
                for name, array in fields.items()
            }
        if fields.keys() != self._arrays.keys():
            raise ValueError(f"samples with {sorted(fields)}, but the dataset holds {sorted(self._arrays)}")
        if self._owners is not None and "previous" in fields:
            raise ValueError(
                "agents that communicate need a shared dataset: one's message is another's input"
            )
        places, kept = self._places(count)
        for name, array in fields.items():
            self._arrays[name][places] = array[kept]
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
        """A batch drawn uniformly with replacement.

        Raises:
            ValueError: The dataset is empty.
        """
        if not len(self):
            raise ValueError("the dataset is empty: collect or set demonstrations first")
        if self._owners is None:
            rows = self.rng.integers(0, len(self), size=batch_size)
            drawn = {name: array.take(rows, axis=0) for name, array in self._arrays.items()}
        else:
            n_agents = self._arrays["alive"].shape[1]
            agents_rows = self.rng.integers(0, len(self), size=(batch_size, n_agents))
            drawn = {
                name: array[agents_rows[:, self._owners[name]], np.arange(array.shape[1])]
                for name, array in self._arrays.items()
            }
        return Batch(**{name: th.from_numpy(array).to(device) for name, array in drawn.items()})


class EpisodeDataset:
    """DAgger's dataset for students with a memory: whole episodes, drawn side by side with padding.

    An episode can be drawn once it has ended. Nobody is alive in padding, so that losses skip it.

    Args:
        capacity: Most samples kept; the oldest episodes make room for the newest.
        rng: Draws batches.

    Raises:
        ValueError: `capacity` is below 1.
    """

    def __init__(self, capacity: int, *, rng: np.random.Generator) -> None:
        self.capacity = capacity
        self.rng = rng
        self.store = EpisodeStore(capacity)

    def __len__(self) -> int:
        """Samples of the episodes kept."""
        return self.store.n_steps

    @property
    def n_bytes(self) -> int:
        """Memory claimed by the arrays, in bytes."""
        return self.store.n_bytes

    def add(self, samples: Samples, ended: npt.NDArray[np.bool_] | None = None) -> None:
        """Adds a step of every environment; the arrays are copied.

        Args:
            samples: One of each environment.
            ended: Whose episode ends with it.

        Raises:
            ValueError: It is not said where episodes end.
        """
        if ended is None:
            raise ValueError("students with a memory learn from whole episodes: say where they end")
        self.store.append({name: a for name, a in samples._asdict().items() if a is not None}, ended)

    def sample(self, batch_size: int, device: th.device | str = "cpu") -> Batch:
        """Episodes drawn uniformly with replacement; every field is [T, batch_size, ...].

        Raises:
            ValueError: No episode has ended yet.
        """
        drawn = self.store.sample(batch_size, self.rng).fields
        return Batch(**{name: th.from_numpy(array).to(device) for name, array in drawn.items()})


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
