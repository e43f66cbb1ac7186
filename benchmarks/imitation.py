"""The imitation algorithms beside each other: the same scripted expert, networks, and number of samples."""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.main_job import SEEDS, run_command
from cesma_sb3.imitation.registry import ALGORITHMS

NAME = "spread-3-scripted"
TIMESTEPS = 40_000


def run_imitation() -> dict[str, Any]:
    """`ours` is the score of DAgger's students, `theirs` that of behavioural cloning's: medians."""
    with tempfile.TemporaryDirectory() as folder:
        rows = [_row(algorithm, Path(folder)) for algorithm in ALGORITHMS]
    scores = {row["algorithm"]: row["students"] for row in rows}
    return {
        "ours": scores["dagger"],
        "theirs": scores["bc"],
        "ratio": round(scores["dagger"] / scores["bc"], 3),
        "unit": "normalised score of the students; their expert has 1",
        "algorithms": rows,
        "compared": {
            "command": f"cesma run {NAME} --set dagger.algorithm=ALGORITHM "
            f"--set dagger.total_timesteps={TIMESTEPS}",
            "students, return, seconds": f"medians of {len(SEEDS)} seeds; seconds of the imitation alone",
            "episodes": "400 of each policy, deterministic, none that a choice was made on",
        },
    }


def _row(algorithm: str, folder: Path) -> dict[str, Any]:
    settings = (f"dagger.algorithm={algorithm}", f"dagger.total_timesteps={TIMESTEPS}")
    runs = [run_command(NAME, seed, folder / algorithm / str(seed), *settings) for seed in SEEDS]
    reports = [report for _, report in runs]
    scores = [report["normalized"]["students"] for report in reports]
    return {
        "algorithm": algorithm,
        "students": round(statistics.median(scores), 3),
        "least": round(min(scores), 3),
        "most": round(max(scores), 3),
        "return": round(statistics.median(report["return"]["students"] for report in reports), 2),
        "seconds": round(statistics.median(report["seconds"]["decentralize"] for report in reports), 1),
    }
