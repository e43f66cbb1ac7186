"""What a page that watches a run costs: `spread-3` without it and with it, asked once a second."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

import cesma_sb3
from cesma_sb3.analysis.training_page import TrainingPage
from cesma_sb3.policies.save_util import WEIGHTS
from cesma_sb3.training.run_folder import EVALUATIONS, STUDENTS

NAME = "spread-3"
RESULTS = (EVALUATIONS, f"{STUDENTS}/{WEIGHTS}")


def run_training_page() -> dict[str, Any]:
    """`ours` is the processor time with a page, `theirs` that without one."""
    with tempfile.TemporaryDirectory() as folder:
        alone, watched = (_measure(mode, Path(folder, mode)) for mode in ("alone", "watched"))
        same = all(
            Path(folder, "alone", file).read_bytes() == Path(folder, "watched", file).read_bytes()
            for file in RESULTS
        )
    return {
        "ours": watched["processor s"],
        "theirs": alone["processor s"],
        "ratio": round(watched["processor s"] / alone["processor s"], 3),
        "unit": f"processor seconds of {NAME}, with a page and without, without imports",
        "the same bytes": same,
        "runs": [alone, watched],
        "compared": {"the same bytes": "the evaluations and the students' weights"},
    }


def _measure(mode: str, out: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.training_page", mode, str(out)]
    done = subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE)
    row: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return row


def _run(mode: str, out: Path) -> dict[str, Any]:
    """Makes a run in this process."""
    processor, wall, recorded = time.process_time(), time.monotonic(), 0
    if mode == "alone":
        cesma_sb3.run(NAME, out=out)
    else:
        ended = threading.Event()
        with TrainingPage(NAME) as page:
            asking = threading.Thread(target=_ask, args=(page.url, ended))
            asking.start()
            cesma_sb3.run(NAME, out=out, spectator=page)
            recorded = page.state()["recorded"]
            ended.set()
            asking.join()
    return {
        "page": mode,
        "processor s": round(time.process_time() - processor, 1),
        "wall-clock s": round(time.monotonic() - wall, 1),
        "episodes recorded": recorded,
    }


def _ask(url: str, ended: threading.Event) -> None:
    """Asks as the page's script does, for what it does not have yet."""
    shown = 0
    while not ended.wait(1.0):
        with urllib.request.urlopen(f"{url}state?shown={shown}") as answer:
            shown = json.load(answer)["recorded"]


if __name__ == "__main__":
    print(json.dumps(_run(sys.argv[1], Path(sys.argv[2]))))
