"""What is kept of runs: what figures are drawn from, and nothing of where they lay."""

import json
import shutil

import pytest

from benchmarks.keep import KEPT, keep
from benchmarks.parameters import count_again
from cesma_sb3.analysis.run_data import read_run
from cesma_sb3.config.registry import load_experiment
from cesma_sb3.training.run_folder import RunFolder
from tests.reproduce.tiny import write_run


def test_the_results_are_kept_without_weights_and_places(tmp_path):
    made = tmp_path / "made" / "runs" / "spread-3-scripted"
    losses = [{"dagger/timesteps": 50, "dagger/n_updates": 3, "dagger/loss/a": 1.0}]
    write_run(made / "seed-0", expert=[(0, -10.0)], students=[(0, -50.0), (50, -30.0)], losses=losses)
    run = RunFolder.open(made / "seed-0")
    run.write_json("run.json", {**run.info, "command": f"cesma run spread-3-scripted --out {made} --json"})
    (made / "seed-0" / "students").mkdir()
    (made / "seed-0" / "students" / "team.safetensors").write_bytes(b"weights")
    RunFolder.create(load_experiment("spread-3-scripted", {"seed": 1}), made / "seed-1")  # not finished

    kept = tmp_path / "kept"
    (copy,) = keep(tmp_path / "made", kept)
    assert copy == kept / "runs" / "spread-3-scripted" / "seed-0"
    assert {str(path.relative_to(copy)) for path in copy.rglob("*") if path.is_file()} == {
        "config.yaml",
        "run.json",
        "report.json",
        "evaluations.csv",
        "logs/students/progress.csv",
    }
    assert json.loads((copy / "run.json").read_text())["command"] == "cesma run spread-3-scripted --json"
    assert RunFolder.open(copy).experiment == run.experiment
    assert read_run(copy) == read_run(made / "seed-0")
    assert keep(tmp_path / "made", kept) == [copy]  # again, in its place


@pytest.mark.parametrize(
    "name", ["spread-3", "spread-3-hetero-exponential-dqn", "navigation-comm-3", "spread-3-qmix"]
)
def test_kept_counts_are_those_of_the_networks(name, tmp_path):
    kept = next(KEPT.glob(f"runs/{name}/seed-0"), None)
    if kept is None:
        pytest.skip(f"no run of {name} is kept")
    shutil.copytree(kept, tmp_path / "run")
    run = RunFolder.open(tmp_path / "run")
    right = run.report()
    run.write_json("report.json", {**right, "parameters": {"students": {"actor": 0}}})
    before, after = count_again(run)
    assert (before, after) == ({"students": {"actor": 0}}, right["parameters"])
    assert run.report() == right
