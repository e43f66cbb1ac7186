"""Run commands in parallel, each in a process; an interrupt ends all of them."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from cesma_sb3.utils import modules
from cesma_sb3.utils.signals import terminated_as_interrupted

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_POLL_SECONDS = 0.1
_QUOTA = Path("/sys/fs/cgroup/cpu.max")
"""Of a Linux container: microseconds of the processor in each period, or "max"."""
_GRACE_SECONDS = 10.0


@dataclasses.dataclass(frozen=True)
class Job:
    """A command.

    Attributes:
        name: A name for messages.
        command: The words of the command.
        log: The file that its output goes to.
    """

    name: str
    command: tuple[str, ...]
    log: Path


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
    """Run all jobs, each with one thread for its numerical libraries; failures do not stop the others.

    Args:
        jobs: The commands, in the order in which they start.
        workers: Most processes at once.
        started: Called with each job that starts.
        ended: Called with each job that has ended, its exit status and its seconds.

    Raises:
        KeyboardInterrupt: On Ctrl-C and SIGTERM, after all processes have ended.
    """
    waiting, running = list(jobs), list[_Running]()
    with terminated_as_interrupted():
        try:
            while waiting or running:
                while waiting and len(running) < workers:
                    job = waiting.pop(0)
                    running.append(_Running(job, start(job.command, job.log), time.monotonic()))
                    started(job)
                for one in list(running):
                    status = one.process.poll()
                    if status is not None:
                        running.remove(one)
                        ended(one.job, status, time.monotonic() - one.started)
                time.sleep(_POLL_SECONDS)
        finally:
            stop([one.process for one in running])


def start(
    command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start a command that runs beside others.

    Args:
        command: Its words.
        log: The file that its output goes to; the folder is made if need be.
        environment: Environment variables on top of `one_thread()`.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**one_thread(), **(environment or {})},
        )


def one_thread() -> dict[str, str]:
    """Return this process's environment for a process that runs beside others.

    Numerical libraries get one thread, and the same modules are found as here.
    """
    threads = {name: os.environ.get(name, "1") for name in _THREADS}
    return {**os.environ, **threads, modules.PATH: modules.search_path()}


def cores() -> int:
    """Return the number of cores that this process may use, also in a container."""
    affinity = getattr(os, "sched_getaffinity", None)  # not on macOS and Windows
    found = len(affinity(0)) if affinity else os.cpu_count() or 1
    with contextlib.suppress(OSError, ValueError):  # there is no quota
        quota, period = map(int, _QUOTA.read_text(encoding="utf-8").split())
        found = min(found, max(1, round(quota / period)))
    return found


def stop(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """End processes as Ctrl-C does, so that they clean up; kill those that do not end soon.

    The interrupt is sent twice, for Python drops one that comes in a finalizer or a callback of C code.
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
