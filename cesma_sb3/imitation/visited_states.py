"""States that somebody else's training or recording has visited, as the experience of a team; and on disk.

Shape suffixes: T steps, B environments, I entries of the joint observation, N agents, M mask flags.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from imitation.data import types
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from stable_baselines3.common.buffers import ReplayBuffer

from cesma_sb3.envs.experience import Experience, States
from cesma_sb3.errors import ConfigError, SpaceError, StorageError
from cesma_sb3.spaces.team_spaces import TeamSpaces
from cesma_sb3.spaces.team_views import TeamView, message_free_view
from cesma_sb3.spaces.types import Array

VisitedArrays = dict[str, Array]
"""`observations` [T, B, I], `starts` [T, B]; of an `Experience` the other fields of `States` too, and the
names of its `agents` in their order (UTF-8, with line feeds between them)."""


def visited_arrays(source: Any) -> VisitedArrays:
    """The states that a source holds, as arrays.

    Args:
        source: An `Experience`, a replay buffer of SB3, or imitation's trajectories. Who acted there, and how
            well, does not matter: the expert labels the states anew.

    Raises:
        ConfigError: It is something else, or holds nothing.
    """
    n_held = len(source) if isinstance(source, Experience) else None
    if isinstance(source, ReplayBuffer):
        n_held = source.size()
    if n_held == 0:
        raise ConfigError("experience: it holds no states")
    if isinstance(source, Experience):
        states = source.states()._replace(labels=None)
        arrays = {name: each for name, each in states._asdict().items() if each is not None}
        arrays["agents"] = np.frombuffer("\n".join(source.team.agents).encode(), dtype=np.uint8)
    elif isinstance(source, ReplayBuffer):
        arrays = _of_buffer(source)
    elif isinstance(source, Iterable) and not isinstance(source, str | bytes):
        arrays = _of_trajectories(list(source))
    else:
        raise ConfigError(
            f"experience: {type(source).__name__}; expected an Experience, a replay buffer of SB3, or "
            "trajectories of imitation"
        )
    return arrays


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

    Observations may be those of the team without its messages, or of an environment that was divided into
    this team. Without `alive`, an agent is alive where it observes anything but zeros, which is how a dead
    one is observed.

    Args:
        path: The file.
        team: The team.
        capacity: Most samples kept, the newest.
        undivided: Of a team that a joint environment was divided into, the view in which one agent has all.
        called: What messages call the file; None: its path.

    Raises:
        StorageError: The file cannot be read.
        SpaceError: Its states are not of this team, with its agents in this order, or lack the action masks
            that this team has.
    """
    called = called or str(path)
    try:
        with safe_open(str(path), framework="numpy") as file:
            arrays: VisitedArrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # no mapping
        for name, array in arrays.items():
            if array.dtype.kind not in "biuf":  # of NumPy's own: others come and go with what is imported
                raise TypeError(f"{name} are {array.dtype.name}, expected numbers or flags of NumPy")
        observations, starts = arrays["observations"], arrays["starts"].astype(bool)
        agents = None if "agents" not in arrays else arrays["agents"].tobytes().decode().split("\n")
    except (OSError, KeyError, TypeError, UnicodeDecodeError, SafetensorError) as error:
        raise StorageError(f"{called}: no file of states: {' '.join(str(error).split())}") from None
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
    # In the order in which a model's views are tried; an `Experience`, which says who is alive, is a team's.
    views = [] if undivided is None or "alive" in arrays else [undivided]
    joint = in_full_view(
        observations.reshape(*starts.shape, -1), team, [*views, message_free_view(team)], called
    )
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
        experience.extend(States(joint, **as_flags))
    except SpaceError as error:
        raise SpaceError(f"{called}: {error}") from None
    return experience


def in_full_view(observations: Array, team: TeamSpaces, views: Sequence[TeamView], called: str) -> Array:
    """Return observations [T, B, ...] of the team or of a view of it as those of the whole team, float32.

    Messages that were left out are zeros.

    Args:
        observations: [T, B, I'].
        team: The whole team.
        views: Views of it; the first whose observations have this size counts.
        called: What messages call their source.

    Raises:
        SpaceError: They are of another size, or not finite.
    """
    width = observations.shape[-1]
    of_view = next((view for view in views if view.team.observation_size == width), None)
    if of_view is None and width != team.observation_size:
        raise SpaceError(
            f"{called}: observations of {width} numbers, expected {team.observation_size} of the whole team"
        )
    with np.errstate(over="ignore"):  # what is too large for this is no finite number here
        observations = observations.astype(np.float32, copy=False)
    joint = observations if of_view is None else of_view.full_observations(observations)
    if not np.isfinite(joint).all():
        raise SpaceError(f"{called}: observations that are no finite numbers")
    return joint


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


def _of_trajectories(trajectories: list[Any]) -> VisitedArrays:
    if not trajectories or not all(isinstance(each, types.Trajectory) for each in trajectories):
        kinds = ", ".join(sorted({type(each).__name__ for each in trajectories})) or "nothing"
        raise ConfigError(f"experience: an iterable of {kinds}; expected trajectories of imitation")
    if any(isinstance(each.obs, types.DictObs) for each in trajectories):
        raise ConfigError("experience: trajectories of observations by name; expected joint observations")
    observations = [np.asarray(each.obs[:-1], dtype=np.float32) for each in trajectories]
    if len({each.shape[1:] for each in observations}) > 1:
        raise ConfigError("experience: trajectories of different observations; expected those of one team")
    starts = np.concatenate([np.arange(len(each)) == 0 for each in observations])
    joint = np.concatenate([each.reshape(len(each), -1) for each in observations])
    return {"observations": joint[:, None], "starts": starts[:, None]}
