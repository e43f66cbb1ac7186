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
"""`observations` [T, B, I], `starts` [T, B]; of an `Experience` the other fields of `States` too."""


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
        arrays = {name: each for name, each in source.states()._asdict().items() if each is not None}
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
    """Write states to a file (safetensors) that `load_experience` reads."""
    save_file({name: np.ascontiguousarray(array) for name, array in arrays.items()}, str(path))


def load_experience(
    path: Path | str, team: TeamSpaces, capacity: int, *, undivided: TeamView | None = None
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

    Raises:
        StorageError: The file cannot be read.
        SpaceError: Its states are not of this team, or lack the action masks that this team has.
    """
    try:
        with safe_open(str(path), framework="numpy") as file:
            arrays: VisitedArrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # no mapping
        observations, starts = arrays["observations"], arrays["starts"].astype(bool)
    except (OSError, KeyError, SafetensorError) as error:
        raise StorageError(f"{path}: no file of states: {' '.join(str(error).split())}") from None
    if starts.ndim != 2 or not starts.size or observations.shape[:2] != starts.shape:
        raise SpaceError(
            f"{path}: observations {observations.shape} and starts {starts.shape}, expected [T, B, ...] and "
            "[T, B], and at least one state"
        )
    # In the order in which a model's views are tried; an `Experience`, which says who is alive, is a team's.
    views = [] if undivided is None or "alive" in arrays else [undivided]
    joint = _in_full_view(
        observations.reshape(*starts.shape, -1), team, [*views, message_free_view(team)], path
    )
    alive, masks, cuts = (arrays.get(name) for name in ("alive", "masks", "cuts"))
    if alive is None:
        alive = np.stack([joint[..., where].any(axis=-1) for where in team.observation_slices], axis=-1)
    if team.has_masks and masks is None:
        raise SpaceError(
            f"{path}: states without action masks, which this team has; expected expert.experience: null "
            "(experience=False)"
        )
    shapes = {
        "alive": (*starts.shape, team.n_agents),
        "masks": (*starts.shape, team.mask_size),
        "cuts": starts.shape[:1],
    }
    for name, array in (("alive", alive), ("masks", masks), ("cuts", cuts)):
        if array is not None and array.shape != shapes[name]:
            raise SpaceError(f"{path}: {name} {array.shape}, expected {shapes[name]}")
    experience = Experience(team, starts.shape[1], capacity)
    experience.extend(States(joint, alive, starts, masks if team.has_masks else None, cuts))
    return experience


def _in_full_view(
    observations: Array, team: TeamSpaces, views: Sequence[TeamView], path: Path | str
) -> Array:
    """Observations [T, B, I] of the whole team; messages that were left out are zeros."""
    width = observations.shape[-1]
    of_view = next((view for view in views if view.team.observation_size == width), None)
    if of_view is None and width != team.observation_size:
        raise SpaceError(
            f"{path}: observations of {width} numbers, expected {team.observation_size} of the whole team"
        )
    joint = observations if of_view is None else of_view.full_observations(observations)
    if not np.isfinite(joint).all():
        raise SpaceError(f"{path}: observations that are no finite numbers")
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
    observations = [np.asarray(each.obs[:-1], dtype=np.float32) for each in trajectories]
    if len({each.shape[1:] for each in observations}) > 1:
        raise ConfigError("experience: trajectories of different observations; expected those of one team")
    starts = np.concatenate([np.arange(len(each)) == 0 for each in observations])
    joint = np.concatenate([each.reshape(len(each), -1) for each in observations])
    return {"observations": joint[:, None], "starts": starts[:, None]}
