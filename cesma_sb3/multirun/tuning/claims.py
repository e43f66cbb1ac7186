"""Whose a trial is, where several workers share a study: none is lost, and none is counted twice.

A trial counts when it has ended by itself: it finished, was pruned, or its values were refused (`cause`). One
whose worker died is failed without a cause, and put before the study again.

Heartbeats decide whether a worker is alive, where the storage has them. Elsewhere its process does, if it is
seen: on the same machine since the same start, and in the same container.
"""

from __future__ import annotations

import dataclasses
import os
import socket
import sys
import time
from collections.abc import Callable, Collection
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from cesma_sb3.multirun.tuning import storage as optuna_storage

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

WORKER, CAUSE, SURPLUS = "worker", "cause", "surplus"
_UNCLAIMED_SECONDS = 60.0
"""A trial that runs for so long and that no worker has claimed is of one that died at once."""
_unclaimed: dict[tuple[int, object], float] = {}
"""By number and start of a trial, when this process saw first that nobody has claimed it: the clocks and time
zones of other machines do not matter."""


@dataclasses.dataclass(frozen=True)
class Worker:
    """A process, by what no other one has, now or later, on this machine or another."""

    process: int
    """Its number, as its own container counts."""
    began: str
    """When it began, as the system counts; empty where that is not told."""
    namespace: str
    """In which container processes are counted; empty where that is not told."""
    boot: str
    """When the machine was started; empty where that is not told. Containers of one machine share it."""
    host: str
    """The name of the machine or container, which need not be its own."""

    @classmethod
    def of(cls, process: int | None = None) -> Worker:
        """A process of this machine and container.

        Args:
            process: Its number; None: this one's.
        """
        number = os.getpid() if process is None else process
        return cls(number, _began(number), *_here())

    @classmethod
    def read(cls, name: object) -> Worker | None:
        """The worker of a name; None if it is none."""
        parts = str(name).split(":", 4)
        if len(parts) < 5 or not parts[0].isdecimal():
            return None
        return cls(int(parts[0]), *parts[1:])

    @property
    def name(self) -> str:
        """As a trial keeps it; a host's name may hold colons."""
        return f"{self.process}:{self.began}:{self.namespace}:{self.boot}:{self.host}"

    def is_gone(self, *, elsewhere: bool) -> bool:
        """Whether the process is no more.

        Args:
            elsewhere: What to answer of another machine's or container's, where this cannot be seen.
        """
        cannot_be_seen = os.name == "nt" or (sys.platform == "linux" and not (self.namespace and self.boot))
        if cannot_be_seen or (self.namespace, self.boot, self.host) != _here():
            return elsewhere
        if self.began:
            return _began(self.process) != self.began
        try:
            os.kill(self.process, 0)
        except OSError:
            return True
        return False


@cache
def _here() -> tuple[str, str, str]:
    """Namespace, boot and host of this process."""
    try:
        namespace = str(Path("/proc/self/ns/pid").stat().st_ino)
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        namespace = boot = ""
    return namespace, boot, socket.gethostname()


def _began(process: int) -> str:
    """When a process began, as the system counts; empty where it is not there, or that is not told."""
    try:
        state, *fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        return "" if state in {"Z", "X"} else fields[18]
    except (OSError, IndexError, ValueError):
        return ""


def counts(trial: FrozenTrial) -> bool:
    """Whether it ended by itself."""
    return trial.state.name in {"COMPLETE", "PRUNED"} or (
        trial.state.name == "FAIL" and CAUSE in trial.user_attrs
    )


def ended(study: optuna.Study) -> list[FrozenTrial]:
    """Trials that count."""
    return [trial for trial in study.get_trials(deepcopy=False) if counts(trial)]


def running(study: optuna.Study) -> list[FrozenTrial]:
    """Trials that somebody is at work on, as far as can be seen."""
    beats = optuna_storage.has_heartbeats(study)
    found = study.get_trials(deepcopy=False)
    return [trial for trial in found if trial.state.name == "RUNNING" and not _is_lost(trial, beats, False)]


def is_surplus(study: optuna.Study, number: int, wanted: int) -> bool:
    """Whether as many trials as are wanted have begun before this one: several workers asked at once."""
    before = [trial for trial in (*ended(study), *running(study)) if trial.number < number]
    return len(before) >= wanted


def revive(
    study: optuna.Study,
    told: Callable[[str], object] = lambda _: None,
    *,
    dead: Collection[str] = (),
    alone: bool = False,
) -> None:
    """Fails the trials of dead workers and puts them before the study again.

    Args:
        study: The study.
        told: Told of each, but for those that heartbeats tell of.
        dead: Names of workers that are known to have ended: this process started them.
        alone: Nobody on another machine or in another container works on the study.
    """
    import optuna

    beats = optuna_storage.has_heartbeats(study)
    with optuna_storage.quiet():
        optuna.storages.fail_stale_trials(study)  # nothing where there are no heartbeats
        for trial in study.get_trials(deepcopy=False):
            is_known = trial.user_attrs.get(WORKER) in dead
            if trial.state.name != "RUNNING" or not (is_known or _is_lost(trial, beats, alone)):
                continue
            try:
                study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
            except (ValueError, RuntimeError, optuna.exceptions.OptunaError):  # another worker was faster
                continue
            told(f"trial {trial.number}: its worker died, it is done again")
            optuna_storage.retry(study, trial)


def _is_lost(trial: FrozenTrial, beats: bool, alone: bool) -> bool:
    """Whether nobody is at work on a running trial, by what this process sees."""
    name = trial.user_attrs.get(WORKER)
    if name is None:
        since = _unclaimed.setdefault((trial.number, trial.datetime_start), time.monotonic())
        return time.monotonic() - since > _UNCLAIMED_SECONDS
    if beats:
        return False
    worker = Worker.read(name)
    return alone if worker is None else worker.is_gone(elsewhere=alone)
