"""Whose a trial is, where several workers share a study: none is lost, and none is counted twice.

A trial counts when it has ended by itself: it finished, was pruned, or its values were refused (`cause`). One
whose worker died is failed without a cause, and put before the study again.
"""

from __future__ import annotations

import datetime
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from cesma_sb3 import _optuna

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

WORKER, CAUSE, SURPLUS = "worker", "cause", "surplus"
_UNCLAIMED_SECONDS = 60.0
"""A trial that runs for so long and that no worker has claimed is of one that died at once."""


def worker_name(process: int | None = None) -> str:
    """A process of this machine, by a name that no later one has: `host:number:when it began`.

    Args:
        process: Its number; None: this one's.
    """
    number = os.getpid() if process is None else process
    return f"{socket.gethostname()}:{number}:{_began(number)}"


def _began(process: int) -> str:
    """When a process began, as the system counts; empty where it is not there, or that is not told."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""


def is_alive(trial: FrozenTrial) -> bool:
    """Whether somebody may still be at work on a running trial; of another machine's, its storage decides."""
    worker = trial.user_attrs.get(WORKER)
    if worker is None:
        started = trial.datetime_start
        age = (
            0.0 if started is None else (datetime.datetime.now() - started).total_seconds()
        )  # Optuna's are local
        return age < _UNCLAIMED_SECONDS
    host, number, began = str(worker).rsplit(":", 2)
    if host != socket.gethostname():
        return True
    if began:
        return _began(int(number)) == began
    try:
        os.kill(int(number), 0)
    except OSError:
        return False
    return True


def counts(trial: FrozenTrial) -> bool:
    """Whether it ended by itself."""
    return trial.state.name in {"COMPLETE", "PRUNED"} or (
        trial.state.name == "FAIL" and CAUSE in trial.user_attrs
    )


def ended(study: optuna.Study) -> list[FrozenTrial]:
    """Trials that count."""
    return [trial for trial in study.get_trials(deepcopy=False) if counts(trial)]


def running(study: optuna.Study) -> list[FrozenTrial]:
    """Trials that somebody is at work on."""
    found = study.get_trials(deepcopy=False)
    return [trial for trial in found if trial.state.name == "RUNNING" and is_alive(trial)]


def is_surplus(study: optuna.Study, number: int, wanted: int) -> bool:
    """Whether as many trials as are wanted have begun before this one: several workers asked at once."""
    before = [trial for trial in (*ended(study), *running(study)) if trial.number < number]
    return len(before) >= wanted


def revive(study: optuna.Study, told: Callable[[str], object] = lambda _: None) -> None:
    """Fails the trials of dead workers and puts them before the study again.

    Those of this machine: of others' only heartbeats tell, which Optuna looks for.

    Args:
        study: The study.
        told: Told of each.
    """
    import optuna

    for trial in study.get_trials(deepcopy=False):
        if trial.state.name != "RUNNING" or is_alive(trial):
            continue
        try:
            changed = study._storage.set_trial_state_values(trial._trial_id, optuna.trial.TrialState.FAIL)
        except (RuntimeError, optuna.exceptions.OptunaError):  # another worker was faster
            continue
        if changed:
            told(f"trial {trial.number}: its worker died, it is done again")
            with _optuna.quiet():
                _optuna.retry(study, trial)
