"""Read a finished run back: its report, learning curves and imitation losses."""

from __future__ import annotations

import csv
import dataclasses
import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from cesma_sb3.config.schema import Experiment
from cesma_sb3.errors import StorageError
from cesma_sb3.training.run_folder import EVALUATIONS, RunFolder
from cesma_sb3.utils.plotting import Points

LOSSES = "students*/progress.csv"
"""Logs of decentralization in the folder `logs` of a run folder."""
LOSS = "dagger/loss/"
"""What columns of an agent's loss begin with."""
_TIMESTEPS, _UPDATES = "dagger/timesteps", "dagger/n_updates"

Role = Literal["expert", "students"]
"""Who acts: the expert, or the students (of a baseline, its team)."""
Measurement = Literal["return", "win_rate"]
"""What an evaluation measures."""


@dataclasses.dataclass(frozen=True)
class LossPoint:
    """An agent's loss at an evaluation during training."""

    samples: float
    """Environment samples of decentralization so far."""
    loss: float
    """Mean imitation loss over the batches since the evaluation before."""
    team_return: float
    """The team's mean return at this evaluation."""


@dataclasses.dataclass(frozen=True)
class RunData:
    """The results of a finished run."""

    folder: RunFolder = dataclasses.field(compare=False)
    """The run's folder; results are equal wherever they lie."""
    report: Mapping[str, Any]
    """The content of `report.json`."""
    curves: Mapping[tuple[Role, Measurement], Points]
    """Evaluations during training. Students start at 0 samples. Empty where nothing was measured: the expert
    of a baseline, win rates where there is nothing to win."""
    losses: Mapping[str, Sequence[LossPoint]]
    """Imitation losses of each agent; empty in a baseline."""

    @property
    def path(self) -> Path:
        """The path of the run's folder."""
        return self.folder.path

    @property
    def experiment(self) -> Experiment:
        """The run's experiment, with its seed."""
        return self.folder.experiment

    def curve(self, role: Role, measurement: Measurement = "return", *, after_expert: bool = False) -> Points:
        """Return a learning curve.

        Args:
            role: The policy that was evaluated.
            measurement: What was measured.
            after_expert: The students' samples count from where the expert's end.
        """
        offset = self.expert_samples if after_expert and role == "students" else 0
        return [(samples + offset, value) for samples, value in self.curves[role, measurement]]

    @property
    def expert_samples(self) -> int:
        """Environment samples before the students'."""
        return int(self.report["env_samples"].get("expert", 0))

    def cost(self, what: Literal["env_samples", "seconds"], role: Role, *, with_expert: bool) -> float:
        """Return what a policy cost: the students by themselves, or with their expert and fine-tuning."""
        stages: Mapping[str, float] = self.report[what]
        if role == "expert":
            return float(stages.get("expert", 0))
        own = "students" if "students" in stages else "decentralize"
        return float(sum(stages.values()) if with_expert else stages[own])


def read_run(path: Path | str) -> RunData:
    """Read a run folder's results.

    Raises:
        StorageError: The run did not finish, or a file is damaged.
    """
    folder = RunFolder.open(path)
    try:
        return _read(folder)
    except (OSError, KeyError, TypeError, ValueError, AttributeError, csv.Error) as error:
        message = " ".join(f"{type(error).__name__}: {error}".split())
        raise StorageError(f"{folder.path}: its results cannot be read: {message}") from error


def _read(folder: RunFolder) -> RunData:
    report = folder.report()
    rows = _read_csv(folder.file(EVALUATIONS))
    offset = report["env_samples"].get("expert", 0)
    curves: dict[tuple[Role, Measurement], Points] = {
        (role, measurement): _curve(rows, role, measurement, offset if role == "students" else 0)
        for role in get_args(Role)
        for measurement in get_args(Measurement)
    }
    students = [row for row in rows if row["stage"] == "students"]
    losses = _losses(read_log(folder.path / "logs"), students, offset)
    return RunData(folder, report, curves, losses)


def read_log(logs: Path) -> list[dict[str, str]]:
    """Read the log of decentralization; rows of a resumed run replace those after the point of resumption."""
    rows: list[dict[str, str]] = []
    for path in sorted(logs.glob(LOSSES), key=lambda path: (len(path.parent.name), path)):
        resumed = _read_csv(path)
        first = _progress(resumed[0]) if resumed else (math.inf, math.inf)
        rows = [row for row in rows if _progress(row) < first] + resumed
    return rows


def _progress(row: Mapping[str, str]) -> tuple[float, float]:
    """Return how far decentralization was at a row of its log: environment samples, then gradient steps."""
    return float(row[_TIMESTEPS]), float(row[_UPDATES])


def _curve(rows: Sequence[Mapping[str, str]], role: Role, measurement: Measurement, offset: float) -> Points:
    """Return the evaluations during training, with samples less `offset`; students may be fine-tuned too."""
    stages = ("students", "fine-tuned") if role == "students" else (role,)
    return [
        (float(row["env_samples"]) - offset, float(row[measurement]))
        for row in rows
        if row["stage"] in stages and row.get(measurement)
    ]


def _read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _losses(
    rows: Sequence[Mapping[str, str]], evaluations: Sequence[Mapping[str, str]], offset: float
) -> dict[str, list[LossPoint]]:
    """Average the logged losses between evaluations: those of single batches are too noisy to draw.

    Args:
        rows: The log of decentralization.
        evaluations: The students' rows of the table of evaluations.
        offset: Samples in this table before the students'.
    """
    measured = [
        ((float(row["env_samples"]) - offset, float(row.get("updates") or "inf")), float(row["return"]))
        for row in evaluations
    ]
    losses: dict[str, list[LossPoint]] = {}
    for column in sorted(column for column in (rows[0] if rows else ()) if column.startswith(LOSS)):
        logged = [
            (_progress(row), float(row[column]))
            for row in rows
            if row[column] and not math.isnan(float(row[column]))
        ]
        points = losses[column.removeprefix(LOSS)] = []
        for (before, _), (now, team_return) in pairwise(measured):
            window = [loss for at, loss in logged if before < at <= now]
            if window:
                points.append(LossPoint(now[0], float(np.mean(window)), team_return))
    return losses
