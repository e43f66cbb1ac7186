"""The main job end to end: `cesma run` with its own budget, over seeds: seconds and scores."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from cesma_sb3.training.run_folder import REPORT

SEEDS = (0, 1, 2)


def run_command(name: str, seed: int, folder: Path, *settings: str) -> tuple[float, dict[str, Any]]:
    """Seconds of one `cesma run`, as a process of its own with all that it does, and its report."""
    started = time.perf_counter()
    command = [
        sys.executable,
        "-m",
        "cesma_sb3",
        "run",
        name,
        "--seed",
        str(seed),
        "--out",
        str(folder),
        "--json",
        *(word for each in settings for word in ("--set", each)),
    ]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=os.environ)
    report: dict[str, Any] = json.loads((folder / REPORT).read_text())
    return time.perf_counter() - started, report


def report_of(name: str, seed: int, folder: Path, *settings: str) -> dict[str, Any]:
    """The report of a run in this folder, which is made where it is not there yet."""
    if not (folder / REPORT).exists():
        run_command(name, seed, folder, *settings)
    report: dict[str, Any] = json.loads((folder / REPORT).read_text())
    return report


def summary(name: str, seeds: tuple[int, ...] = SEEDS) -> dict[str, Any]:
    """`ours` is the students' normalised score, `theirs` the expert's; medians over seeds."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for seed in seeds:
            seconds, report = run_command(name, seed, Path(folder) / str(seed))
            scores = report["normalized"]
            rows.append(
                {
                    "seed": seed,
                    "seconds": round(seconds, 1),
                    "students": round(scores["students"], 3),
                    "expert": round(scores["expert"], 3),
                    "ratio": round(scores["students"] / scores["expert"], 3),
                    "return": {policy: round(value, 2) for policy, value in report["return"].items()},
                    "stage_seconds": report["seconds"],
                    "env_samples": report["env_samples"],
                }
            )

    def median(key: str) -> float:
        return float(statistics.median(float(row[key]) for row in rows))

    return {
        "ours": median("students"),
        "theirs": median("expert"),
        "ratio": median("ratio"),
        "seconds": median("seconds"),
        "unit": "normalised score of the students, and of their expert",
        "seeds": rows,
        "compared": {
            "command": f"cesma run {name}",
            "episodes": "400 of each policy, deterministic, none that a choice was made on",
            "seconds": "the whole process: imports, both stages, evaluations, figure",
        },
    }


def run_main_job() -> dict[str, Any]:
    """`cesma run spread-3`."""
    return summary("spread-3")


def run_scripted() -> dict[str, Any]:
    """`cesma run spread-3-scripted`."""
    return summary("spread-3-scripted")


def run_hetero() -> dict[str, Any]:
    """`cesma run spread-3-hetero`."""
    return summary("spread-3-hetero")


def run_six() -> dict[str, Any]:
    """`cesma run spread-6`, one seed: half an hour."""
    return summary("spread-6", seeds=(0,))


def run_six_hetero() -> dict[str, Any]:
    """`cesma run spread-6-hetero`, one seed: half an hour."""
    return summary("spread-6-hetero", seeds=(0,))


def run_speaker_listener() -> dict[str, Any]:
    """`cesma run speaker-listener`."""
    return summary("speaker-listener")


def run_navigation_comm() -> dict[str, Any]:
    """`cesma run navigation-comm`."""
    return summary("navigation-comm")


def run_navigation_comm_3() -> dict[str, Any]:
    """`cesma run navigation-comm-3`."""
    return summary("navigation-comm-3")
