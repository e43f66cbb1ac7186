"""How often the intervals of `cesma compare` hold the true value, by runs and tasks.

Scores are drawn from a normal distribution, whose interquartile mean is its mean. Each trial is a comparison
that somebody could have made; its interval is that of `cesma_sb3.analysis.comparison.statistics`, the
percentile interval of the stratified bootstrap, computed for many trials at once.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

TRIALS = 4_000
REPETITIONS = 1_000
AT_ONCE = 50
CASES = ((2, 1), (3, 1), (5, 1), (10, 1), (20, 1), (3, 5), (5, 5), (10, 5))
"""Runs of each task, and tasks."""

Values = npt.NDArray[np.float64]


def run_intervals() -> dict[str, Any]:
    """`ours` is the percentage of three runs of one task, `theirs` what the intervals are called."""
    rng = np.random.default_rng(0)
    rows = [{"runs": runs, "tasks": tasks, "holds": _coverage(runs, tasks, rng)} for runs, tasks in CASES]
    by_case = {(row["runs"], row["tasks"]): row["holds"] for row in rows}
    return {
        "ours": by_case[3, 1],
        "theirs": 95,
        "unit": "percentage of intervals that hold the true interquartile mean, three runs of one task",
        "rows": rows,
        "compared": {
            "holds": f"percentage of {TRIALS:,} trials, {REPETITIONS:,} repetitions of the bootstrap each",
            "standard error": f"at most {100 * math.sqrt(0.25 / TRIALS):.1f}",
        },
    }


def _coverage(runs: int, tasks: int, rng: np.random.Generator) -> float:
    held = 0
    for _ in range(TRIALS // AT_ONCE):
        scores = rng.normal(size=(AT_ONCE, 1, runs, tasks))
        drawn = rng.integers(runs, size=(AT_ONCE, REPETITIONS, runs, tasks))
        found = _iqm(np.take_along_axis(scores, drawn, axis=2))
        low, high = np.percentile(found, (2.5, 97.5), axis=1)
        held += int(((low <= 0) & (high >= 0)).sum())
    return round(100 * held / TRIALS, 1)


def _iqm(scores: Values) -> Values:
    """The interquartile mean over the last two axes, as SciPy's `trim_mean`."""
    ordered = np.sort(scores.reshape(*scores.shape[:-2], -1), axis=-1)
    cut = int(0.25 * ordered.shape[-1])
    kept: Values = ordered[..., cut : ordered.shape[-1] - cut].mean(axis=-1)
    return kept
