"""Checkpoints of a run: the state of its stages, from which it resumes after an interruption.

Each is a folder below `checkpoints/` in the run folder, written whole:

manifest.json           stage, steps, versions of packages, and checksums of the other files
state.json              the state of the stage as plain values (`training.state`)
arrays.safetensors      the arrays and tensors of that state

A stage keeps its newest two. One that has ended keeps a last one, from which the run's later stages begin;
a finished run keeps none.
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
from cesma_sb3.training.provenance import versions
from cesma_sb3.training.run_files import to_json
from cesma_sb3.training.run_folder import CHECKPOINTS, RunFolder
from cesma_sb3.utils.closing import closing_all
from cesma_sb3.utils.signals import DeferredInterrupt

LOG = "progress.csv"
T = TypeVar("T")
_FORMAT = 4
_KEPT = 2
_MANIFEST, _STATE, _ARRAYS = "manifest.json", "state.json", "arrays.safetensors"
_SAME = ("python", "torch", "numpy", "stable-baselines3")
"""Packages of other versions than the checkpoint's may give other numbers."""


@dataclasses.dataclass(frozen=True)
class ResumePoint:
    """Where a stage resumes."""

    steps: int
    """How far the stage is, as `StageCheckpoints.save_if_due` counts it."""
    seconds: float
    """Wall-clock time that they took."""
    ended: bool
    """Whether the stage has ended: its result is there."""
    in_mid_episode: bool
    """Whether the environments are where they were; if not, they must begin new episodes."""


class Checkpoints:
    """The checkpoints of a run.

    Args:
        folder: The run folder.
        config: How often a checkpoint is written.
        resume: Whether the run resumes; else the checkpoints in the folder are ignored.
    """

    def __init__(self, folder: RunFolder, config: CheckpointConfig, *, resume: bool = False) -> None:
        self.folder = folder
        self.config = config
        self.resume = resume
        self.interrupt = DeferredInterrupt()

    def stage(self, name: str) -> StageCheckpoints:
        """Returns the checkpoints of a stage: `expert`, `students` or `fine-tuning`."""
        return StageCheckpoints(self, name)

    def remove(self) -> None:
        """Removes all checkpoints: the run has finished."""
        shutil.rmtree(self.folder.path / CHECKPOINTS, ignore_errors=True)


