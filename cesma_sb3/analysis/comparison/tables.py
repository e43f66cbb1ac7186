"""Scores by task and over all tasks, and the tables that they make."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

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
from cesma_sb3.analysis.run_data import Row

ALL = "all tasks"
STATISTICS = {
    "iqm": "interquartile mean",
    "mean": "mean",
    "median": "median of the tasks' means",
    "optimality_gap": "optimality gap",
}
CALLED: dict[Metric, str] = {
    "normalized": "normalised score",
    "return": "return",
    "win_rate": "share of battles won",
}
_FEW = 5
"""So many runs of a task, or less, cannot give an interval that holds in 95 of 100 cases."""

_PAIRS = 10
"""More pairs of a task are not all shown."""


@dataclasses.dataclass(frozen=True)
class Section:
    """What is compared with what: on one task, or over all."""

    task: str
    scores: Mapping[str, Scores]
    """By system, [R, T]: its runs, and the tasks."""
    samples: Mapping[str, float]
    """By system, environment samples of a run, as a mean; empty over all tasks."""


def sections(tasks: Sequence[Task], metric: Metric) -> tuple[list[Section], list[str]]:
    """A section for each task, and before them one over all for systems that were run on every task.

    Returns of different tasks have no common scale: they get no section over all.

    Returns:
        The sections, and what they leave out.
    """
    found = [
        Section(
            task.name,
            {label: _scores([system], list(system.runs), metric) for label, system in task.systems.items()},
            {label: system.samples for label, system in task.systems.items()},
        )
        for task in tasks
    ]
    if len(tasks) == 1 or metric == "return":
        return found, []
    over_all, notes = {}, []
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
    return [*([Section(ALL, over_all, {})] if over_all else []), *found], notes


def _scores(systems: Sequence[System], seeds: Sequence[int], metric: Metric) -> Scores:
    """[R, T] of a system on several tasks."""
    return np.array([[system.scores(metric)[seed] for system in systems] for seed in seeds], dtype=np.float64)


def table_rows(section: Section, metric: Metric, repetitions: int = REPETITIONS) -> list[Row]:
    """A row for each system: its aggregates, each with both ends of its interval."""
    rows = []
    for label, scores in section.scores.items():
        row: Row = {"task": section.task, "system": label, "runs": len(scores), "tasks": scores.shape[1]}
        for name, estimate in aggregates(scores, repetitions=repetitions).items():
            if name == "optimality_gap" and metric == "return":  # there is no score that is the best
                continue
            row |= {name: estimate.value, f"{name}_low": estimate.low, f"{name}_high": estimate.high}
        rows.append({**row, "env_samples": section.samples.get(label)})
    return rows


def improvement_rows(section: Section, repetitions: int = REPETITIONS) -> list[Row]:
    """A row for each two systems: how likely a run of the first has the higher score.

    Of one run each, nothing is likely: there is no row.
    """
    rows = []
    for (label, scores), (other, others) in combinations(section.scores.items(), 2):
        if max(len(scores), len(others)) == 1:
            continue
        found = improvement(scores, others, repetitions=repetitions)
        row: Row = {"task": section.task, "system": label, "other": other, "probability": found.value}
        rows.append({**row, "low": found.low, "high": found.high})
    return rows


def few(pairs: Sequence[Row]) -> list[Row]:
    """Those that a person may want to see: where systems are many, the first of each task with the others."""
    kept = []
    for task in dict.fromkeys(row["task"] for row in pairs):
        of = [row for row in pairs if row["task"] == task]
        kept += of if len(of) <= _PAIRS else [row for row in of if row["system"] == of[0]["system"]]
    return kept


def estimate(row: Mapping[str, Any], name: str) -> Estimate:
    """A number of a row with its interval."""
    low, high = ("low", "high") if name == "probability" else (f"{name}_low", f"{name}_high")
    return Estimate(row[name], row[low], row[high])


def doubts(found: Sequence[Section]) -> list[str]:
    """What intervals of few runs are worth.

    An interval of the bootstrap lies within the lowest and the highest of the runs, and these hold the median
    of n draws from any continuous distribution in 1 - 2^(1 - n) of all cases.
    """
    notes = []
    for section in found:
        counts = {label: len(scores) for label, scores in section.scores.items()}
        if single := [label for label, runs in counts.items() if runs == 1]:
            notes.append(f"{section.task}: {', '.join(single)}: one run, which gives no interval")
        alike = {label for label, scores in section.scores.items() if are_alike(scores)}
        if several := [label for label in counts if label in alike and counts[label] > 1]:
            notes.append(
                f"{section.task}: {', '.join(several)}: all runs have the same score, which gives no interval"
            )
        few = min((runs for label, runs in counts.items() if label not in alike), default=_FEW + 1)
        if few <= _FEW and section.task != ALL:
            most = 100 * (1 - 0.5 ** (few - 1))
            notes.append(
                f"{section.task}: intervals of {few} runs are too narrow: they lie within the lowest and the "
                f"highest run, which hold the true median in {most:.0f}% of cases, not in 95%"
            )
    return _told_once(notes)


def _told_once(notes: Sequence[str]) -> list[str]:
    """The same of several tasks as one note."""
    places: dict[str, list[str]] = {}
    for note in notes:
        place, _, text = note.partition(": ")
        places.setdefault(text, []).append(place)
    return [f"{', '.join(where)}: {text}" for text, where in places.items()]


def shown_rows(rows: Sequence[Row], metric: Metric) -> list[dict[str, str]]:
    """Rows as a person reads them: `0.912 [0.880, 0.941]`."""
    return [
        {
            "task": row["task"],
            "system": row["system"],
            "runs": str(row["runs"]) + (f" x {row['tasks']}" if row["tasks"] > 1 else ""),
            **{
                title: shown(estimate(row, name), metric) for name, title in STATISTICS.items() if name in row
            },
            "samples": "" if row["env_samples"] is None else f"{row['env_samples']:,.0f}",
        }
        for row in rows
    ]


def shown_pairs(rows: Sequence[Row]) -> list[dict[str, str]]:
    """Probabilities of improvement, likewise; where systems are many, of the first with the others."""
    return [
        {
            "task": row["task"],
            "system": row["system"],
            "other": row["other"],
            "probability of a higher score": shown(estimate(row, "probability"), "win_rate"),
        }
        for row in few(rows)
    ]


def shown(number: Estimate, metric: Metric) -> str:
    """A number with its interval, where it has one."""
    digits = 2 if metric == "return" else 3
    if number.low is None or number.high is None:
        return f"{number.value:.{digits}f}"
    return f"{number.value:.{digits}f} [{number.low:.{digits}f}, {number.high:.{digits}f}]"
