"""Scores on each task and over all tasks, and the tables that they make."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from itertools import combinations

import numpy as np

from cesma_sb3.analysis.comparison.statistics import (
    REPETITIONS,
    Estimate,
    Scores,
    aggregates,
    are_alike,
    improvement,
)
from cesma_sb3.analysis.comparison.systems import Metric, System, Task
from cesma_sb3.analysis.markdown import TableRow

ALL = "all tasks"
STATISTIC_TITLES = {
    "iqm": "interquartile mean",
    "mean": "mean",
    "median": "median of the tasks' means",
    "optimality_gap": "optimality gap",
}
METRIC_TITLES: dict[Metric, str] = {
    "normalized": "normalised score",
    "return": "return",
    "win_rate": "share of battles won",
}
_FEW = 5
"""An interval from so many runs of a task, or fewer, does not hold the true value in 95 of 100 cases."""
_MOST_PAIRS = 10
"""With more pairs on a task, only those of its first system are shown."""


@dataclasses.dataclass(frozen=True)
class Section:
    """The systems that are compared on one task, or over all tasks."""

    task: str
    scores: Mapping[str, Scores]
    """By system, [R, T]: its runs of each of the tasks."""
    samples: Mapping[str, float]
    """By system, environment samples of a run, as a mean; empty over all tasks."""


def make_sections(tasks: Sequence[Task], metric: Metric) -> tuple[list[Section], list[str]]:
    """Make a section for each task, and before them one over all tasks for systems that ran on every task.

    Returns of different tasks have no common scale: they get no section over all tasks.

    Returns:
        The sections, and notes on what the section over all tasks leaves out.
    """
    sections = [
        Section(
            task.name,
            {label: _scores([system], list(system.runs), metric) for label, system in task.systems.items()},
            {label: system.samples for label, system in task.systems.items()},
        )
        for task in tasks
    ]
    if len(tasks) == 1 or metric == "return":
        return sections, []
    over_all: dict[str, Scores] = {}
    notes: list[str] = []
    for label in dict.fromkeys(label for task in tasks for label in task.systems):
        systems = [task.systems[label] for task in tasks if label in task.systems]
        seeds = [seed for seed in systems[0].runs if all(seed in system.runs for system in systems)]
        if len(systems) < len(tasks) or not seeds:
            lacking = [task.name for task in tasks if label not in task.systems]
            why = f"no run on {', '.join(lacking)}" if lacking else "no seed that was run on each"
            notes.append(f"{ALL}: without {label}: {why}")
            continue
        if unpaired := sum(len(system.runs) - len(seeds) for system in systems):
            notes.append(f"{ALL}: {label}: without {unpaired} runs of seeds that not every task has")
        over_all[label] = _scores(systems, seeds, metric)
    return [*([Section(ALL, over_all, {})] if over_all else []), *sections], notes


def _scores(systems: Sequence[System], seeds: Sequence[int], metric: Metric) -> Scores:
    """Return the scores of one system on several tasks, [R, T]."""
    by_task = [system.scores(metric) for system in systems]
    return np.array([[scores[seed] for scores in by_task] for seed in seeds], dtype=np.float64)


def aggregate_rows(section: Section, metric: Metric, repetitions: int = REPETITIONS) -> list[TableRow]:
    """Make a row for each system: its aggregates, each with both ends of its interval."""
    rows = []
    for label, scores in section.scores.items():
        row: TableRow = {
            "task": section.task,
            "system": label,
            "runs": len(scores),
            "tasks": scores.shape[1],
        }
        for name, estimate in aggregates(scores, repetitions=repetitions).items():
            if name == "optimality_gap" and metric == "return":  # no return is known to be the best
                continue
            row |= {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
        rows.append({**row, "env_samples": section.samples.get(label)})
    return rows


def improvement_rows(section: Section, repetitions: int = REPETITIONS) -> list[TableRow]:
    """Make a row for each two systems: how likely a run of the first has the higher score.

    Two systems with one run each get no row.
    """
    rows: list[TableRow] = []
    for (label, scores), (other, others) in combinations(section.scores.items(), 2):
        if max(len(scores), len(others)) == 1:
            continue
        estimate = improvement(scores, others, repetitions=repetitions)
        row = {"task": section.task, "system": label, "other": other, "probability": estimate.value}
        rows.append({**row, "low": estimate.low, "high": estimate.high})
    return rows


def pairs_to_show(pairs: Sequence[TableRow]) -> list[TableRow]:
    """Return the pairs to show to a person: with many systems, the first of each task with each other one."""
    shown = []
    for task in dict.fromkeys(row["task"] for row in pairs):
        of_task = [row for row in pairs if row["task"] == task]
        first = of_task[0]["system"]
        shown += [row for row in of_task if len(of_task) <= _MOST_PAIRS or row["system"] == first]
    return shown


def row_estimate(row: TableRow, name: str) -> Estimate:
    """Return a number of a row with its interval."""
    low, high = ("low", "high") if name == "probability" else (f"{name}_low", f"{name}_high")
    return Estimate(row[name], row[low], row[high])


def interval_warnings(sections: Sequence[Section]) -> list[str]:
    """Say where there is no interval, and where it comes from few runs.

    An interval of the bootstrap lies within the lowest and the highest of the runs, and these hold the median
    of n draws from any continuous distribution in 1 - 2^(1 - n) of all cases.
    """
    tasks_by_warning: dict[str, list[str]] = {}
    for section in sections:
        for warning in _section_warnings(section):
            tasks_by_warning.setdefault(warning, []).append(section.task)
    return [f"{', '.join(tasks)}: {warning}" for warning, tasks in tasks_by_warning.items()]


def _section_warnings(section: Section) -> list[str]:
    warnings = []
    alike = {label: len(scores) for label, scores in section.scores.items() if are_alike(scores)}
    if single := [label for label, n_runs in alike.items() if n_runs == 1]:
        warnings.append(f"{', '.join(single)}: one run, which gives no interval")
    if several := [label for label, n_runs in alike.items() if n_runs > 1]:
        warnings.append(f"{', '.join(several)}: all runs have the same score, which gives no interval")
    fewest = min(
        (len(scores) for label, scores in section.scores.items() if label not in alike), default=_FEW + 1
    )
    if fewest <= _FEW and section.task != ALL:
        warnings.append(
            f"intervals of {fewest} runs are too narrow: they lie within the lowest and the highest run, "
            f"which hold the true median in {100 * (1 - 0.5 ** (fewest - 1)):.0f}% of cases, not in 95%"
        )
    return warnings


def format_rows(rows: Sequence[TableRow], metric: Metric) -> list[TableRow]:
    """Format rows of aggregates for a person: `0.912 [0.880, 0.941]`."""
    return [
        {
            "task": row["task"],
            "system": row["system"],
            "runs": str(row["runs"]) + (f" x {row['tasks']}" if row["tasks"] > 1 else ""),
            **{
                title: _format(row_estimate(row, name), metric)
                for name, title in STATISTIC_TITLES.items()
                if name in row
            },
            "samples": "" if row["env_samples"] is None else f"{row['env_samples']:,.0f}",
        }
        for row in rows
    ]


def format_pairs(rows: Sequence[TableRow]) -> list[TableRow]:
    """Format probabilities of improvement for a person; with many systems, of the first with each other."""
    return [
        {
            "task": row["task"],
            "system": row["system"],
            "other": row["other"],
            "probability of a higher score": _format(row_estimate(row, "probability"), "win_rate"),
        }
        for row in pairs_to_show(rows)
    ]


def _format(number: Estimate, metric: Metric) -> str:
    digits = 2 if metric == "return" else 3
    if number.low is None or number.high is None:
        return f"{number.value:.{digits}f}"
    return f"{number.value:.{digits}f} [{number.low:.{digits}f}, {number.high:.{digits}f}]"
