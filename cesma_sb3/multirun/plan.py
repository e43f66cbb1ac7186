"""Runs that a sweep or a figure needs: which are finished, and the others in processes of their own."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from cesma_sb3.config.schema import Experiment
from cesma_sb3.errors import StorageError
from cesma_sb3.training.run_folder import CHECKPOINTS, REPORT, RUN, RunFolder
from cesma_sb3.utils.processes import Job, run_jobs
from cesma_sb3.utils.progress import CountProgress, duration

BUSY = "another command makes runs there; wait for it"
"""The error where two commands would make runs in one folder."""


@dataclasses.dataclass(frozen=True)
class PlannedRun:
    """A run that a sweep or a figure needs. Whoever needs the same run shares its folder."""

    experiment: Experiment
    """As resolved, with its seed."""
    path: Path
    """Its run folder."""
    name: str | Path
    """The experiment, as `cesma run` takes it."""
    values: Mapping[str, Any]
    """Values in place of its own, by dotted key."""
    job: Job


@dataclasses.dataclass(frozen=True)
class Failure:
    """A run without a result."""

    run: str
    cause: str
    log: Path
    """The file with what it printed."""


def planned(
    name: str | Path, values: Mapping[str, Any], experiment: Experiment, seed: int, folder: Path
) -> PlannedRun:
    """A run of an experiment, in its own folder below `folder`.

    Args:
        name: The experiment, as `cesma run` takes it.
        values: What is put in place of its values.
        experiment: As resolved with these.
        seed: The run's.
        folder: Of all runs.
    """
    key = experiment.name
    if values:  # other values are another run
        text = json.dumps(values, sort_keys=True)
        key += "-" + hashlib.sha256(text.encode()).hexdigest()[:8]
    path = folder / "runs" / key / f"seed-{seed}"
    command = run_command(name, values, seed, path)
    job = Job(f"{path.parent.name}, seed {seed}", command, path.with_name(f"{path.name}.log"))
    return PlannedRun(experiment.model_copy(update={"seed": seed}), path, name, values, job)


def run_command(name: str | Path, values: Mapping[str, Any], seed: int, out: Path) -> tuple[str, ...]:
    """What a run is as a process of this machine.

    Args:
        name: The experiment: registered, or a YAML file.
        values: What is put in place of its values, by dotted key.
        seed: The run's.
        out: Its run folder.
    """
    settings = [word for key, value in values.items() for word in ("--set", f"{key}={json.dumps(value)}")]
    return (
        *(sys.executable, "-m", "cesma_sb3", "run", str(name)),
        *("--seed", str(seed), *settings, "--out", str(out), "--json"),
    )


def is_finished(run: PlannedRun) -> bool:
    """Whether a finished run of this very experiment is there."""
    try:
        folder = RunFolder.open(run.path)
        folder.report()
    except StorageError:
        return False
    return folder.is_of(run.experiment)


def _resumed(run: PlannedRun) -> PlannedRun:
    """The run, resumed if it was interrupted and has checkpoints; else begun in a free folder."""
    with contextlib.suppress(StorageError):
        folder = RunFolder.open(run.path)
        has_some = any((run.path / CHECKPOINTS).glob("*")) and not (run.path / REPORT).exists()
        if has_some and folder.is_of(run.experiment):
            # All that it would run is what the experiment names, which is the user's own.
            command = (
                sys.executable,
                "-m",
                "cesma_sb3",
                "run",
                "--resume",
                str(run.path),
                "--trust",
                "--json",
            )
            return dataclasses.replace(run, job=dataclasses.replace(run.job, command=command))
    _make_room(run.path)
    return run


def _make_room(path: Path) -> None:
    """Removes an unfinished run; sets anything else aside, under a name beside its own."""
    if not path.exists():
        return
    if (path / RUN).is_file() and not (path / REPORT).exists():
        shutil.rmtree(path)
        return
    number = 1
    while (aside := path.with_name(f"{path.name}-aside-{number}")).exists():
        number += 1
    path.rename(aside)


Started = Callable[[Job], object]
Ended = Callable[[Job, int, float], object]
RunJobs = Callable[[Sequence[PlannedRun], Started, Ended], None]
"""Makes runs somewhere: tells of each that starts, and that ended with an exit status after some seconds."""


def on_this_machine(workers: int) -> RunJobs:
    """As many processes as `workers` at once."""

    def make(runs: Sequence[PlannedRun], started: Started, ended: Ended) -> None:
        run_jobs([run.job for run in runs], workers, started=started, ended=ended)

    return make


def make_runs(runs: Sequence[PlannedRun], run_them: RunJobs, *, progress: bool) -> tuple[Failure, ...]:
    """Make runs; interrupted ones are resumed, and those that fail do not stop the others.

    Args:
        runs: Those that are not finished.
        run_them: Where they are made.
        progress: Tell of each on standard error.

    Returns:
        Those that failed.
    """
    runs = [_resumed(run) for run in runs]
    by_job = {run.job: run for run in runs}
    failures: list[Failure] = []
    with CountProgress("runs", len(runs), enabled=progress) as display:

        def ended(job: Job, status: int, seconds: float) -> None:
            how = "done"
            if status != 0 or not is_finished(by_job[job]):
                failures.append(Failure(job.name, _cause(by_job[job], status), job.log))
                how = f"failed: {failures[-1].cause}"
            display.advance(f"{job.name}: {how} ({duration(seconds)})")

        run_them(list(runs), lambda job: display.message(f"{job.name}: started"), ended)
    return tuple(failures)


def _cause(run: PlannedRun, status: int) -> str:
    """Why a run failed: what it left in its folder, or else the last thing that it printed."""
    with contextlib.suppress(StorageError):
        if error := RunFolder.open(run.path).info.get("error"):
            return str(error)
    if status == 0:
        return "what it made is another experiment: another version may be installed where it ran"
    lines = run.job.log.read_text(encoding="utf-8", errors="replace").split("\n")
    last = next((line.strip() for line in reversed(lines) if line.strip()), "")
    return last.removeprefix("error: ") or f"exit status {status}"
