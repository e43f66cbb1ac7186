"""Experiments x seeds x baselines, on budgets that teach nothing."""

from __future__ import annotations

import csv
import json
import sys

import pytest

from cesma_sb3 import list_experiments, load_experiment
from cesma_sb3.config.registry import list_baselines
from cesma_sb3.errors import CesmaError, ConfigError, MissingExtraError
from cesma_sb3.multirun.sweep import sweep
from cesma_sb3.training.run_folder import RunFolder
from tests.reproduce.tiny import TINY

pytestmark = pytest.mark.usefixtures("runs_in_this_process")


@pytest.fixture(scope="module")
def done(tmp_path_factory, runs_in_this_process):
    out = tmp_path_factory.mktemp("sweep")
    return out, sweep(["spread-3-scripted"], seeds=2, workers=2, out=out, **TINY)


def test_every_seed_is_run_once(done):
    out, result = done
    assert (result.ran, result.failures) == (2, ())
    reports = sorted((out / "runs").glob("*/seed-*/report.json"))
    assert [path.parent.name for path in reports] == ["seed-0", "seed-1"]
    experiments = [RunFolder.open(path.parent).experiment for path in reports]
    assert [experiment.seed for experiment in experiments] == [0, 1]
    assert experiments[0].dagger.total_timesteps == 128


def test_the_table(done):
    out, result = done
    (row,) = result.rows
    scores = [json.loads(path.read_text()) for path in (out / "runs").glob("*/seed-*/report.json")]
    returns = [report["return"]["students"] for report in scores]
    assert row["experiment"] == "spread-3-scripted"
    assert row["seeds"] == 2
    assert row["return"] == pytest.approx(sum(returns) / 2)
    assert (row["return_min"], row["return_max"]) == (min(returns), max(returns))
    with (out / "sweep.csv").open(newline="") as file:
        (written,) = csv.DictReader(file)
    assert float(written["return"]) == row["return"]
    assert json.loads((out / "sweep.json").read_text())["rows"][0]["return"] == row["return"]


def test_what_is_there_is_not_run_again(done):
    out, _ = done
    before = {path: path.stat().st_mtime_ns for path in out.rglob("report.json")}
    again = sweep(["spread-3-scripted"], seeds=2, out=out, **TINY)
    assert again.ran == 0
    assert {path: path.stat().st_mtime_ns for path in out.rglob("report.json")} == before
    torn = next((out / "runs").glob("*/seed-1")) / "report.json"
    torn.unlink()
    assert sweep(["spread-3-scripted"], seeds=2, out=out, **TINY).ran == 1
    assert torn.exists()


def test_baselines_are_those_that_are_registered():
    found = list_baselines({"spread-3"})
    assert {"spread-3-maddpg", "spread-3-ddpg", "spread-3-iql", "spread-3-mappo"} <= set(found)
    assert "spread-3-scripted" not in found
    assert "spread-3-hetero-maddpg" not in found  # of spread-3-hetero
    assert "spread-3-hetero-maddpg" in list_baselines({"spread-3-hetero"})
    assert list_baselines({"spread-3-maddpg"}) == []


@pytest.fixture
def planned(monkeypatch):
    """Runs that would have been made."""
    found = []
    monkeypatch.setattr(
        "cesma_sb3.multirun.sweep.make_runs", lambda runs, run_them, *, progress: found.extend(runs) or ()
    )
    return found


def test_every_registered_baseline_says_what_it_is_compared_with():
    for name in list_experiments():
        experiment = load_experiment(name, check_names=False)
        assert (experiment.baseline_of is None) == (experiment.dagger is not None), name
        if experiment.baseline_of is not None:
            assert load_experiment(experiment.baseline_of, check_names=False).env == experiment.env, name


def test_baselines_stay_baselines_whatever_is_said_of_students(tmp_path, planned):
    values = {"dagger.total_timesteps": 128, "evaluation.n_final_episodes": 4}
    result = sweep("speaker-listener", seeds=2, baselines=True, out=tmp_path, **values)
    assert [(row["experiment"], row["kind"], row["seeds"]) for row in result.rows] == [
        ("speaker-listener", "students", 0),
        ("speaker-listener-ddpg", "baseline", 0),
        ("speaker-listener-maddpg", "baseline", 0),
    ]
    assert [run.experiment.seed for run in planned] == [0, 1] * 3
    assert {run.experiment.evaluation.n_final_episodes for run in planned} == {4}
    assert planned[-1].experiment.dagger is None
    assert "evaluation.n_final_episodes=4" in planned[-1].job.command
    assert "dagger.total_timesteps=128" not in planned[-1].job.command


def test_what_is_named_twice_is_run_once(tmp_path, planned):
    names = ["speaker-listener-maddpg", "speaker-listener", "speaker-listener"]
    result = sweep(names, seeds=1, baselines=True, out=tmp_path / "out")
    assert [row["experiment"] for row in result.rows] == [*names[:2], "speaker-listener-ddpg"]
    (tmp_path / "speaker-listener.yaml").write_text("extends: speaker-listener\nseed: 0\n")
    assert len(sweep([names[1], tmp_path / "speaker-listener.yaml"], seeds=1, out=tmp_path / "out").rows) == 1
    (tmp_path / "speaker-listener.yaml").write_text("extends: speaker-listener\nthreads: 2\n")
    with pytest.raises(ConfigError, match="is called 'speaker-listener', as speaker-listener is"):
        sweep([names[1], tmp_path / "speaker-listener.yaml"], out=tmp_path / "out")


def test_ray_is_not_installed(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtraError, match=r"needs the extra \[ray\]: .*; try: pip install '"):
        sweep(["spread-3-scripted"], seeds=1, address="auto", out=tmp_path / "out", **TINY)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("address", ["127.0.0.1:9", "nowhere"])
def test_a_cluster_that_is_not_there(tmp_path, address):
    pytest.importorskip("ray")
    with pytest.raises(ConfigError, match=f"ray: {address}: cannot be reached"):
        sweep(["spread-3-scripted"], seeds=1, address=address, out=tmp_path / "out", **TINY)


@pytest.mark.parametrize(
    ("names", "options", "told"),
    [
        (["spred-3"], {}, "did you mean 'spread-3"),
        ([], {}, "expected the name of an experiment"),
        (["spread-3"], {"seeds": 0}, "seeds: expected at least 1, got 0"),
        (["spread-3"], {"workers": 2, "address": "auto"}, "workers: expected none with the address"),
        (["spread-3"], {"seed": 3}, "seed: expected none"),
        (["spread-3"], {"dagger.n_evs": 3}, "did you mean 'n_envs'"),
    ],
)
def test_bad_input_before_anything_runs(tmp_path, names, options, told):
    with pytest.raises(CesmaError) as caught:
        sweep(names, out=tmp_path / "out", **options)
    assert told in str(caught.value)
    assert not (tmp_path / "out").exists()
