"""Experiments x seeds x baselines in processes of this machine, on budgets that teach nothing."""

from __future__ import annotations

import csv
import json

import pytest
from click.testing import CliRunner

from cesma_sb3 import load_experiment
from cesma_sb3.cli import cesma
from cesma_sb3.errors import CesmaError, ConfigError
from cesma_sb3.runs import RunFolder
from cesma_sb3.sweep import _baselines, sweep
from tests.reproduce.tiny import FAILS, TINY


@pytest.fixture(scope="module")
def done(tmp_path_factory):
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
    found = _baselines([load_experiment("spread-3")])
    assert {"spread-3-maddpg", "spread-3-ddpg", "spread-3-iql", "spread-3-mappo"} <= set(found)
    assert "spread-3-scripted" not in found
    assert _baselines([load_experiment("spread-3-maddpg")]) == []


def test_a_run_that_fails_does_not_stop_the_others(tmp_path):
    (tmp_path / "fails.yaml").write_text("extends: spread-3-scripted\ndagger: {labels: soft}\n")
    values = {key: value for key, value in FAILS.items() if key != "dagger.labels"}
    words = ["sweep", str(tmp_path / "fails.yaml"), "spread-3-scripted", "--seeds", "1", "--json"]
    settings = [word for k, v in values.items() for word in ("--set", f"{k}={json.dumps(v)}")]
    found = CliRunner().invoke(
        cesma, [*words, *settings, "--out", str(tmp_path / "out")], standalone_mode=False
    )
    told = json.loads(found.stdout)
    assert found.return_value == 1
    (failure,) = told["failures"]
    assert failure["run"].startswith("fails-")
    assert "has no `probabilities`" in failure["cause"]
    assert [row["seeds"] for row in told["rows"]] == [0, 1]


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
