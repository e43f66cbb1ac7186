"""Systems that are compared on a task: their finished runs, scores and curves."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from cesma_sb3.analysis.run_data import Role, RunData, read_run
from cesma_sb3.errors import ConfigError, StorageError
from cesma_sb3.training.run_folder import RUN
from cesma_sb3.utils.plotting import Points

Metric = Literal["normalized", "return", "win_rate"]
METRICS: tuple[Metric, ...] = get_args(Metric)
_RUN_FOLDERS = (f"*/{RUN}", f"*/*/{RUN}", f"*/*/*/{RUN}")
"""Where run folders lie below a results folder, which holds `runs/NAME/seed-N`, or below a part of it."""
_ASIDE = "-aside-"
"""In the names of run folders that a sweep has set aside."""


@dataclasses.dataclass(frozen=True)
class System:
    """What acts in a task: the students of an experiment (of a baseline, its team), or its expert."""

    label: str
    role: Role
    runs: Mapping[int, RunData]
    """Finished runs by seed."""

    def scores(self, metric: Metric) -> dict[int, float | None]:
        """Return the final score of each seed; None where a run does not have this metric."""
        return {seed: _score(run.report, self.role, metric) for seed, run in self.runs.items()}

    @property
    def samples(self) -> float:
        """Environment samples of all stages up to this policy, as a mean over runs."""
        runs = self.runs.values()
        return float(np.mean([run.cost("env_samples", self.role, with_expert=True) for run in runs]))

    def curve(self, seed: int, metric: Metric) -> Points:
        """Return what a run measured during training; students start where their expert ends."""
        run = self.runs[seed]
        measurement: Literal["return", "win_rate"] = "win_rate" if metric == "win_rate" else "return"
        points = run.curve(self.role, measurement, after_expert=True)
        if metric == "normalized" and points:
            low, high = (run.report["return"][name] for name in ("random", "reference"))
            points = [(x, (y - low) / (high - low)) for x, y in points]
        if not points and (score := self.scores(metric)[seed]) is not None:  # an expert that was not trained
            return [(float(run.expert_samples if self.role == "students" else 0), score)]
        return points


@dataclasses.dataclass(frozen=True)
class Task:
    """One environment with one definition of its reward, and the systems that ran in it."""

    name: str
    systems: Mapping[str, System]
    """By label."""


def _score(report: Mapping[str, Any], role: Role, metric: Metric) -> float | None:
    value = report.get(metric, {}).get(role)
    return value.get("rate") if isinstance(value, Mapping) else value


def read_finished(path: Path) -> RunData:
    """Read a run folder.

    Raises:
        StorageError: It is no run folder, its run did not finish, or it trained an expert alone.
    """
    run = read_run(path)
    if "students" not in run.report.get("return", {}):
        raise StorageError(f"{path}: a run of the expert alone; expected one with students")
    return run


def read_folder(folder: Path) -> tuple[list[RunData], list[str]]:
    """Read a run folder, or all run folders below a folder; those that a sweep set aside are skipped.

    Returns:
        The finished runs, and for each other run why it is left out.

    Raises:
        StorageError: It is a run folder whose run did not finish, or no run below it did.
    """
    if (folder / RUN).is_file():
        return [read_finished(folder)], []
    runs, left_out = [], []
    for path in sorted({file.parent for pattern in _RUN_FOLDERS for file in folder.glob(pattern)}):
        if _ASIDE in path.name:
            continue
        try:
            runs.append(read_finished(path))
        except StorageError as error:
            left_out.append(str(error))
    if not runs:
        why = left_out[0] if left_out else f"expected run folders, each with a {RUN}"
        raise StorageError(f"{folder}: no finished run: {why}")
    return runs, left_out


def choose_metric(tasks: Sequence[Task], metric: Metric | None) -> Metric:
    """Return the metric that all runs have: as asked for, else the normalised score, else the return.

    Raises:
        ConfigError: A run does not have the metric that was asked for.
    """
    for candidate in (metric,) if metric else METRICS[:2]:
        lacking = [
            f"{task.name}, {label}"
            for task in tasks
            for label, system in task.systems.items()
            if None in system.scores(candidate).values()
        ]
        if not lacking:
            return candidate
    why = {"normalized": "its environment has no reference", "win_rate": "there is nothing to win"}
    raise ConfigError(
        f"metric: {metric}: {lacking[0]} has none: {why.get(str(metric), 'its report is damaged')}"
    )
