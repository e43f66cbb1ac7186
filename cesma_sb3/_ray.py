"""Runs on a Ray cluster: each a task, whose run folder comes back through Ray's object store.

No file system is shared. A run whose node is lost runs again on another. However many runs there are, as many
tasks are handed in as the cluster has room for, and half as many more.
"""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from cesma_sb3 import _atomic
from cesma_sb3._processes import one_thread
from cesma_sb3._yaml import write_mapping
from cesma_sb3.errors import ConfigError, MissingExtraError
from cesma_sb3.planned import Ended, PlannedRun, RunJobs, Started

_PR_SET_PDEATHSIG = 1
_WAIT_SECONDS = 1.0
_ANSWER_SECONDS = 10.0


def on_ray(address: str) -> RunJobs:
    """Makes runs on the cluster at an address: `auto`, `HOST:PORT`, or `ray://HOST:PORT`.

    Raises:
        MissingExtraError: Ray is not installed.
    """
    try:
        import ray  # noqa: F401  # told before anything is made
    except ImportError:
        raise MissingExtraError("Ray is not installed: pip install 'cesma-sb3[ray]'") from None

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
            told = " ".join(str(error).split())
            raise ConfigError(f"ray: {address}: cannot be reached: {told}") from None
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
    waiting, at_work = list(runs), dict[Any, tuple[PlannedRun, float]]()
    try:
        while waiting or at_work:
            room = max(1, int(1.5 * ray.cluster_resources().get("CPU", 1)))
            while waiting and len(at_work) < room:
                run = waiting.pop(0)
                reference = task.remote(write_mapping(run.experiment.to_mapping()), run.experiment.seed)
                at_work[reference] = (run, time.monotonic())
                started(run.job)
            ready, _ = ray.wait(list(at_work), timeout=_WAIT_SECONDS)
            for reference in ready:
                run, began = at_work.pop(reference)
                ended(run.job, _fetch(ray, reference, run), time.monotonic() - began)
    finally:
        for reference in at_work:
            ray.cancel(reference, force=True)


def _fetch(ray: Any, reference: Any, run: PlannedRun) -> int:
    """Puts what a task gave in its place, whole; its exit status."""
    run.job.log.parent.mkdir(parents=True, exist_ok=True)
    try:
        status, files, printed = ray.get(reference)
    except ray.exceptions.RayError as error:
        run.job.log.write_text(f"{error}\n", encoding="utf-8")
        return 1
    run.job.log.write_bytes(printed)
    if files:
        _atomic.write_folder(run.path, files)
    return int(status)


def _execute(experiment: str, seed: int) -> tuple[int, Mapping[str, bytes], bytes]:
    """On a node: one run, in a process of its own and a folder that is not kept.

    Args:
        experiment: As resolved, in YAML.
        seed: Of the run.

    Returns:
        The exit status, the run folder's files by path, and what was printed.
    """
    with tempfile.TemporaryDirectory() as folder:
        file, out = Path(folder, "experiment.yaml"), Path(folder, "run")
        file.write_text(experiment, encoding="utf-8")
        done = subprocess.run(
            [
                *(sys.executable, "-m", "cesma_sb3", "run", str(file)),
                *("--seed", str(seed), "--out", str(out), "--json"),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=one_thread(),
            check=False,
            preexec_fn=_die_with_parent,
        )
        paths = [path for path in out.rglob("*") if path.is_file()]
        return done.returncode, {str(p.relative_to(out)): p.read_bytes() for p in paths}, done.stdout


def _die_with_parent() -> None:
    """In the new process: it is killed when Ray's worker is, whose node may be told to give up."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == 1:  # it was faster
            os._exit(1)
