"""The same seed gives the same run: in this process, in others, and side by side."""

import csv
import json
from pathlib import Path

import pytest

import cesma_sb3
from cesma_sb3.multirun.sweep import sweep
from tests.faults.interrupted import results

VALUES = {
    "evaluation": {"n_final_episodes": 8, "n_eval_episodes": 4, "eval_freq": 200, "n_envs": 4},
    "expert.n_envs": 8,
    "expert.total_timesteps": 400,
    "expert.kwargs.learning_starts": 64,
    "expert.kwargs.batch_size": 32,
    "dagger.n_envs": 8,
    "dagger.total_timesteps": 400,
}
NAME = "speaker-listener"


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    return cesma_sb3.run(NAME, out=tmp_path_factory.mktemp("here") / "run", **VALUES).run_dir


def report_of(run: Path) -> dict:
    report = json.loads((run / "report.json").read_text())
    del report["seconds"], report["processor_seconds"]
    return report


def traces(run: Path) -> dict[str, list[dict[str, str]]]:
    """What was logged, less how long it took; SB3's columns have no order."""
    found = {}
    for path in sorted(run.glob("logs/*/progress.csv")):
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        untimed = [name for name in rows[0] if not name.startswith("time/") and "per_second" not in name]
        found[path.parent.name] = [{name: row[name] for name in untimed} for row in rows]
    return found


@pytest.mark.integration
def test_other_processes_give_the_same_run_side_by_side(run, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONHASHSEED", "7")  # the order of sets is no part of the seed
    assert sweep([NAME], seeds=2, workers=2, out=tmp_path / "sweep", **VALUES).ran == 2
    first, second = sorted((tmp_path / "sweep" / "runs").glob("*/seed-?"))
    assert results(first) == results(run)
    assert report_of(first) == report_of(run)
    assert traces(first) == traces(run)
    assert all(traces(run).values())
    assert results(second) != results(run)


def test_a_second_run_in_one_process_is_not_touched_by_the_first(run, tmp_path):
    other = {key: value for key, value in VALUES.items() if not key.startswith("expert.")}
    cesma_sb3.run("spread-3-scripted", out=tmp_path / "between", seed=5, **other)
    again = cesma_sb3.run(NAME, out=tmp_path / "run", **VALUES).run_dir
    assert results(again) == results(run)
    assert traces(again) == traces(run)
