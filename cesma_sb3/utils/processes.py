"""Several commands at once, each a process; none is left behind when this one is interrupted."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from cesma_sb3.utils import modules
from cesma_sb3.utils.signals import terminated_as_interrupted

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_POLL_SECONDS = 0.1
_GRACE_SECONDS = 10.0


@dataclasses.dataclass(frozen=True)
class Job:
    """A command."""

    name: str
    """What a person calls it."""
    command: tuple[str, ...]
    log: Path
    """Where what it prints goes."""


@dataclasses.dataclass
class _Running:
    job: Job
    process: subprocess.Popen[bytes]
    started: float


def run_jobs(
    jobs: Sequence[Job],
    workers: int,
    *,
    started: Callable[[Job], object],
    ended: Callable[[Job, int, float], object],
) -> None:
    """Runs all jobs, each with one thread for its numerical libraries; those that fail don't stop the others.

    Args:
        jobs: In the order in which they start.
        workers: Most processes at once.
        started: Told of each job that starts.
        ended: Told of each job that ended, with its exit status and seconds.

    Raises:
        KeyboardInterrupt: Also on SIGTERM; what was running has ended.
    """
    waiting, running = list(jobs), list[_Running]()
    with terminated_as_interrupted():
        try:
            while waiting or running:
                while waiting and len(running) < workers:
                    running.append(_start(waiting.pop(0)))
                    started(running[-1].job)
                for one in list(running):
                    status = one.process.poll()
                    if status is not None:
                        running.remove(one)
                        ended(one.job, status, time.monotonic() - one.started)
                time.sleep(_POLL_SECONDS)
        finally:
            stop([one.process for one in running])


def _start(job: Job) -> _Running:
    job.log.parent.mkdir(parents=True, exist_ok=True)
    with job.log.open("wb") as log:
        process = subprocess.Popen(
            job.command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=one_thread(),
        )
    return _Running(job, process, time.monotonic())


def one_thread() -> dict[str, str]:
    """This process's environment for one that runs beside others.

    Numerical libraries get one thread, and the same modules are found as here.
    """
    threads = {name: os.environ.get(name, "1") for name in _THREADS}
    return {**os.environ, **threads, modules.PATH: modules.search_path()}


def stop(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Ends processes as Ctrl-C does, so that they clean up; those that don't end soon, at once.

    Who goes on is told once more, as a person would: Python drops an interrupt that comes while it runs a
    finalizer or a callback of C code.
    """
    for _ in range(2):
        for process in processes:
            if process.poll() is not None:
                continue
            if os.name == "nt":
                process.terminate()
            else:
                process.send_signal(signal.SIGINT)
        deadline = time.monotonic() + _GRACE_SECONDS / 2
        for process in processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=max(0.0, deadline - time.monotonic()))
    for process in processes:
        if process.poll() is None:
            process.kill()
            process.wait()
