"""Recorded trajectories of a team: from imitation, Minari or one file of arrays, as arrays."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from imitation.data import types

from cesma_sb3.errors import ConfigError, MissingExtraError, StorageError, message_of
from cesma_sb3.spaces.types import Array

RecordedArrays = dict[str, Array]
"""One row for each recorded step, episode after episode: `observations` [S, I], joint; `actions` [S, ...] of
an action view (`joint`: packed joint actions [S, C]); `starts` [S], where episodes begin. Optional: `rewards`
[S], the team's; `masks` [S, M], what was available; `alive` [S, N], who was; `agents` [N], the names of the
agents in the order of joint arrays."""

_NEEDED, _OPTIONAL = ("observations", "actions", "starts"), ("rewards", "masks", "alive", "agents")


@dataclasses.dataclass(frozen=True)
class Recording:
    """Recorded trajectories in memory, in the place of a controller."""

    arrays: RecordedArrays


def holds_recording(source: Any) -> bool:
    """Whether an object in memory is recorded trajectories: imitation's, Minari's, or a mapping of arrays."""
    if isinstance(source, Mapping):
        return {"observations", "actions"} <= set(source)
    if hasattr(source, "iterate_episodes"):
        return True
    is_row = isinstance(source, Sequence) and not isinstance(source, str | bytes) and len(source) > 0
    return is_row and all(isinstance(each, types.Trajectory) for each in source)


def recorded_arrays(source: Any, called: str = "trajectories") -> RecordedArrays:
    """Recorded trajectories as arrays.

    Args:
        source: Trajectories of imitation, a dataset of Minari (`iterate_episodes`), or a mapping of arrays.
        called: What messages call it.

    Raises:
        ConfigError: It holds nothing, other kinds of observations, or its arrays do not belong together.
    """
    if isinstance(source, Mapping):
        return _checked({str(name): np.asarray(array) for name, array in source.items()}, called)
    if hasattr(source, "iterate_episodes"):
        episodes = [(each.observations, each.actions, each.rewards) for each in source.iterate_episodes()]
    else:
        episodes = [(each.obs, each.acts, getattr(each, "rews", None)) for each in source]
    return _checked(_joined(episodes, called), called)


def _joined(episodes: Iterable[tuple[Any, Any, Any]], called: str) -> RecordedArrays:
    """The arrays of episodes: their observations, one more than actions; their actions and rewards."""
    parts: dict[str, list[Array]] = {"observations": [], "actions": [], "starts": [], "rewards": []}
    for observations, actions, rewards in episodes:
        if isinstance(observations, Mapping | tuple | types.DictObs):
            raise ConfigError(
                f"{called}: observations by name, expected joint observations, [steps, numbers]"
            )
        done = np.asarray(actions)
        parts["observations"].append(np.asarray(observations)[: len(done)])
        parts["actions"].append(done)
        parts["starts"].append(np.arange(len(done)) == 0)
        if rewards is not None:
            parts["rewards"].append(np.asarray(rewards, dtype=np.float64))
    if not parts["actions"]:
        raise ConfigError(f"{called}: no episode, expected at least one")
    if len(parts["rewards"]) < len(parts["actions"]):
        del parts["rewards"]
    for name, each in parts.items():
        if len({array.shape[1:] for array in each}) > 1:
            raise ConfigError(f"{called}: episodes of different {name}, expected those of one team")
    return {name: np.concatenate(each) for name, each in parts.items()}


def _checked(arrays: RecordedArrays, called: str) -> RecordedArrays:
    """The arrays, if all that are needed are there, with as many rows."""
    missing = [name for name in _NEEDED if name not in arrays]
    if missing:
        raise ConfigError(f"{called}: no array {missing[0]!r}, expected {', '.join(_NEEDED)}")
    n_steps = len(arrays["actions"])
    for name in (*_NEEDED, *_OPTIONAL):
        if name in arrays and name != "agents" and (arrays[name].ndim < 1 or len(arrays[name]) != n_steps):
            shape = arrays[name].shape
            raise ConfigError(f"{called}: {name} of shape {shape}, expected {n_steps} rows, as actions have")
    if not n_steps or not arrays["starts"].any() or not arrays["starts"][0]:
        raise ConfigError(f"{called}: expected at least one step, and that the first begins an episode")
    return {name: arrays[name] for name in (*_NEEDED, *_OPTIONAL) if name in arrays}


def save_recording(arrays: RecordedArrays, path: Path | str) -> None:
    """Write recorded trajectories as one .npz, which `load_recording` reads."""
    with Path(path).open("wb") as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type, unused-ignore]  # newer stubs


def load_recording(path: Path, called: str | None = None) -> RecordedArrays:
    """Read recorded trajectories: .npz of arrays, a folder of imitation's trajectories, or Minari's dataset.

    No code of the files is run: of imitation's trajectories the infos are left out.

    Args:
        path: The file or folder.
        called: What messages call it; None: its path.

    Raises:
        StorageError: There is no such file or folder, or it is none of these.
        ConfigError: As of `recorded_arrays`.
        MissingExtraError: It is a dataset of Minari, which is not installed.
    """
    called = str(path) if called is None else called
    try:
        if path.is_dir():
            data = path / "data" if (path / "data").is_dir() else path
            is_minari = (data / "metadata.json").is_file()
            return _of_minari(data, called) if is_minari else _of_imitation(path, called)
        with np.load(path, allow_pickle=False) as file:
            if not hasattr(file, "files"):
                raise ValueError("one array alone, no .npz")
            arrays = {name: file[name] for name in file.files}
    except FileNotFoundError:
        raise StorageError(f"{called}: no such file or folder") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StorageError(f"{called}: no recorded trajectories: {message_of(error)}") from None
    return recorded_arrays(arrays, called)


def _of_imitation(path: Path, called: str) -> RecordedArrays:
    """What imitation's `serialize.save` wrote, without the infos, whose decoding may run code."""
    datasets = importlib.import_module("datasets")  # imitation needs it; slow to import

    found = datasets.load_from_disk(str(path))
    columns = set(getattr(found, "column_names", ()))
    if not {"obs", "acts"} <= columns:
        raise ValueError(f"columns {', '.join(sorted(columns))}, expected obs and acts, as imitation saves")
    kept = found.select_columns([name for name in ("obs", "acts", "rews") if name in columns])
    return _checked(_joined(((row["obs"], row["acts"], row.get("rews")) for row in kept), called), called)


def _of_minari(path: Path, called: str) -> RecordedArrays:
    try:
        minari = importlib.import_module("minari")
    except ImportError as error:
        raise MissingExtraError(
            f"{called}: a dataset of Minari: {message_of(error)}; try: pip install 'minari[hdf5]'"
        ) from None
    return recorded_arrays(minari.MinariDataset(path), called)
