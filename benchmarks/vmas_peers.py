"""A task of VMAS: students, their expert and our baselines beside BenchMARL's learners, in one run.

The variable BENCHMARL_PYTHON names a Python with BenchMARL and VMAS, whose learners train by BenchMARL's
values for VMAS (`benchmarl_peer`), each in a process of its own, until they have as many frames and as much
processor time as our students and their expert together. SCENARIO names another task than `navigation`, PEERS
fewer learners (`mappo,ippo`). What is there already below runs/benchmarks/vmas-peers is not made again.
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, NamedTuple

import click

from benchmarks.main_job import report_of
from cesma_sb3.config.registry import list_baselines, load_experiment
from cesma_sb3.errors import CesmaError, check_choice
from cesma_sb3.training.run_folder import EVALUATIONS, REPORT

OUT = Path("runs/benchmarks/vmas-peers")
PEERS = ("mappo", "ippo", "masac", "qmix")
SEED = 0


class Evaluation(NamedTuple):
    """What a system returns after so many frames."""

    frames: int
    """Steps of one world."""
    seconds: float
    """Processor time until then."""
    value: float
    """Mean return."""
    error: float | None
    """Its standard error; None in our training, where it is not kept."""


def run_vmas_peers() -> dict[str, Any]:
    """`ours` is the students' return, `theirs` the best of BenchMARL's learners at as many frames."""
    os.environ["OMP_NUM_THREADS"] = "1"  # of all processes that are started here
    python, scenario, peers = _asked()
    task = f"vmas-{scenario}"
    report = report_of(task, SEED, OUT / task)
    ours = {"students": own_curve(OUT / task, "students"), "expert": own_curve(OUT / task, "expert")}
    for name in list_baselines([task]):
        report_of(name, SEED, OUT / name)
        ours[name.removeprefix(f"{task}-")] = own_curve(OUT / name, "students")
    frames, seconds = ours["students"][-1][:2]
    half = f"{task}-half"
    report_of(task, SEED, OUT / half, f"expert.total_timesteps={report['env_samples']['expert'] // 2}")
    ours["students, half the frames"] = own_curve(OUT / half, "students")
    theirs = {peer: peer_curve(_peer(python, peer, scenario, frames, seconds)) for peer in peers}
    systems = {f"ours, {name}": curve for name, curve in ours.items()}
    systems |= {f"BenchMARL's {name}": curve for name, curve in theirs.items()}
    return {
        "ours": ours["students"][-1].value,
        "theirs": max(after_frames(curve, frames).value for curve in theirs.values()),
        "unit": f"return in VMAS's {scenario}, a mean over agents",
        "as many frames": [_row(name, after_frames(curve, frames)) for name, curve in systems.items()],
        "as much processor time": [
            _row(name, after_seconds(curve, seconds)) for name, curve in systems.items()
        ],
        "frames until BenchMARL's best": [_until(name, curve, ours) for name, curve in theirs.items()],
        "compared": {
            "return": f"of {report['episodes']} episodes of at most 100 steps, by likeliest actions; ours in "
            "training of fewer",
            "a row": "the first evaluation with at least as much, or the last if training ended before",
            "processor s": "ours with evaluations in training, BenchMARL's without them",
            "values": "BenchMARL's for VMAS, which are tuned for 10,000,000 frames",
        },
    }


def _asked() -> tuple[str, str, list[str]]:
    """The Python that has BenchMARL, the scenario and BenchMARL's learners, by environment variables.

    Raises:
        click.ClickException: One is missing, or names what is not there.
    """
    scenario, peers = os.environ.get("SCENARIO", "navigation"), os.environ.get("PEERS", ",".join(PEERS))
    try:
        load_experiment(f"vmas-{scenario}")
        for peer in peers.split(","):
            check_choice("PEERS", peer, PEERS)
    except CesmaError as error:
        raise click.ClickException(str(error)) from error
    if python := os.environ.get("BENCHMARL_PYTHON"):
        return python, scenario, peers.split(",")
    raise click.ClickException(
        "BENCHMARL_PYTHON is not set: expected a Python with benchmarl and vmas installed"
    )


def own_curve(folder: Path, policy: str) -> list[Evaluation]:
    """Evaluations of a run of ours in their order; the last is that of the report.

    The processor time of a stage is divided by its frames, that of imitation by its updates: each costs as
    much as any other.

    Args:
        folder: The run folder.
        policy: `expert` or `students`.
    """
    report = json.loads((folder / REPORT).read_text())
    spent, total = report["processor_seconds"], sum(report["env_samples"].values())
    imitates = policy == "students" and "decentralize" in spent
    before = spent["expert"] if imitates else 0.0
    own = spent["decentralize" if imitates else policy]
    with (folder / EVALUATIONS).open() as file:
        rows = [row for row in csv.DictReader(file) if row["stage"] == policy]
    done = [int(row["updates" if imitates else "env_samples"]) for row in rows]
    points = [
        Evaluation(int(row["env_samples"]), before + own * each / done[-1], float(row["return"]), None)
        for row, each in zip(rows[:-1], done, strict=False)
    ]
    end = report["return"][policy], report["standard_error"][policy]
    return [*points, Evaluation(total, before + own, *end)]


def _peer(python: str, peer: str, scenario: str, frames: int, seconds: float) -> Path:
    """A file with the evaluations of one of BenchMARL's learners; it is made if it is not there."""
    file = OUT / f"{scenario}-{peer}.jsonl"
    if not file.exists():
        OUT.mkdir(parents=True, exist_ok=True)
        script = Path(__file__).with_name("benchmarl_peer.py")
        # Isolated: what this process is told to import from may not fit there.
        command = [python, "-I", str(script), peer, scenario, str(frames), str(seconds), str(SEED)]
        part = file.with_suffix(".part")
        with part.open("w") as out:
            done = subprocess.run(command, check=False, text=True, stdout=out, stderr=subprocess.PIPE)
        if done.returncode:
            why = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise click.ClickException(f"{python}: BenchMARL's {peer} in {scenario} ended: {why}")
        part.rename(file)
    return file


