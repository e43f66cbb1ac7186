"""States that somebody else's training or recording has visited, as the experience of a team; and on disk.

Shape suffixes: T steps, B environments, I entries of the joint observation, N agents, M mask flags.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from stable_baselines3.common.buffers import ReplayBuffer

from cesma_sb3.envs.experience import Experience, States
from cesma_sb3.errors import ConfigError, SpaceError, StorageError
from cesma_sb3.imitation.recordings import RecordedArrays, holds_recording, recorded_arrays
from cesma_sb3.spaces.team_spaces import TeamSpaces
from cesma_sb3.spaces.team_views import TeamView, message_free_view
from cesma_sb3.spaces.types import Array

VisitedArrays = dict[str, Array]
"""`observations` [T, B, ...], `starts` [T, B]; the other fields of `States` where they are known, and the
names of the `agents` in their order (UTF-8, with line feeds between them)."""


def visited_arrays(source: Any) -> VisitedArrays:
    """The states that a source holds, as arrays.

    Args:
        source: An `Experience`, a replay buffer of SB3, or recorded trajectories (`recorded_arrays`). Who
            acted there, and how well, does not matter: the expert labels the states anew.

    Raises:
        ConfigError: It is something else, or holds nothing.
    """
    source = list(source) if isinstance(source, Iterator) else source
    if holds_recording(source):
        return as_visited(recorded_arrays(source, "experience"))
    if not isinstance(source, Experience | ReplayBuffer):
        raise ConfigError(
            f"experience: {type(source).__name__}; expected an Experience, a replay buffer of SB3, or "
            "recorded trajectories"
        )
    if (len(source) if isinstance(source, Experience) else source.size()) == 0:
        raise ConfigError("experience: it holds no states")
    if isinstance(source, ReplayBuffer):
        return _of_buffer(source)
    states = source.states()._replace(labels=None)
    arrays = {name: each for name, each in states._asdict().items() if each is not None}
    return arrays | {"agents": _names(source.team.agents)}


def holds_states(source: Any) -> bool:
    """Whether a model's replay buffer is of a kind that can be read, and holds something."""
    return (
        isinstance(source, ReplayBuffer)
        and isinstance(getattr(source, "observations", None), np.ndarray)
        and source.size() > 0
    )


def save_states(arrays: VisitedArrays, path: Path | str) -> None:
    """Write states to a file (safetensors) that `load_experience` reads.

    Raises:
        StorageError: It cannot be written.
    """
    try:
        save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, str(path))
    except (OSError, SafetensorError) as error:
        raise StorageError(f"{path}: cannot be written: {' '.join(str(error).split())}") from None


def load_experience(
    path: Path | str,
    team: TeamSpaces,
    capacity: int,
    *,
    undivided: TeamView | None = None,
    called: str | None = None,
) -> Experience:
    """Read the experience of a team from a file that `save_states` wrote.

    Args:
        path: The file.
        team: The team.
        capacity: Most samples kept, the newest.
        undivided: Of a team that a joint environment was divided into, the view in which one agent has all.
        called: What messages call the file; None: its path.

    Raises:
        StorageError: The file cannot be read.
        SpaceError: As of `as_experience`.
    """
    called = called or str(path)
    try:
        with safe_open(str(path), framework="numpy") as file:
            arrays: VisitedArrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # no mapping
        for name, array in arrays.items():
            if array.dtype.kind not in "biuf":  # of NumPy's own: others come and go with what is imported
                raise TypeError(f"{name} are {array.dtype.name}, expected numbers or flags of NumPy")
        return as_experience(arrays, team, capacity, undivided=undivided, called=called)
    except (OSError, KeyError, TypeError, UnicodeDecodeError, SafetensorError) as error:
        raise StorageError(f"{called}: no file of states: {' '.join(str(error).split())}") from None


