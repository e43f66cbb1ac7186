"""How long a new user waits: what is done first with an installed package, each time in a new process."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from statistics import median
from typing import Any

TEAM = "spread-6-hetero"
REPEATS = 3
CESMA = ("-m", "cesma_sb3")
# name -> what Python runs, and how many seconds it may take; the imports that a team needs have no limit
USES: dict[str, tuple[tuple[str, ...], float | str]] = {
    "import torch": (("-c", "import torch"), ""),
    "import stable_baselines3": (("-c", "import stable_baselines3"), ""),
    "import cesma_sb3": (("-c", "import cesma_sb3"), 2.0),
    "cesma --help": ((*CESMA, "--help"), 2.0),
    "cesma list": ((*CESMA, "list"), 2.0),
    "load_pretrained": (("-c", f"import cesma_sb3; cesma_sb3.load_pretrained('{TEAM}')"), 2.0),
    "cesma watch": ((*CESMA, "watch", TEAM, "--no-open", "--out", "watched.html"), 10.0),
}


def run_first_use() -> dict[str, Any]:
    """Medians of wall-clock and processor seconds.

    The first process of each use is not counted: its files are read from the disk, and Python compiles what
    an installer did not.
    """
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name, (words, target) in USES.items():
            _seconds(words, folder)
            measured = [_seconds(words, folder) for _ in range(REPEATS)]
            wall, processor = (median(each) for each in zip(*measured, strict=True))
            rows.append({"use": name, "seconds": wall, "of the processor": processor, "target": target})
    # Where more processes wait than there are cores, the processor's seconds alone say something.
    busy = round(os.getloadavg()[0], 1)
    return {
        "team": TEAM,
        "processes": REPEATS,
        "load average": busy,
        "median": rows,
        "compared": {
            "seconds": "of a whole process, imports included, with one thread where OMP_NUM_THREADS says so"
        },
    }


def _seconds(words: tuple[str, ...], folder: str) -> tuple[float, float]:
    """Wall-clock and processor seconds of one process."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, *words], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