def peer_curve(file: Path) -> list[Evaluation]:
    """Evaluations of one of BenchMARL's learners, in their order: the lines of `benchmarl_peer`."""
    lines = [json.loads(line) for line in file.read_text().splitlines() if line.startswith("{")]
    return [
        Evaluation(
            line["frames"],
            line["processor_seconds"],
            fmean(line["returns"]),
            stdev(line["returns"]) / len(line["returns"]) ** 0.5,
        )
        for line in lines
    ]


def after_frames(curve: list[Evaluation], frames: int) -> Evaluation:
    """The first evaluation with at least as many frames; the last one where a training ended before.

    Students learn on with as many frames as their expert had: of several the last counts.
    """
    enough = next((each.frames for each in curve if each.frames >= frames), curve[-1].frames)
    return [each for each in curve if each.frames == enough][-1]


def after_seconds(curve: list[Evaluation], seconds: float) -> Evaluation:
    """The first evaluation with at least as much processor time; the last where a training ended before."""
    return next((each for each in curve if each.seconds >= seconds), curve[-1])


def _until(peer: str, curve: list[Evaluation], ours: dict[str, list[Evaluation]]) -> dict[str, Any]:
    """The best evaluation of a peer, and after how many frames each of ours returns as much."""
    best = max(curve, key=lambda each: each.value)
    reaching = {
        name: next((f"{each.frames:,}" for each in own if each.value >= best.value), "not reached")
        for name, own in ours.items()
    }
    return {"BenchMARL's": peer, "return": round(best.value, 3), "frames": f"{best.frames:,}", **reaching}


def _row(system: str, each: Evaluation) -> dict[str, Any]:
    return {
        "system": system,
        "frames": f"{each.frames:,}",
        "processor s": round(each.seconds),
        "return": round(each.value, 3),
        "standard error": "" if each.error is None else round(each.error, 3),
    }
