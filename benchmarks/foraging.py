"""Level-based foraging and robots in a warehouse: students, their expert, baselines, and EPyMARL's own runs.

Each experiment runs once with its registered samples. The variable EPYMARL names a checkout of EPyMARL, which
is then trained by its own configuration on as many samples; EPYMARL_PYTHON names a Python with its packages.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.main_job import run_command
from cesma_sb3.config.registry import load_experiment

ALGORITHMS = ("iql", "vdn", "qmix", "mappo", "ippo")


def run_foraging() -> dict[str, Any]:
    """`ours` is the students' return in `lbf-8x8-2p-2f-coop`, `theirs` the best of all baselines."""
    return compared("lbf-8x8-2p-2f-coop")


def run_warehouse() -> dict[str, Any]:
    """`ours` is the students' return in `rware-tiny-2ag`, `theirs` the best of all baselines."""
    return compared("rware-tiny-2ag")


def compared(task: str, seed: int = 0) -> dict[str, Any]:
    """An experiment and its baselines, ours and EPyMARL's, each at the experiment's number of samples."""
    with tempfile.TemporaryDirectory() as folder:
        _, report = run_command(task, seed, Path(folder) / task)
        samples = sum(report["env_samples"].values())
        rows = [
            _row(policy, report["return"][policy], samples, sum(report["processor_seconds"].values()))
            for policy in ("expert", "students")
        ]
        for name in ALGORITHMS:
            _, own = run_command(f"{task}-{name}", seed, Path(folder) / name)
            seconds = sum(own["processor_seconds"].values())
            rows.append(_row(name, own["return"]["students"], sum(own["env_samples"].values()), seconds))
    theirs = [_of_epymarl(name, task, samples, seed) for name in ALGORITHMS if "EPYMARL" in os.environ]
    students, best = rows[1]["return"], max(row["return"] for row in (*rows[2:], *theirs))
    return {
        "ours": students,
        "theirs": best,
        "unit": "team return of the students, and of the best baseline",
        "runs": rows + theirs,
        "compared": {
            "task": task,
            "seed": seed,
            "return": "of the last evaluation, which no choice was made on; EPyMARL's is its last test",
            "EPyMARL": "its own configurations, of the checkout that EPYMARL names; else not run",
        },
    }


def _row(policy: str, value: float, samples: int, seconds: float) -> dict[str, Any]:
    return {
        "policy": policy,
        "return": round(value, 3),
        "samples": samples,
        "processor seconds": round(seconds),
    }


def _of_epymarl(algorithm: str, task: str, samples: int, seed: int) -> dict[str, Any]:
    """A run of EPyMARL's own in the environment of one of our experiments."""
    env = load_experiment(task).env
    checkout = Path(os.environ["EPYMARL"])
    limit = env.max_steps or 50
    settings = {
        "env_args.key": env.id,
        "env_args.time_limit": limit,
        "t_max": samples,
        "test_interval": samples // 10,
        "test_nepisode": 100,
        "use_cuda": False,
        "seed": seed,
    }
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [
            *(os.environ.get("EPYMARL_PYTHON", sys.executable), "src/main.py", f"--config={algorithm}"),
            *("--env-config=gymma", "with", *(f"{key}={value}" for key, value in settings.items())),
        ],
        cwd=checkout,
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    runs = (checkout / "results" / "sacred" / algorithm / env.id).glob("*/metrics.json")
    tests = json.loads(max(runs, key=lambda path: path.stat().st_mtime).read_text())["test_return_mean"]
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return _row(f"EPyMARL's {algorithm}", tests["values"][-1], tests["steps"][-1], seconds)