def as_experience(
    arrays: VisitedArrays, team: TeamSpaces, capacity: int, *, undivided: TeamView | None, called: str
) -> Experience:
    """Visited states as the experience of a team.

    Observations may be those of the team without its messages, or of an environment that was divided into
    this team. Without `alive`, an agent is alive where it observes anything but zeros, which is how a dead
    one is observed.

    Args:
        arrays: The states.
        team: The team.
        capacity: Most samples kept, the newest.
        undivided: Of a team that a joint environment was divided into, the view in which one agent has all.
        called: What messages call their source.

    Raises:
        SpaceError: They are not of this team, with its agents in this order, or lack the action masks that
            this team has, or are not finite.
        KeyError: An array is missing.
        UnicodeDecodeError: The agents are no names.
    """
    observations, starts = arrays["observations"], arrays["starts"].astype(bool)
    agents = None if "agents" not in arrays else arrays["agents"].tobytes().decode().split("\n")
    if starts.ndim != 2 or not starts.size or observations.shape[:2] != starts.shape:
        raise SpaceError(
            f"{called}: observations {observations.shape} and starts {starts.shape}, expected [T, B, ...] "
            "and [T, B], and at least one state"
        )
    if agents is not None and tuple(agents) != team.agents:
        raise SpaceError(
            f"{called}: states of the agents {', '.join(agents)}; expected {', '.join(team.agents)}, in this "
            "order"
        )
    view = view_of(arrays, team, undivided, called)
    with np.errstate(over="ignore"):  # what is too large for this is no finite number here
        joint = observations.reshape(*starts.shape, -1).astype(np.float32, copy=False)
    joint = joint if view is None else view.full_observations(joint)
    if not np.isfinite(joint).all():
        raise SpaceError(f"{called}: observations that are no finite numbers")
    alive, cuts = arrays.get("alive"), arrays.get("cuts")
    masks = arrays.get("masks") if team.has_masks else None
    if alive is None:
        alive = np.stack([joint[..., where].any(axis=-1) for where in team.observation_slices], axis=-1)
    if team.has_masks and masks is None:
        raise SpaceError(
            f"{called}: states without action masks, which this team has; expected expert.experience: null "
            "(experience=False)"
        )
    experience = Experience(team, starts.shape[1], capacity)
    flags = {"alive": alive, "starts": starts, "masks": masks, "cuts": cuts}
    as_flags: Any = {name: None if each is None else each.astype(bool) for name, each in flags.items()}
    try:
        experience.extend(States(joint, **as_flags, labels=arrays.get("labels")))
    except SpaceError as error:
        raise SpaceError(f"{called}: {error}") from None
    return experience


def view_of(
    arrays: VisitedArrays, team: TeamSpaces, undivided: TeamView | None, called: str
) -> TeamView | None:
    """The view of a team that visited states are of; None: the team itself.

    Args:
        arrays: The states.
        team: The team.
        undivided: Of a team that a joint environment was divided into, the view in which one agent has all.
        called: What messages call their source.

    Raises:
        SpaceError: They are of no view, by their size.
    """
    width = int(np.prod(arrays["observations"].shape[2:]))
    # In the order in which a model's views are tried; who says which agents are alive has seen the team.
    views = [] if undivided is None or "alive" in arrays else [undivided]
    found = next((v for v in (*views, message_free_view(team)) if v.team.observation_size == width), None)
    if found is None and width != team.observation_size:
        raise SpaceError(
            f"{called}: observations of {width} numbers, expected {team.observation_size} of the whole team"
        )
    return found


def as_visited(recorded: RecordedArrays) -> VisitedArrays:
    """Recorded trajectories as the states of one environment."""
    kept = ("observations", "starts", "alive", "masks")
    arrays = {name: recorded[name][:, None] for name in kept if name in recorded}
    if "agents" in recorded:
        arrays["agents"] = _names(map(str, recorded["agents"]))
    return arrays


def _names(agents: Iterable[str]) -> Array:
    """The names of agents as numbers, which a file of arrays can hold."""
    return np.frombuffer("\n".join(agents).encode(), dtype=np.uint8)


def _of_buffer(buffer: ReplayBuffer) -> VisitedArrays:
    if not isinstance(getattr(buffer, "observations", None), np.ndarray):
        raise ConfigError(f"experience: {type(buffer).__name__} has no array of observations")
    # In the order of time; each environment's first state after an end begins an episode.
    order = (np.arange(buffer.size()) + (buffer.pos if buffer.full else 0)) % buffer.buffer_size
    if buffer.full and buffer.optimize_memory_usage:
        order = order[1:]  # what followed the newest state stands in the place of the oldest
    observations = buffer.observations[order].reshape(len(order), buffer.n_envs, -1)
    dones = buffer.dones[order].astype(bool)
    first = np.full((1, buffer.n_envs), not buffer.full)
    return {"observations": observations, "starts": np.concatenate([first, dones[:-1]])}
