"""Finished runs as what is compared: the systems of a task, their scores and their curves."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np

from cesma_sb3.analysis.run_data import RunData, read_run
from cesma_sb3.config.schema import Experiment
from cesma_sb3.errors import ConfigError, StorageError
from cesma_sb3.training.run_folder import RUN, RunFolder
from cesma_sb3.utils.plotting import Curve

Metric = Literal["normalized", "return", "win_rate"]
METRICS: tuple[Metric, ...] = get_args(Metric)
Policy = Literal["students", "expert"]
_RUN_FOLDERS = (f"*/{RUN}", f"*/*/{RUN}", f"*/*/*/{RUN}")
"""Below a results folder, which holds `runs/NAME/seed-N`, or below a part of it."""
_ASIDE = "-aside-"


class FinishedRun(NamedTuple):
    """A run folder that has a report."""

    path: Path
    experiment: Experiment
    """Its seed is the run's."""
    data: RunData


@dataclasses.dataclass(frozen=True)
class System:
    """What acts in a task: the students of an experiment, or its expert."""

    label: str
    policy: Policy
    runs: Mapping[int, FinishedRun]
    """By seed."""

    def scores(self, metric: Metric) -> dict[int, float | None]:
        """The final score of each seed; None where the run does not know this metric."""
        return {seed: _score(run.data.report, self.policy, metric) for seed, run in self.runs.items()}

    @property
    def samples(self) -> float:
        """Environment samples of all stages up to this policy, as a mean over runs."""
        found = [
            sum(stages.values()) if self.policy == "students" else stages.get("expert", 0)
            for stages in (run.data.report["env_samples"] for run in self.runs.values())
        ]
        return float(np.mean(found))

    def curve(self, seed: int, metric: Metric) -> Curve:
        """What a run measured on the way; students begin where their expert ends."""
        run = self.runs[seed].data
        offset = run.expert_samples if self.policy == "students" else 0
        points = run.curve(self.policy, "win_rate" if metric == "win_rate" else "return")
        if metric == "normalized" and points:
            low, high = (run.report["return"][anchor] for anchor in ("random", "reference"))
            points = [(x, (y - low) / (high - low)) for x, y in points]
        if not points and (score := self.scores(metric)[seed]) is not None:
            points = [(0.0, score)]  # of an expert that was not trained
        return [(x + offset, y) for x, y in points]


@dataclasses.dataclass(frozen=True)
class Task:
    """One environment with one definition of its reward, and what was run in it."""

    name: str
    systems: Mapping[str, System]
    """By label."""


def _score(report: Mapping[str, Any], policy: str, metric: Metric) -> float | None:
    value = report.get(metric, {}).get(policy)
    return value.get("rate") if isinstance(value, Mapping) else value


def read_finished(path: Path) -> FinishedRun:
    """A run folder.

    Raises:
        StorageError: It is none, its run did not finish, or it trained an expert alone.
    """
    data = read_run(path)
    if "students" not in data.report.get("return", {}):
        raise StorageError(f"{path}: a run of the expert alone; expected one with students")
    return FinishedRun(path, RunFolder.open(path).experiment, data)


def read_folder(folder: Path) -> tuple[list[FinishedRun], list[str]]:
    """A run folder, or all that are found below a folder.

    Returns:
        The runs, and why others were left out: they did not finish. What was set aside by a sweep is no run.

    Raises:
        StorageError: It is a run folder whose run did not finish, or no run below it did.
    """
    if (folder / RUN).is_file():
        return [read_finished(folder)], []
    found = sorted({file.parent for pattern in _RUN_FOLDERS for file in folder.glob(pattern)})
    runs, left_out = [], []
    for path in found:
        if _ASIDE in path.name:
            continue
        try:
            runs.append(read_finished(path))
        except StorageError as error:
            left_out.append(str(error))
    if not runs:
        why = f": {left_out[0]}" if left_out else f": expected run folders, each with a {RUN}"
        raise StorageError(f"{folder}: no finished run{why}")
    return runs, left_out


def chosen_metric(tasks: Sequence[Task], metric: Metric | None) -> Metric:
    """The metric that all runs know: as asked for, else the normalised score, else the return.

    Raises:
        ConfigError: A run does not know what was asked for.
    """
    for each in (metric,) if metric else METRICS[:2]:
        lacking = [
            f"{task.name}, {label}"
            for task in tasks
            for label, system in task.systems.items()
            if None in system.scores(each).values()
        ]
        if not lacking:
            return each
    why = {"normalized": "its environment has no reference", "win_rate": "there is nothing to win"}
    raise ConfigError(
        f"metric: {metric}: {lacking[0]} has none: {why.get(str(metric), 'its report is torn')}"
    )
