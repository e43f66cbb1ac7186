"""The figures of a comparison: intervals, probabilities of improvement, profiles, and scores on the way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from cesma_sb3.analysis.comparison.statistics import Band, Scores, iqm_curve, profile
from cesma_sb3.analysis.comparison.systems import Metric, System, Task
from cesma_sb3.analysis.comparison.tables import CALLED, STATISTICS, Section, estimate, few
from cesma_sb3.analysis.run_data import Row
from cesma_sb3.utils import atomic
from cesma_sb3.utils.plotting import (
    Bar,
    BarPanel,
    DrawnLine,
    DrawnPanel,
    Envelope,
    draw_comparison,
    draw_intervals,
)

INTERVALS, PAIRS, PROFILES, SAMPLES = "intervals.png", "improvement.png", "profiles.png", "samples.png"
_95 = "95% intervals of the stratified bootstrap over runs"
_NO_AREA = "No area: a single run, or all ends alike."


def draw(
    folder: Path,
    sections: Sequence[Section],
    tasks: Sequence[Task],
    metric: Metric,
    *,
    rows: Sequence[Row],
    pairs: Sequence[Row],
    repetitions: int,
) -> tuple[Path, ...]:
    """Writes the figures.

    Args:
        folder: Where to.
        sections: What is compared with what.
        tasks: The runs themselves, for what they measured on the way.
        metric: What scores are.
        rows: The table.
        pairs: The probabilities of improvement; none of a single system.
        repetitions: Of the bootstrap.

    Returns:
        The files.
    """
    labels = list(dict.fromkeys(label for section in sections for label in section.scores))
    drawn: dict[str, Callable[[Path], None]] = {
        INTERVALS: lambda path: draw_intervals(
            path,
            panels=_interval_panels(rows, metric),
            title=f"Aggregates of the {CALLED[metric]}",
            note=f"Lines: over all runs; areas: {_95}. {_NO_AREA}",
            colors=labels,
        ),
        PAIRS: lambda path: draw_intervals(
            path,
            panels=_pair_panels(few(pairs)),
            title="Probability of improvement",
            note=f"How likely a run of the first has the higher score; areas: {_95}. {_NO_AREA}",
            colors=labels,
        ),
        PROFILES: lambda path: draw_comparison(
            path,
            panels=[_profile_panel(section, metric, labels, repetitions) for section in sections],
            title="Performance profiles",
            note=f"Areas: {_95}, point by point.",
        ),
        SAMPLES: lambda path: draw_comparison(
            path,
            panels=[_samples_panel(task, metric, labels, repetitions) for task in tasks],
            title="Sample efficiency",
            note=f"Lines: interquartile means, students from where their expert ends; areas: {_95}.",
        ),
    }
    if not pairs:
        del drawn[PAIRS]
    for name, write in drawn.items():
        atomic.write(folder / name, write)
    return tuple(folder / name for name in drawn)


def _interval_panels(rows: Sequence[Row], metric: Metric) -> list[BarPanel]:
    """Every aggregate of the first section; of each further one, the interquartile mean."""
    first = rows[0]["task"]
    panels = [
        _bars(f"{first}: {title}", [row for row in rows if row["task"] == first], name, metric)
        for name, title in STATISTICS.items()
        if name in rows[0]
    ]
    for task in dict.fromkeys(row["task"] for row in rows if row["task"] != first):
        of = [row for row in rows if row["task"] == task]
        panels.append(_bars(f"{task}: {STATISTICS['iqm']}", of, "iqm", metric))
    return panels


def _bars(title: str, rows: Sequence[Row], name: str, metric: Metric) -> BarPanel:
    bars = tuple(Bar(row["system"], row["system"], *estimate(row, name)) for row in rows)
    return BarPanel(title, CALLED[metric], bars)


def _pair_panels(pairs: Sequence[Row]) -> list[BarPanel]:
    panels = []
    for task in dict.fromkeys(row["task"] for row in pairs):
        bars = tuple(
            Bar(f"{row['system']} > {row['other']}", row["system"], *estimate(row, "probability"))
            for row in pairs
            if row["task"] == task
        )
        panels.append(BarPanel(task, "probability", bars, level=0.5, limits=(-0.02, 1.02)))
    return panels


def _profile_panel(section: Section, metric: Metric, labels: Sequence[str], repetitions: int) -> DrawnPanel:
    scores = section.scores
    low, high = min(each.min() for each in scores.values()), max(each.max() for each in scores.values())
    margin = 0.05 * (high - low) or 0.5
    steps = np.concatenate([each.ravel() for each in scores.values()])
    # Just below each score, and at it: a profile changes nowhere else.
    thresholds = np.unique([low - margin, *np.nextafter(steps, -np.inf), *steps, high + margin])
    lines = [
        _line(label, thresholds, profile(scores[label], thresholds, repetitions=repetitions))
        for label in labels
        if label in scores
    ]
    return DrawnPanel(section.task, f"{CALLED[metric]} t", "share of runs with more than t", tuple(lines))


def _samples_panel(task: Task, metric: Metric, labels: Sequence[str], repetitions: int) -> DrawnPanel:
    lines = []
    for label in labels:
        if label in task.systems:
            x, curves = _at_common_points(task.systems[label], metric)
            lines.append(_line(label, x, iqm_curve(curves, repetitions=repetitions)))
    return DrawnPanel(task.name, "environment samples", CALLED[metric], tuple(lines))


def _line(label: str, x: Scores, band: Band) -> DrawnLine:
    return DrawnLine(label, (Envelope(x, band.value, band.low, band.high),))


def _at_common_points(system: System, metric: Metric) -> tuple[Scores, Scores]:
    """Samples, [P], and what each run had there, [R, P]: as in `envelope`, from where all had begun."""
    curves = [np.asarray(system.curve(seed, metric), dtype=np.float64) for seed in system.runs]
    begun = max(curve[0, 0] for curve in curves)
    x = np.unique(np.concatenate([curve[:, 0] for curve in curves] + [np.array([begun])]))
    x = x[x >= begun]
    return x, np.stack([np.interp(x, *curve.T) for curve in curves])
