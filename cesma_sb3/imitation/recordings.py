"""Recorded trajectories of a team: from imitation, Minari or one file of arrays, as arrays and as an expert.

Shape suffixes: S recorded steps, I entries of the joint observation, C action columns, M mask flags.
"""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from imitation.data import types

from cesma_sb3.envs.experience import Experience, States
from cesma_sb3.errors import ConfigError, MissingExtraError, SpaceError, StorageError, message_of
from cesma_sb3.experts.recorded import RecordedExpert
from cesma_sb3.imitation.visited_states import in_full_view
from cesma_sb3.spaces.action_views import make_view
from cesma_sb3.spaces.team_spaces import TeamSpaces
from cesma_sb3.spaces.team_views import TeamView, message_free_view
from cesma_sb3.spaces.types import Array, Packed

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
    return is_row and isinstance(source[0], types.Trajectory)


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


def recorded_expert(
    arrays: RecordedArrays,
    team: TeamSpaces,
    capacity: int,
    *,
    view: str = "joint",
    undivided: TeamView | None = None,
    called: str = "trajectories",
) -> tuple[RecordedExpert, Experience]:
    """Recorded trajectories as a team's experience, which has labels, and who stands in for its expert.

    Observations and actions may be those of the team without its messages, or of an environment that was
    divided into this team. Without `alive`, an agent is alive where it observes anything but zeros, which is
    how a dead one is observed; without `masks`, everything was available.

    Args:
        arrays: As `recorded_arrays` gives them.
        team: The team.
        capacity: Most steps kept, the newest.
        view: The action view of the actions.
        undivided: Of a team that a joint environment was divided into, the view in which one agent has all.
        called: What messages call it.

    Raises:
        SpaceError: Observations or actions are not of this team.
        ActionViewError: The action view cannot hold this team's actions.
    """
    if "agents" in arrays and tuple(map(str, arrays["agents"])) != team.agents:
        raise SpaceError(
            f"{called}: of the agents {', '.join(map(str, arrays['agents']))}; expected "
            f"{', '.join(team.agents)}, in this order"
        )
    starts = arrays["starts"].astype(bool)
    views = [*([] if undivided is None else [undivided]), message_free_view(team)]
    seen = arrays["observations"].reshape(len(starts), 1, -1)
    joint = in_full_view(seen, team, views, called)
    masks = None
    if team.has_masks:
        given = arrays.get("masks")
        masks = np.ones((len(starts), team.mask_size), dtype=bool) if given is None else given.astype(bool)
    way = next((each for each in views if each.team.observation_size == seen.shape[-1]), None)
    actions = _packed(arrays["actions"], team, way, view, called)
    alive = arrays.get("alive")
    if alive is None:
        alive = np.stack([joint[:, 0, where].any(axis=-1) for where in team.observation_slices], axis=-1)
    experience = Experience(team, 1, capacity)
    try:
        experience.extend(
            States(
                joint,
                alive[:, None].astype(bool),
                starts[:, None],
                None if masks is None else masks[:, None],
                labels=actions[:, None],
            )
        )
    except SpaceError as error:
        raise SpaceError(f"{called}: {error}") from None
    experience.is_whole = True
    rewards = arrays.get("rewards", np.zeros(0)).astype(np.float64).ravel()
    begins = np.flatnonzero(starts[: len(rewards)])
    returns = np.add.reduceat(rewards, begins) if len(begins) else rewards
    return RecordedExpert(returns, np.diff(begins, append=len(rewards))), experience


def _packed(actions: Array, team: TeamSpaces, way: TeamView | None, view: str, called: str) -> Packed:
    """Recorded actions of a view as packed joint actions [S, C] of the team."""
    acting = team if way is None else way.team
    action_view = make_view(view, acting)
    shape = action_view.space.shape or ()
    if actions.size != len(actions) * int(np.prod(shape, dtype=int)):
        raise SpaceError(
            f"{called}: actions of shape {actions.shape}, expected {(len(actions), *shape)} in the action "
            f"view {view}"
        )
    packed = action_view.decode(actions.reshape(len(actions), *shape))
    return packed if way is None else way.actions(packed)
