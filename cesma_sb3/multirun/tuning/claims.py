"""Which worker runs which trial of a shared study: no trial is lost, and none is counted twice.

A trial counts when it ended by itself: it finished, was pruned, or its values were refused (`CAUSE`). A trial
whose worker died is failed without a cause and queued again with the same values.

In databases, Optuna's heartbeats show which workers are alive. A journal has none: there each worker holds a
lock beside the journal, which the system releases when the process ends.
"""

from __future__ import annotations

import contextlib
import os
import time
import uuid
import zlib
from collections.abc import Callable, Collection, Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from cesma_sb3.multirun.tuning.storage import JOURNAL, quiet, retry

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

WORKER, CAUSE, SURPLUS = "worker", "cause", "surplus"
"""Attributes of a trial: the worker that runs it, why it was refused, and that others had begun enough."""
VARIABLE = "CESMA_WORKER"
"""The environment variable by which a process that starts workers names each of them."""
_UNCLAIMED_SECONDS = 60.0
"""A trial that no worker has claimed for so long belongs to a worker that died at once."""


@cache
def own_name() -> str:
    """The name of this process as a worker, `NAME-PROCESS`; no other process has it."""
    return f"{os.environ.get(VARIABLE) or uuid.uuid4().hex}-{os.getpid()}"


def own_seed() -> int:
    """A number from this worker's name, for draws that differ from those of other workers."""
    return zlib.crc32(own_name().encode())


def ended(study: optuna.Study) -> list[FrozenTrial]:
    """Trials that count: those that ended by themselves."""
    return [trial for trial in study.get_trials(deepcopy=False) if counts(trial)]


def counts(trial: FrozenTrial) -> bool:
    """Whether a trial ended by itself."""
    return trial.state.name in {"COMPLETE", "PRUNED"} or (
        trial.state.name == "FAIL" and CAUSE in trial.user_attrs
    )


class Claims:
    """The trials of one study, as one of its workers sees them.

    Args:
        study: Optuna's.
        storage: The URL of its storage; None for a study in memory.
    """

    def __init__(self, study: optuna.Study, storage: str | None) -> None:
        self.study = study
        is_journal = storage is not None and storage.startswith(JOURNAL)
        self._journal = Path(storage.removeprefix(JOURNAL)) if storage and is_journal else None
        self._unclaimed: dict[int, float] = {}
        # By number: when this process first saw that a running trial is unclaimed, by its own clock.

    @contextlib.contextmanager
    def present(self) -> Iterator[None]:
        """Show other workers that this one is alive, for the time of the block."""
        if self._journal is None:  # heartbeats, which Optuna sends while a trial runs
            yield
            return
        path = self._lock_of(own_name())
        try:
            with FileLock(path):
                yield
        finally:
            path.unlink(missing_ok=True)

    def running(self) -> list[FrozenTrial]:
        """Trials that a worker is running, as far as can be seen."""
        trials = self.study.get_trials(deepcopy=False)
        return [trial for trial in trials if trial.state.name == "RUNNING" and not self._is_lost(trial)]

    def is_surplus(self, number: int, wanted: int) -> bool:
        """Whether enough trials began before this one: several workers asked for one at the same time."""
        before = [trial for trial in (*ended(self.study), *self.running()) if trial.number < number]
        return len(before) >= wanted

    def revive(
        self,
        message: Callable[[str], object] = lambda _: None,
        *,
        dead: Collection[str] = (),
        alone: bool = False,
    ) -> None:
        """Fail the trials of dead workers and queue them again.

        Args:
            message: Called with a line about each, except for those that heartbeats report.
            dead: Names, without the process, of workers that are known to have ended.
            alone: No worker is at work: each running trial was left by one that died.
        """
        import optuna

        with quiet():
            optuna.storages.fail_stale_trials(self.study)  # does nothing where there are no heartbeats
            for trial in self.study.get_trials(deepcopy=False):
                name = str(trial.user_attrs.get(WORKER, ""))
                is_dead = alone or name.rpartition("-")[0] in dead
                if trial.state.name != "RUNNING" or not (is_dead or self._is_lost(trial)):
                    continue
                try:
                    self.study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
                except (ValueError, RuntimeError, optuna.exceptions.OptunaError):  # another worker was faster
                    continue
                message(f"trial {trial.number}: its worker died; the trial is run again")
                retry(self.study, trial)

    def _is_lost(self, trial: FrozenTrial) -> bool:
        name = trial.user_attrs.get(WORKER)
        if name is None:
            since = self._unclaimed.setdefault(trial.number, time.monotonic())
            return time.monotonic() - since > _UNCLAIMED_SECONDS
        return self._journal is not None and name != own_name() and not _is_held(self._lock_of(str(name)))

    def _lock_of(self, name: str) -> Path:
        assert self._journal is not None
        return self._journal.with_name(f"{self._journal.name}.{Path(name).name}.lock")


def _is_held(path: Path) -> bool:
    """Whether a process holds a lock; one that was left behind is removed."""
    if not path.exists():
        return False
    try:
        with FileLock(path, timeout=0):
            path.unlink(missing_ok=True)
    except Timeout:
        return True
    return False