class StageCheckpoints:
    """The checkpoints of one stage of a run; made by `Checkpoints.stage`."""

    def __init__(self, run: Checkpoints, name: str) -> None:
        self.run = run
        self.name = name
        self._root: object = None
        self._constants: tuple[object, ...] = ()
        self._begun, self._begun_processor = time.perf_counter(), time.process_time()
        self._last_time, self._last_steps = self._begun, 0

    @property
    def seconds(self) -> float:
        """Wall-clock time of the stage so far, with that before an interruption."""
        return time.perf_counter() - self._begun

    @property
    def processor_seconds(self) -> float:
        """Processor time of the stage so far, with that before an interruption; without worker processes."""
        return time.process_time() - self._begun_processor

    @contextmanager
    def logger(self, configure: Callable[[str, list[str]], T], formats: list[str]) -> Iterator[T]:
        """A logger of SB3 or imitation in the stage's log folder, or in one beside it if the run resumes.

        Args:
            configure: `configure` of SB3's logger or imitation's.
            formats: Formats of the log, as SB3 names them.
        """
        logs = self.run.folder.path / "logs" / self.name
        number = 1
        while self.run.resume and (logs / LOG).exists():
            number += 1
            logs = logs.with_name(f"{self.name}-{number}")
        logger = configure(str(logs), formats)
        outputs: Any = getattr(logger, "default_logger", logger)  # imitation's logger leads to SB3's
        with closing_all(logger, outputs.output_formats):
            yield logger

    def restore(self, root: object, *, constants: Iterable[object] = ()) -> ResumePoint | None:
        """Takes the objects whose state is saved; if the run resumes, restores the newest intact checkpoint.

        Args:
            root: The objects that the stage changes, by name, as constructed for its beginning.
            constants: Objects that these lead to and that do not change.

        Returns:
            Where the stage resumes; None: it starts at its beginning.

        Raises:
            StorageError: An intact checkpoint does not fit these objects: another version of this package
                wrote it, say. Or checkpoints are to be written, and cannot hold the state of an object.
        """
        self._root, self._constants = root, tuple(constants)
        if self._writes:
            state_module.capture(root, constants=self._constants)  # what cannot be stored is refused here
        if not self.run.resume:
            return None
        for path in reversed(self._paths()):
            try:
                manifest, state, arrays = _read(path, self.run.folder)
            except StorageError as error:
                warnings.warn(f"{error}; the one before it is used", CheckpointWarning, stacklevel=2)
                continue
            in_mid_episode = state_module.restore(root, state, arrays)
            _warn_of_versions(path, manifest["versions"])
            self._begun = time.perf_counter() - manifest["seconds"]
            self._begun_processor = time.process_time() - manifest["processor_seconds"]
            self._last_time, self._last_steps = time.perf_counter(), manifest["steps"]
            return ResumePoint(manifest["steps"], manifest["seconds"], manifest["ended"], in_mid_episode)
        return None

    @contextmanager
    def deferring_interrupts(self) -> Iterator[None]:
        """Defers Ctrl-C and SIGTERM in the block to the next `save_if_due`, if checkpoints are written."""
        with self.run.interrupt.deferred() if self._writes else nullcontext():
            yield

    def save_if_due(self, steps: int) -> None:
        """Writes a checkpoint if it is time to, or if an interrupt waits for one.

        A stage calls it wherever it could resume: when everything that it has collected is learned from.

        Args:
            steps: How far the stage is: environment timesteps so far, and samples of experience that were
                learned from before the first of them.

        Raises:
            KeyboardInterrupt: An interrupt was waiting; the checkpoint is written.
        """
        if not self._writes:
            return
        config, now = self.run.config, time.perf_counter()
        stops = self.run.interrupt.pending
        by_time = config.minutes is not None and now - self._last_time >= 60 * config.minutes
        by_steps = config.save_freq is not None and steps - self._last_steps >= config.save_freq
        if stops or by_time or by_steps:
            self.save(steps)
        if stops:
            raise KeyboardInterrupt

    def save_final(self, steps: int, *, without: Iterable[object] = ()) -> None:
        """Writes the last checkpoint of the stage, for a run that resumes in a later stage.

        Args:
            steps: As of `save_if_due`.
            without: Objects that only training needs, such as a replay buffer: they are not stored.
        """
        if self._writes:
            self._constants = (*self._constants, *without)
            self.save(steps, ended=True)

    @property
    def _writes(self) -> bool:
        return self.run.config.is_written

    def _paths(self) -> list[Path]:
        """The checkpoints of the stage, oldest first."""
        return sorted((self.run.folder.path / CHECKPOINTS).glob(f"{self.name}-[0-9]*"))

    def save(self, steps: int, *, ended: bool = False) -> None:
        """Writes a checkpoint, and removes those that it replaces.

        Args:
            steps: As of `save_if_due`.
            ended: Whether the stage has ended.

        Raises:
            StorageError: It cannot be written, or an object has a state that it cannot hold.
        """
        state, arrays = state_module.capture(self._root, constants=self._constants)
        files = {
            _STATE: json.dumps(state, separators=(",", ":")).encode(),
            _ARRAYS: save(arrays),
        }
        manifest = {
            "format": _FORMAT,
            "stage": self.name,
            "steps": steps,
            "seconds": self.seconds,
            "processor_seconds": self.processor_seconds,
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
        self._last_time, self._last_steps = time.perf_counter(), steps


def _read(path: Path, folder: RunFolder) -> tuple[dict[str, Any], Any, dict[str, Any]]:
    """Manifest, state and arrays of a checkpoint.

    Raises:
        StorageError: A file is damaged, or the checkpoint is of another experiment.
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
        kinds = {"steps": int, "seconds": float, "processor_seconds": float, "ended": bool}
        for name, kind in {**kinds, "versions": dict}.items():
            if not isinstance(manifest[name], kind):
                raise StorageError(f"{path}: {name} is {manifest[name]!r}")
        return manifest, json.loads(files[_STATE]), load(files[_ARRAYS])
    except (OSError, ValueError, KeyError, TypeError, RecursionError, SafetensorError) as error:
        raise StorageError(f"{path}: cannot be read: {' '.join(str(error).split())}") from None


def _digest_of(folder: RunFolder) -> str:
    """Digest of the experiment's values, by which a checkpoint is known to be of this run."""
    text = json.dumps(folder.experiment.fingerprint(), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _warn_of_versions(path: Path, before: dict[str, Any]) -> None:
    """Warns if the run resumes with other versions of packages than the checkpoint was written with."""
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
