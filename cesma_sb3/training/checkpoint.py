"""Checkpoints: what a run has come to so far, so that it goes on after an interruption.

Each is a folder below `checkpoints/` of the run, put there whole:

manifest.json           of which stage and run, at which step, of which versions; checksums of the others
state.json              the state of the stage as plain values (`_state`)
arrays.safetensors      its arrays

The newest two of a stage are kept. A stage that has ended keeps its last one, from which the run's later
stages begin; a run that has finished keeps none.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
import time
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any, TypeVar

from safetensors import SafetensorError
from safetensors.numpy import load, save

from cesma_sb3.config.schema import CheckpointConfig
from cesma_sb3.errors import CheckpointWarning, StorageError
from cesma_sb3.training import state as state_module
from cesma_sb3.training.run_files import to_json
from cesma_sb3.training.run_folder import CHECKPOINTS, RunFolder, versions
from cesma_sb3.utils.closing import closing_all
from cesma_sb3.utils.signals import Waiting

LOG = "progress.csv"
T = TypeVar("T")
_FORMAT = 3
_KEPT = 2
_MANIFEST, _STATE, _ARRAYS = "manifest.json", "state.json", "arrays.safetensors"
_SAME = ("python", "torch", "numpy", "stable-baselines3")
"""Packages of other versions than the checkpoint's may give other numbers."""


@dataclasses.dataclass(frozen=True)
class Found:
    """Where a stage goes on."""

    timesteps: int
    """Environment timesteps of the stage so far."""
    seconds: float
    """How long they took."""
    ended: bool
    """Whether the stage has ended: what it trained is there."""
    whole: bool
    """Whether its environments are where they were; if not, their episodes begin anew."""


class Checkpoints:
    """The checkpoints of a run.

    Args:
        folder: The run's.
        config: When one is written.
        resumes: Whether the run goes on; else what is there is not looked at.
    """

    def __init__(self, folder: RunFolder, config: CheckpointConfig, *, resumes: bool = False) -> None:
        self.folder = folder
        self.config = config
        self.resumes = resumes
        self.waiting = Waiting()

    def stage(self, name: str) -> StageCheckpoints:
        """Those of one stage: `expert`, `students`, `fine-tuning`."""
        return StageCheckpoints(self, name)

    def remove(self) -> None:
        """Removes all of them: the run has finished."""
        shutil.rmtree(self.folder.path / CHECKPOINTS, ignore_errors=True)


