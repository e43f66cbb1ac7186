"""Runs on a Ray cluster: each a task, whose run folder comes back through Ray's object store.

No file system is shared. A run whose node is lost runs again on another. However many runs there are, as many
tasks are handed in as the cluster has room for, and half as many more.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import signal
import socket
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cesma_sb3.config.yaml import write_mapping
from cesma_sb3.errors import ConfigError, message_of
from cesma_sb3.multirun.plan import Ended, PlannedRun, RunJobs, Started, run_command
from cesma_sb3.training import trust
from cesma_sb3.utils import atomic, modules
from cesma_sb3.utils.installation import missing_extra
from cesma_sb3.utils.processes import start, stop
from cesma_sb3.utils.signals import terminated_as_interrupted

_WAIT_SECONDS = 1.0
_POLL_SECONDS = 0.1
_ANSWER_SECONDS = 10.0
_CANCEL_SECONDS = 40.0
"""Seconds for cancelled tasks to end: longer than `stop` takes."""
_CANCEL_TIMES = 4
# What a run starts as: on Linux it is killed when its task's process is (PR_SET_PDEATHSIG is 1), and it
# receives interrupts, which Ray's processes ignore.
_BOUND = """\
import ctypes, os, signal, sys
signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
signal.signal(signal.SIGINT, signal.SIG_DFL)
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""


@dataclasses.dataclass(frozen=True)
class _Done:
    """What a task gives."""

    status: int
    """The run's exit status."""
    seconds: float
    files: dict[str, bytes]
    """The run folder's, by path."""
    printed: bytes


def on_ray(address: str) -> RunJobs:
    """Makes runs on the cluster at an address: `auto`, `HOST:PORT`, or `ray://HOST:PORT`.

    Raises:
        MissingExtraError: Ray is not installed.
    """
    try:
        import ray  # noqa: F401  # refused before anything is run
    except ImportError as error:
        raise missing_extra("a sweep on a cluster", "ray", error) from None

    def make(runs: Sequence[PlannedRun], started: Started, ended: Ended) -> None:
        with _connected(address) as ray:
            _make(ray, runs, started, ended)

    return make


@contextlib.contextmanager
def _connected(address: str) -> Iterator[Any]:
    """Ray, connected for the time of the block; a connection that is there already is used, and left."""
    import ray

    ours = not ray.is_initialized()
    if ours:
        _must_answer(address)
        try:
            ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise ConfigError(f"ray: {address}: cannot be reached: {message_of(error)}") from None
    try:
        yield ray
    finally:
        if ours:
            ray.shutdown()


def _must_answer(address: str) -> None:
    """Whether somebody listens there; Ray itself would try again for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if address == "auto":
        return
    try:
        if not colon:
            raise OSError("expected HOST:PORT")
        socket.create_connection((host, int(port)), timeout=_ANSWER_SECONDS).close()
    except (OSError, ValueError) as error:
        raise ConfigError(f"ray: {address}: cannot be reached: {error}") from None


def _make(ray: Any, runs: Sequence[PlannedRun], started: Started, ended: Ended) -> None:
    # A lost node is no fault of the run: it may happen any number of times.
    task = ray.remote(num_cpus=1, max_retries=-1)(_execute)
    waiting, at_work = deque(runs), dict[Any, PlannedRun]()
    with terminated_as_interrupted():
        try:
            while waiting or at_work:
                room = max(1, int(1.5 * ray.cluster_resources().get("CPU", 1)))
                while waiting and len(at_work) < room:
                    run = waiting.popleft()
                    at_work[task.remote(*_travelling(run))] = run
                    started(run.job)
                ready, _ = ray.wait(list(at_work), timeout=_WAIT_SECONDS)
                for reference in ready:
                    run = at_work.pop(reference)
                    ended(run.job, *_fetch(ray, reference, run))
        finally:
            _cancel(ray, list(at_work))


def _travelling(run: PlannedRun) -> tuple[str, str | None, Mapping[str, Any], int, str]:
    """The arguments of a task: a node may not have the file of an experiment, so its content goes along."""
    if isinstance(run.name, Path) or run.name.endswith((".yaml", ".yml")):
        content = write_mapping(run.experiment.to_mapping())
        return Path(run.name).name, content, {}, run.experiment.seed, modules.search_path()
    return run.name, None, run.values, run.experiment.seed, modules.search_path()


def _fetch(ray: Any, reference: Any, run: PlannedRun) -> tuple[int, float]:
    """Puts what a task gave in its place, whole; its exit status and seconds."""
    run.job.log.parent.mkdir(parents=True, exist_ok=True)
    try:
        done: _Done = ray.get(reference)
    except ray.exceptions.RayError as error:
        run.job.log.write_text(f"{error}\n", encoding="utf-8")
        return 1, 0.0
    run.job.log.write_bytes(done.printed)
    if done.files:
        atomic.write_folder(run.path, done.files)
        trust.sign_all(run.path)  # made for this user, by whoever the cluster's nodes run as
    return done.status, done.seconds


def _cancel(ray: Any, references: list[Any]) -> None:
    """Tells tasks to end, so that they leave nothing behind; those that don't, their workers are killed."""
    left = references
    for _ in range(_CANCEL_TIMES):
        # Told once more: Python drops an interrupt that comes while it runs a finalizer.
        for reference in left:
            ray.cancel(reference)
        if left:
            _, left = ray.wait(left, num_returns=len(left), timeout=_CANCEL_SECONDS / _CANCEL_TIMES)
    for reference in left:
        ray.cancel(reference, force=True)


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Leaves interrupts aside for the time of the block, so that what cleans up is not cut short."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # a task runs in its worker's main thread
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _execute(name: str, content: str | None, values: Mapping[str, Any], seed: int, search_path: str) -> _Done:
    """On a node: one run, in a process of its own and a folder that is not kept.

    Args:
        name: A registered experiment, or what a file of one is called.
        content: Of that file; None: it is registered.
        values: In place of a registered experiment's.
        seed: Of the run.
        search_path: Folders in which the user's modules are, on nodes that have them (`_modules.PATH`).
    """
    began = time.monotonic()
    # Ray cancels by an interrupt, which processes of a cluster that was started in the background ignore.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="cesma-") as folder:
        out, log, file = Path(folder, "run"), Path(folder, "log"), Path(folder, "given", name)
        if content is not None:
            file.parent.mkdir()
            file.write_text(content, encoding="utf-8")
        command = run_command(name if content is None else file, values, seed, out)
        if os.name == "posix":
            command = (sys.executable, "-I", "-S", "-c", _BOUND, str(os.getpid()), *command)
        process = start(command, log, {modules.PATH: search_path})
        try:
            while process.poll() is None:  # short waits: Ray's way to cancel a task does not end a long one
                time.sleep(_POLL_SECONDS)
        finally:
            with _uninterrupted():
                stop([process])
        files = {path.relative_to(out).as_posix(): path for path in out.rglob("*") if path.is_file()}
        return _Done(
            process.returncode,
            time.monotonic() - began,
            {name: path.read_bytes() for name, path in files.items()},
            log.read_bytes(),
        )
