"""What finished runs of a figure come to: the lines that are drawn, and the rows of its table."""

from __future__ import annotations

import csv
import dataclasses
import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np

from cesma_sb3.analysis.figures.schema import Line, Panel
from cesma_sb3.errors import StorageError
from cesma_sb3.training.run_folder import EVALUATIONS, RunFolder
from cesma_sb3.utils.plotting import Curve, DrawnLine, DrawnPanel, envelope

LOSSES = "students*/progress.csv"
_LOSS, _TIMESTEPS = "dagger/loss/", "dagger/timesteps"
_AXES = {
    "episodes": "episodes",
    "samples": "environment samples",
    "loss": "loss of imitation",
    "return": "mean return of an episode",
    "win_rate": "share of battles won",
}
Row = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class LossPoint:
    """An agent's loss at an evaluation on the way."""

    samples: float
    """Environment samples of decentralization so far."""
    loss: float
    """Mean over the batches since the evaluation before."""
    score: float
    """The team's return."""


@dataclasses.dataclass(frozen=True)
class RunData:
    """One finished run, read back."""

    report: Mapping[str, Any]
    expert: Curve
    """None of its points in a baseline."""
    students: Curve
    """From 0 samples on; of a baseline, the team's."""
    losses: Mapping[str, Sequence[LossPoint]]
    """By agent; empty in a baseline."""
    expert_wins: Curve
    """As `expert`, of win rates; none of its points where there is nothing to win."""
    students_wins: Curve
    """As `students`, of win rates."""

    def curve(self, policy: Literal["expert", "students"], y: str) -> Curve:
        """Returns, or win rates."""
        if y == "win_rate":
            return self.expert_wins if policy == "expert" else self.students_wins
        return self.expert if policy == "expert" else self.students

    @property
    def expert_samples(self) -> int:
        """Environment samples before the students'."""
        return int(self.report["env_samples"].get("expert", 0))

    def cost(self, what: str, policy: str, *, whole: bool) -> float:
        """`env_samples` or `seconds` of a policy, or with all that came before it."""
        stages: Mapping[str, float] = self.report[what]
        own = "expert" if policy == "expert" else "students" if "students" in stages else "decentralize"
        return float(sum(stages.values()) if whole else stages[own])


def read_run(path: Path) -> RunData:
    """A run folder's results.

    Raises:
        StorageError: The run did not finish, or a file is torn.
    """
    folder = RunFolder.open(path)
    try:
        return _read(folder)
    except (OSError, KeyError, TypeError, ValueError, AttributeError, csv.Error) as error:
        told = " ".join(f"{type(error).__name__}: {error}".split())
        raise StorageError(f"{folder.path}: its results cannot be read: {told}") from error


def _read(folder: RunFolder) -> RunData:
    report = folder.report()
    rows = _read_csv(folder.file(EVALUATIONS))
    offset = report["env_samples"].get("expert", 0)
    expert, students = _curve(rows, "expert", "return"), _curve(rows, "students", "return", offset)
    wins = _curve(rows, "expert", "win_rate"), _curve(rows, "students", "win_rate", offset)
    losses = _losses(_logged(folder.path / "logs"), students)
    return RunData(report, expert, students, losses, *wins)


def _logged(logs: Path) -> list[dict[str, str]]:
    """The log of decentralization; where a run went on, its rows take the place of those after that."""
    rows: list[dict[str, str]] = []
    for path in sorted(logs.glob(LOSSES), key=lambda path: (len(path.parent.name), path)):
        more = _read_csv(path)
        first = float(more[0][_TIMESTEPS]) if more else math.inf
        rows = [row for row in rows if float(row[_TIMESTEPS]) < first] + more
    return rows


def _curve(rows: Sequence[Mapping[str, str]], stage: str, column: str, offset: float = 0) -> Curve:
    """What a stage measured on the way, from `offset` samples on; fine-tuning is the students' too."""
    stages = ("students", "fine-tuned") if stage == "students" else (stage,)
    return [
        (float(row["env_samples"]) - offset, float(row[column]))
        for row in rows
        if row["stage"] in stages and row.get(column)
    ]


def _read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _losses(rows: Sequence[Mapping[str, str]], students: Curve) -> dict[str, list[LossPoint]]:
    """Losses between evaluations, in place of those of single batches, which say little."""
    found: dict[str, list[LossPoint]] = {}
    columns = sorted(column for column in (rows[0] if rows else ()) if column.startswith(_LOSS))
    for column in columns:
        logged = [
            (float(row[_TIMESTEPS]), float(row[column]))
            for row in rows
            if row[column] and not math.isnan(float(row[column]))
        ]
        points = found[column.removeprefix(_LOSS)] = []
        for (before, _), (samples, score) in pairwise(students):
            window = [loss for at, loss in logged if before < at <= samples]
            if window:
                points.append(LossPoint(samples, float(np.mean(window)), score))
    return found


def drawn_panel(panel: Panel, runs: Mapping[str, Sequence[RunData]]) -> DrawnPanel:
    """What a panel is drawn from; lines without a finished run are left out.

    Args:
        panel: As its file has it.
        runs: By the label of a line, the finished runs of all seeds.
    """
    lines: list[DrawnLine] = []
    for line in panel.lines:
        found = runs[line.label]
        if found and panel.has_losses:
            lines += _agent_lines(panel, line, found)
        elif found:
            lines.append(_line(panel, line, found))
    return DrawnPanel(panel.title, _AXES[panel.x], _AXES[panel.y], tuple(lines))


