"""The benchmark beside BenchMARL: what it reads of curves, and what it takes for as much."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from benchmarks.__main__ import main
from benchmarks.vmas_peers import (
    OUT,
    Evaluation,
    after_frames,
    after_seconds,
    own_curve,
    peer_curve,
    run_vmas_peers,
)


def test_a_curve_of_benchmarl_is_the_mean_over_episodes(tmp_path: Path) -> None:
    file = tmp_path / "mappo.jsonl"
    lines = [
        {"frames": 60_000, "processor_seconds": 40.0, "returns": [0.0, 2.0]},
        {"frames": 120_000, "processor_seconds": 85.5, "returns": [1.0, 1.0]},
    ]
    file.write_text("a word of somebody else's\n" + "".join(json.dumps(line) + "\n" for line in lines))
    assert peer_curve(file) == [Evaluation(60_000, 40.0, 1.0, 1.0), Evaluation(120_000, 85.5, 1.0, 0.0)]


def test_as_much_is_the_first_evaluation_with_no_less() -> None:
    curve = [Evaluation(frames, frames / 1000, 0.0, None) for frames in (60_000, 120_000, 180_000)]
    assert after_frames(curve, 60_000) == after_seconds(curve, 60.0) == curve[0]
    assert after_frames(curve, 60_001) == after_seconds(curve, 60.1) == curve[1]
    assert after_frames(curve, 10**6) == after_seconds(curve, 10**6) == curve[2]  # training ended before
    students = [Evaluation(100, seconds, seconds, None) for seconds in (1.0, 2.0)]  # with an expert's frames
    assert (after_frames(students, 100), after_seconds(students, 0.5)) == (students[1], students[0])


def write_run(folder: Path, csv: str, **seconds: float) -> None:
    """What is read of a run of ours: its curves, and its report, of 100 frames in the first stage."""
    folder.mkdir(parents=True)
    (folder / "evaluations.csv").write_text(csv)
    report = {
        "episodes": 200,
        "env_samples": {stage: 0 if stage == "decentralize" else 100 for stage in seconds},
        "processor_seconds": seconds,
        "return": {"expert": 2.25, "students": 1.75},
        "standard_error": {"expert": 0.1, "students": 0.2},
    }
    (folder / "report.json").write_text(json.dumps(report))


IMITATION = (
    "stage,env_samples,updates,return\n"
    "expert,50,,1.0\nexpert,100,,2.0\nstudents,100,10,0.5\nstudents,100,40,1.5\n"
)
BASELINE = "stage,env_samples,return\nstudents,50,1.9\nstudents,100,1.0\n"


def test_a_curve_of_ours_has_the_processor_time_of_the_stages_before(tmp_path: Path) -> None:
    tmp_path /= "run"
    write_run(tmp_path, IMITATION, expert=20.0, decentralize=8.0)
    assert own_curve(tmp_path, "expert") == [
        Evaluation(50, 10.0, 1.0, None),
        Evaluation(100, 20.0, 2.25, 0.1),
    ]
    assert own_curve(tmp_path, "students") == [
        Evaluation(100, 22.0, 0.5, None),
        Evaluation(100, 28.0, 1.75, 0.2),
    ]


def test_the_tables_are_of_runs_that_are_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in {"BENCHMARL_PYTHON": "none", "PEERS": "qmix", "SCENARIO": "navigation"}.items():
        monkeypatch.setenv(name, value)
    write_run(OUT / "vmas-navigation", IMITATION, expert=20.0, decentralize=8.0)
    write_run(OUT / "vmas-navigation-half", IMITATION, expert=10.0, decentralize=4.0)
    write_run(OUT / "vmas-navigation-mappo", BASELINE, students=30.0)
    write_run(OUT / "vmas-navigation-ippo", BASELINE, students=15.0)
    evaluations = [(60, 20.0, 1.8), (120, 40.0, 1.6)]
    lines = [{"frames": n, "processor_seconds": s, "returns": [r, r]} for n, s, r in evaluations]
    (OUT / "navigation-qmix.jsonl").write_text("\n".join(map(json.dumps, lines)))

    result = run_vmas_peers()
    assert (result["ours"], result["theirs"]) == (1.75, 1.6)
    frames, seconds = (
        {row["system"]: (row["frames"], row["processor s"], row["return"]) for row in result[table]}
        for table in ("as many frames", "as much processor time")
    )
    assert frames["BenchMARL's qmix"] == ("120", 40, 1.6)
    assert frames["ours, mappo"] == ("100", 30, 1.75)
    assert seconds["ours, students"] == frames["ours, students"] == ("100", 28, 1.75)
    assert seconds["ours, ippo"] == ("100", 15, 1.75)
    assert seconds["BenchMARL's qmix"] == ("120", 40, 1.6)
    (until,) = result["frames until BenchMARL's best"]
    assert (until["return"], until["frames"]) == (1.8, "60")
    assert (until["expert"], until["mappo"], until["students"]) == ("100", "50", "not reached")


@pytest.mark.parametrize(
    ("variables", "says"),
    [
        ({}, "BENCHMARL_PYTHON is not set: expected a Python with benchmarl and vmas installed"),
        ({"PEERS": "mappo,qmax"}, "unknown PEERS 'qmax'; did you mean 'qmix'?"),
        ({"SCENARIO": "navigatio"}, "did you mean 'vmas-navigation'?"),
    ],
)
def test_one_line_says_what_is_missing(
    variables: dict[str, str], says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("BENCHMARL_PYTHON", "PEERS", "SCENARIO"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    result = CliRunner().invoke(main, ["vmas-peers", "--no-write"])
    assert result.exit_code == 1
    assert says in result.output
    assert result.output.count("\n") == 1


@pytest.mark.skipif(
    "BENCHMARL_PYTHON" not in os.environ, reason="BENCHMARL_PYTHON names no Python with BenchMARL"
)
def test_benchmarl_trains_until_it_has_as_many_frames() -> None:
    script = Path(sys.modules["benchmarks.vmas_peers"].__file__ or "").with_name("benchmarl_peer.py")
    command = [os.environ["BENCHMARL_PYTHON"], "-I", str(script), "qmix", "navigation", "6000", "0", "0"]
    done = subprocess.run(command, check=True, text=True, stdout=subprocess.PIPE)
    (line,) = done.stdout.splitlines()
    assert json.loads(line)["frames"] == 6000
    assert len(json.loads(line)["returns"]) == 200