class StageCheckpoints:
    """The checkpoints of one stage of a run. See `Checkpoints.stage`."""

    def __init__(self, run: Checkpoints, name: str) -> None:
        self.run = run
        self.name = name
        self._root: object = None
        self._constants: tuple[object, ...] = ()
        self._begun = time.perf_counter()
        self._last_time, self._last_timesteps = self._begun, 0

    @property
    def seconds(self) -> float:
        """How long the stage has taken so far, before interruptions too."""
        return time.perf_counter() - self._begun

    @contextmanager
    def logger(self, configure: Callable[[str, list[str]], T], formats: list[str]) -> Iterator[T]:
        """A logger of SB3 or imitation in the stage's folder; of a run that resumes, in one beside it."""
        logs = self.run.folder.path / "logs" / self.name
        number = 1
        while self.run.resumes and (logs / LOG).exists():
            number += 1
            logs = logs.with_name(f"{self.name}-{number}")
        logger = configure(str(logs), formats)
        outputs: Any = getattr(logger, "default_logger", logger)  # imitation's logger leads to SB3's
        with closing_all(logger, outputs.output_formats):
            yield logger

    def begin(self, root: object, *, constants: Iterable[object] = ()) -> Found | None:
        """Says what the stage's state is; if the run goes on, puts the newest good one into it.

        Args:
            root: The objects that the stage changes, as made for its beginning.
            constants: Objects that these lead to and that do not change.

        Returns:
            Where the stage goes on; None: at its beginning.

        Raises:
            StorageError: A good checkpoint does not fit: of another version of this package, say. Or
                checkpoints are to be written, and one of the objects has a state that they cannot hold.
        """
        self._root, self._constants = root, tuple(constants)
        if self._writes:
            state_module.capture(root, constants=self._constants)  # what cannot be stored is refused here
        if not self.run.resumes:
            return None
        for path in reversed(self._paths()):
            try:
                manifest, state, arrays = _read(path, self.run.folder)
            except StorageError as error:
                warnings.warn(f"{error}; the one before it is used", CheckpointWarning, stacklevel=2)
                continue
            whole = state_module.restore(root, state, arrays)
            _tell_versions(path, manifest["versions"])
            self._begun = time.perf_counter() - manifest["seconds"]
            self._last_time, self._last_timesteps = time.perf_counter(), manifest["timesteps"]
            return Found(manifest["timesteps"], manifest["seconds"], manifest["ended"], whole)
        return None

    @contextmanager
    def training(self) -> Iterator[None]:
        """The time in which `visit` is called: interrupts wait for it, if a checkpoint can be written."""
        with self.run.waiting.waits() if self._writes else nullcontext():
            yield

    def visit(self, timesteps: int) -> None:
        """To be called whenever the stage could go on from here: writes a checkpoint if it is time to.

        Raises:
            KeyboardInterrupt: One had come; the checkpoint is there.
        """
        if not self._writes:
            return
        config, now = self.run.config, time.perf_counter()
        stops = self.run.waiting.came
        by_time = config.minutes is not None and now - self._last_time >= 60 * config.minutes
        by_steps = config.save_freq is not None and timesteps - self._last_timesteps >= config.save_freq
        if stops or by_time or by_steps:
            self._write(timesteps, ended=False)
        if stops:
            raise KeyboardInterrupt

    def end(self, timesteps: int, *, without: Iterable[object] = ()) -> None:
        """Keeps what the stage has come to, for the stages after it.

        Args:
            timesteps: Environment timesteps of the stage.
            without: What of its state is of no more use.
        """
        if self._writes:
            self._constants = (*self._constants, *without)
            self._write(timesteps, ended=True)

    @property
    def _writes(self) -> bool:
        return self.run.config.is_written

    def _paths(self) -> list[Path]:
        """Its checkpoints, oldest first."""
        return sorted((self.run.folder.path / CHECKPOINTS).glob(f"{self.name}-[0-9]*"))

    def _write(self, timesteps: int, *, ended: bool) -> None:
        state, arrays = state_module.capture(self._root, constants=self._constants)
        files = {
            _STATE: json.dumps(state, separators=(",", ":")).encode(),
            _ARRAYS: save(arrays),
        }
        manifest = {
            "format": _FORMAT,
            "stage": self.name,
            "timesteps": timesteps,
            "seconds": self.seconds,
            "ended": ended,
            "experiment": _digest_of(self.run.folder),
            "versions": {name: versions().get(name) for name in _SAME},
            "sha256": {name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
        }
        before = self._paths()
        files[_MANIFEST] = json.dumps(to_json(manifest), indent=2).encode()
        number = int(before[-1].name.rpartition("-")[2]) + 1 if before else 1
        self.run.folder.write_folder(f"{CHECKPOINTS}/{self.name}-{number:06d}", files)
        for path in before if ended else before[: 1 - _KEPT]:
            shutil.rmtree(path, ignore_errors=True)
        self._last_time, self._last_timesteps = time.perf_counter(), timesteps


def _read(path: Path, folder: RunFolder) -> tuple[dict[str, Any], Any, dict[str, Any]]:
    """Manifest, state and arrays of a checkpoint.

    Raises:
        StorageError: It is torn, or another run's.
    """
    try:
        manifest = json.loads((path / _MANIFEST).read_bytes())
        files = {name: (path / name).read_bytes() for name in (_STATE, _ARRAYS)}
        if manifest["format"] != _FORMAT:
            raise StorageError(f"{path}: format {manifest['format']}, expected {_FORMAT}")
        for name, content in files.items():
            if hashlib.sha256(content).hexdigest() != manifest["sha256"][name]:
                raise StorageError(f"{path}: {name} is torn: its checksum is another")
        if manifest["experiment"] != _digest_of(folder):
            raise StorageError(f"{path}: of another experiment than this run's")
        for name, kind in (("timesteps", int), ("seconds", float), ("ended", bool), ("versions", dict)):
            if not isinstance(manifest[name], kind):
                raise StorageError(f"{path}: {name} is {manifest[name]!r}")
        return manifest, json.loads(files[_STATE]), load(files[_ARRAYS])
    except (OSError, ValueError, KeyError, TypeError, RecursionError, SafetensorError) as error:
        raise StorageError(f"{path}: cannot be read: {' '.join(str(error).split())}") from None


def _digest_of(folder: RunFolder) -> str:
    """What a checkpoint's run is recognised by."""
    text = json.dumps(folder.experiment.fingerprint(), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _tell_versions(path: Path, before: dict[str, Any]) -> None:
    """Says so if the run goes on with other packages than it began with."""
    now = versions()
    other = [
        f"{name} {before.get(name)}, now {now.get(name)}"
        for name in _SAME
        if before.get(name) != now.get(name)
    ]
    if other:
        warnings.warn(
            f"{path}: made with {'; '.join(other)}: numbers may differ from an uninterrupted run's",
            CheckpointWarning,
            stacklevel=3,
        )