def _line(panel: Panel, line: Line, runs: Sequence[RunData]) -> DrawnLine:
    if line.kind == "converged":
        return DrawnLine(line.label, level=_level(panel, runs))
    parts: list[list[Curve]] = []
    if line.kind.startswith("expert"):
        parts.append([run.curve("expert", panel.y) for run in runs])
    if line.kind != "expert":
        parts.append([_students_curve(line, run, panel.y) for run in runs])
    scale = _scale(panel)
    curves = tuple(
        envelope([[(x / scale, y) for x, y in curve] for curve in part], panel.center)
        for part in parts
        if all(part)
    )
    return DrawnLine(line.label, curves, extends=line.kind == "expert-then-students")


def _level(panel: Panel, runs: Sequence[RunData]) -> float | None:
    """What the students of several runs end with; None where a win rate is asked for and nothing is won."""
    if panel.y == "win_rate":
        found: float | None = _win_rates(panel, "students", runs).get("win_rate")
        return found
    return _center(panel, [run.report["return"]["students"] for run in runs])


def _center(panel: Panel, values: Sequence[float]) -> float:
    return float(np.median(values) if panel.center == "median" else np.mean(values))


def _students_curve(line: Line, run: RunData, y: str = "return") -> Curve:
    """The students' curve, going on from the expert's where both are drawn."""
    offset = run.expert_samples if line.kind == "expert-then-students" else 0
    return [(offset + samples, score) for samples, score in run.curve("students", y)]


def _agent_lines(panel: Panel, line: Line, runs: Sequence[RunData]) -> list[DrawnLine]:
    scale = _scale(panel)
    drawn = []
    for agent in runs[0].losses:
        points = [run.losses[agent] for run in runs if run.losses.get(agent)]
        if not points:
            continue
        label = _agent_label(line, agent)
        loss = envelope([[(p.samples / scale, p.loss) for p in run] for run in points])
        if panel.y == "loss":
            drawn.append(DrawnLine(label, (loss,)))
        else:
            score = envelope([[(p.samples / scale, p.score) for p in run] for run in points])
            each = tuple((p.loss, p.score) for run in points for p in run)
            path = tuple(zip(loss.center.tolist(), score.center.tolist(), strict=True))
            drawn.append(DrawnLine(label, points=each, path=path))
    return drawn


def _agent_label(line: Line, agent: str) -> str:
    return line.agents.get(agent, agent)


def _scale(panel: Panel) -> float:
    return panel.episode_timesteps if panel.x == "episodes" else 1.0


def table_rows(panel: Panel, runs: Mapping[str, Sequence[RunData]]) -> list[Row]:
    """A row for each policy of each line, or for each agent where losses are drawn: means over seeds.

    `env_samples` and `seconds` of students that are drawn after their expert contain the expert's.
    `samples_to_match` is the mean over those seeds that matched (`seeds_matched`): the samples at the first
    evaluation that is at least the final return, averaged over seeds, of the line `match`.
    """
    target = None
    if panel.match is not None and runs[panel.match]:
        target = _mean([run.report["return"]["students"] for run in runs[panel.match]])
    rows: list[Row] = []
    for line in panel.lines:
        policies = {"expert": ["expert"], "expert-then-students": ["expert", "students"]}
        for policy in policies.get(line.kind, ["students"]):
            row: Row = {
                "panel": panel.name,
                "line": line.label,
                "policy": policy,
                "experiment": line.experiment,
            }
            row |= _numbers(line, policy, runs[line.label], target)
            if panel.y == "win_rate":
                row |= _win_rates(panel, policy, runs[line.label])
            rows += _with_losses(row, line, runs[line.label]) if panel.has_losses else [row]
    return rows


def _numbers(line: Line, policy: str, runs: Sequence[RunData], target: float | None) -> Row:
    if not runs:
        return {"seeds": 0}
    returns = [run.report["return"][policy] for run in runs]
    whole = line.kind == "expert-then-students" and policy == "students"
    row: Row = {
        "seeds": len(runs),
        "return": _mean(returns),
        "return_min": min(returns),
        "return_max": max(returns),
        "normalized": _mean([run.report["normalized"].get(policy) for run in runs]),
        "env_samples": _mean([run.cost("env_samples", policy, whole=whole) for run in runs]),
        "seconds": _mean([run.cost("seconds", policy, whole=whole) for run in runs]),
    }
    if target is not None and policy == "students":
        first = [next((x for x, y in _students_curve(line, run) if y >= target), None) for run in runs]
        matched = [x for x in first if x is not None]
        row |= {"samples_to_match": _mean(matched), "seeds_matched": len(matched)}
    return row


def _win_rates(panel: Panel, policy: str, runs: Sequence[RunData]) -> Row:
    """The win rate over seeds, and the narrowest interval that holds each run's 95% interval."""
    wins = [run.report["win_rate"][policy] for run in runs if "win_rate" in run.report]
    if not wins:
        return {}
    rates = [won["rate"] for won in wins]
    ends = [(won["low"], won["high"]) for won in wins if won["low"] is not None]
    whole = len(ends) == len(wins)  # no interval holds that of a run that has none
    return {
        "win_rate": _center(panel, rates),
        "win_rate_min": min(rates),
        "win_rate_max": max(rates),
        "win_rate_low": min(low for low, _ in ends) if whole else None,
        "win_rate_high": max(high for _, high in ends) if whole else None,
    }


def _with_losses(row: Row, line: Line, runs: Sequence[RunData]) -> list[Row]:
    """A row for each agent, with the last loss of its line."""
    agents = [
        agent for agent in (runs[0].losses if runs else ()) if all(run.losses.get(agent) for run in runs)
    ]
    return [
        {
            **row,
            "agent": _agent_label(line, agent),
            "loss": _mean([run.losses[agent][-1].loss for run in runs]),
        }
        for agent in agents
    ] or [row]


def _mean(values: Sequence[float | None]) -> float | None:
    """None where a value is missing, as the score of an environment without a reference, or all are."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known and len(known) == len(values) else None
