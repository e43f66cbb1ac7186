"""Plots of a comparison: intervals, probabilities of improvement, performance profiles, sample efficiency."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from cesma_sb3.analysis.comparison.statistics import Band, Scores, iqm_curve, profile
from cesma_sb3.analysis.comparison.systems import Metric, Task
from cesma_sb3.analysis.comparison.tables import (
    METRIC_TITLES,
    STATISTIC_TITLES,
    Section,
    pairs_to_show,
    row_estimate,
)
from cesma_sb3.analysis.markdown import TableRow
from cesma_sb3.utils import atomic
from cesma_sb3.utils.plotting import (
    Envelope,
    Interval,
    IntervalPanel,
    PlotLine,
    PlotPanel,
    draw_intervals,
    draw_panels,
    interpolate,
)

INTERVALS, PAIRS, PROFILES, SAMPLES = "intervals.png", "improvement.png", "profiles.png", "samples.png"
_95 = "95% intervals of the stratified bootstrap over runs"
_NO_AREA = "No area: a single run, or all ends alike."


def draw_comparison(
    folder: Path,
    sections: Sequence[Section],
    tasks: Sequence[Task],
    metric: Metric,
    *,
    rows: Sequence[TableRow],
    pairs: Sequence[TableRow],
    repetitions: int,
) -> list[Path]:
    """Write the plots.

    Args:
        folder: The folder of the files.
        sections: What is compared on each task, and over all tasks.
        tasks: The runs themselves, for what they measured during training.
        metric: What scores are.
        rows: The table of aggregates.
        pairs: The probabilities of improvement; empty for a single system.
        repetitions: Draws of the bootstrap.

    Returns:
        The files.
    """
    labels = list(dict.fromkeys(label for section in sections for label in section.scores))
    writers: dict[str, Callable[[Path], None]] = {
        INTERVALS: lambda path: draw_intervals(
            path,
            panels=_interval_panels(rows, metric),
            title=f"Aggregates of the {METRIC_TITLES[metric]}",
            note=f"Lines: over all runs; areas: {_95}. {_NO_AREA}",
            systems=labels,
        ),
        PAIRS: lambda path: draw_intervals(
            path,
            panels=_pair_panels(pairs_to_show(pairs)),
            title="Probability of improvement",
            note=f"How likely a run of the first has the higher score; areas: {_95}. {_NO_AREA}",
            systems=labels,
        ),
        PROFILES: lambda path: draw_panels(
            path,
            panels=[_profile_panel(section, metric, labels, repetitions) for section in sections],
            title="Performance profiles",
            note=f"Areas: {_95}, point by point.",
        ),
        SAMPLES: lambda path: draw_panels(
            path,
            panels=[_samples_panel(task, metric, labels, repetitions) for task in tasks],
            title="Sample efficiency",
            note=f"Lines: interquartile means, students from where their expert ends; areas: {_95}.",
        ),
    }
    if not pairs:
        del writers[PAIRS]
    for name, write in writers.items():
        atomic.write(folder / name, write)
    return [folder / name for name in writers]


def _interval_panels(rows: Sequence[TableRow], metric: Metric) -> list[IntervalPanel]:
    """Show every aggregate of the first section, and the interquartile mean of each further one."""
    first = rows[0]["task"]
    panels = [
        _panel(f"{first}: {title}", [row for row in rows if row["task"] == first], name, metric)
        for name, title in STATISTIC_TITLES.items()
        if name in rows[0]
    ]
    for task in dict.fromkeys(row["task"] for row in rows if row["task"] != first):
        of_task = [row for row in rows if row["task"] == task]
        panels.append(_panel(f"{task}: {STATISTIC_TITLES['iqm']}", of_task, "iqm", metric))
    return panels


def _panel(title: str, rows: Sequence[TableRow], name: str, metric: Metric) -> IntervalPanel:
    intervals = tuple(Interval(row["system"], row["system"], *row_estimate(row, name)) for row in rows)
    return IntervalPanel(title, METRIC_TITLES[metric], intervals)


def _pair_panels(pairs: Sequence[TableRow]) -> list[IntervalPanel]:
    panels = []
    for task in dict.fromkeys(row["task"] for row in pairs):
        intervals = tuple(
            Interval(f"{row['system']} > {row['other']}", row["system"], *row_estimate(row, "probability"))
            for row in pairs
            if row["task"] == task
        )
        panels.append(IntervalPanel(task, "probability", intervals, level=0.5, limits=(-0.02, 1.02)))
    return panels


def _profile_panel(section: Section, metric: Metric, labels: Sequence[str], repetitions: int) -> PlotPanel:
    scores = section.scores
    low, high = min(each.min() for each in scores.values()), max(each.max() for each in scores.values())
    margin = 0.05 * (high - low) or 0.5
    all_scores = np.concatenate([each.ravel() for each in scores.values()])
    # Just below each score, and at it: a profile changes nowhere else.
    thresholds = np.unique([low - margin, *np.nextafter(all_scores, -np.inf), *all_scores, high + margin])
    lines = [
        _line(label, thresholds, profile(scores[label], thresholds, repetitions=repetitions))
        for label in labels
        if label in scores
    ]
    return PlotPanel(
        section.task, f"{METRIC_TITLES[metric]} t", "share of runs with more than t", tuple(lines)
    )


def _samples_panel(task: Task, metric: Metric, labels: Sequence[str], repetitions: int) -> PlotPanel:
    lines = []
    for label in labels:
        if label in task.systems:
            system = task.systems[label]
            curves = [system.curve(seed, metric) for seed in system.runs]
            x, values = interpolate(curves)
            all_started = x >= max(curve[0][0] for curve in curves)
            band = iqm_curve(values[:, all_started], repetitions=repetitions)
            lines.append(_line(label, x[all_started], band))
    return PlotPanel(task.name, "environment samples", METRIC_TITLES[metric], tuple(lines))


def _line(label: str, x: Scores, band: Band) -> PlotLine:
    return PlotLine(label, (Envelope(x, band.value, band.low, band.high),))
