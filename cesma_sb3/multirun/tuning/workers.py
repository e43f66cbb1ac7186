"""The worker processes of one study; one that is killed is replaced."""

from __future__ import annotations

import subprocess
import sys
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from cesma_sb3.errors import CesmaError
from cesma_sb3.multirun.tuning.claims import VARIABLE
from cesma_sb3.utils.processes import start, stop

_MAX_DEATHS = 10


class Workers:
    """A context manager: the processes run inside of it, and none is left after it.

    Args:
        words: What each process does: arguments of the command `cesma`.
        count: The number of processes.
        logs: An existing folder for what they print.
        environment: Variables on top of this process's, for what other users must not see in the list of
            processes.
    """

    def __init__(self, words: Sequence[str], count: int, logs: Path, environment: Mapping[str, str]) -> None:
        self.words = list(words)
        self.count = count
        self.logs = logs
        self.environment = dict(environment)
        self.processes: dict[subprocess.Popen[bytes], str] = {}
        """Those at work, with the name of each."""
        self.ended: set[str] = set()
        """Names of those that have ended, however they did."""
        self._deaths = 0

    def __enter__(self) -> Workers:
        for _ in range(self.count):
            self._start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        stop(list(self.processes))

    def is_working(self) -> bool:
        """Whether any is still at work.

        Raises:
            CesmaError: A worker was given bad input, or they die again and again.
            RuntimeError: A worker had a programming error.
        """
        for process, name in list(self.processes.items()):
            status, log = process.poll(), self._log_of(name)
            if status is None:
                continue
            del self.processes[process]
            self.ended.add(name)
            if status == 0:
                continue
            last = _last_line(log)
            if status == 2:  # bad input, which this process has not seen: its files have changed, say
                raise CesmaError(last.removeprefix("error: "))
            if status > 0:
                raise RuntimeError(f"a worker failed: {last} (log: {log})")
            self._deaths += 1
            if self._deaths > _MAX_DEATHS:
                raise CesmaError(
                    f"{self._deaths} workers were killed, the last by signal {-status} (log: {log})"
                )
            self._start()
        return bool(self.processes)

    def _start(self) -> None:
        name = uuid.uuid4().hex
        command = [sys.executable, "-m", "cesma_sb3", *self.words]
        process = start(command, self._log_of(name), {**self.environment, VARIABLE: name})
        self.processes[process] = name

    def _log_of(self, name: str) -> Path:
        return self.logs / f"{name}.log"


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return next((line.strip() for line in reversed(lines) if line.strip()), "no output")
