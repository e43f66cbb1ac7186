"""`cesma compare` from names to tables and figures, on runs that teach nothing."""

import csv
import json

import pytest
from click.testing import CliRunner
from PIL import Image

import cesma_sb3
from cesma_sb3.analysis.comparison import compare as compare_module
from cesma_sb3.analysis.comparison.tables import pairs_to_show
from cesma_sb3.cli import cesma
from cesma_sb3.envs import reward_definition
from cesma_sb3.errors import CesmaError
from cesma_sb3.multirun.plan import Failure
from cesma_sb3.multirun.sweep import Sweep
from tests.reproduce.tiny import TINY, write_run

FILES = {"compare.csv", "improvement.csv", "compare.md", "marl-eval.json"}
FIGURES = {"intervals.png", "improvement.png", "profiles.png", "samples.png"}
FEW = {"repetitions": 300}
FEWER = ["--repetitions", "300"]
REWARD = reward_definition("spread", {"n_agents": 3, "reward": "paper"})


@pytest.fixture(scope="module")
def made(tmp_path_factory, runs_in_this_process):
    """A seed of an experiment that is run, and a baseline that is there."""
    root = tmp_path_factory.mktemp("compare")
    for seed in (0, 1, 2):
        team = [(0, -50.0), (600, -35.0)]
        path = root / "theirs" / f"seed-{seed}"
        write_run(path, seed=seed, experiment="spread-3-maddpg", students=team, final=-30.0 + seed)
        report = json.loads((path / "report.json").read_text())
        text = json.dumps({**report, "reward": REWARD})
        (path / "report.json").write_text(text)
    names = ["ours=spread-3-scripted", f"theirs={root / 'theirs'}"]
    options = {"seeds": 1, "workers": 1, "runs": root / "runs", "out": root / "out"}
    return root, names, options, cesma_sb3.compare(names, **options, **FEW, **TINY)


def test_missing_runs_are_made_and_others_taken(made):
    root, _, _, found = made
    assert (found.ran, found.failures, found.metric) == (1, (), "normalized")
    assert [(row["task"], row["system"], row["runs"]) for row in found.rows] == [
        ("spread-3", "ours", 1),
        ("spread-3", "theirs", 3),
    ]
    (report,) = root.glob("runs/runs/*/seed-0/report.json")
    assert found.rows[0]["iqm"] == json.loads(report.read_text())["normalized"]["students"]
    assert found.rows[1]["mean"] == pytest.approx(0.42)
    assert (found.rows[1]["iqm_low"], found.rows[1]["iqm_high"]) == pytest.approx((0.4, 0.44))


def test_tables_and_figures_are_written(made):
    root, _, _, found = made
    assert (
        {path.name for path in found.files} == FILES | FIGURES == {p.name for p in (root / "out").iterdir()}
    )
    assert all(path.parent == root / "out" for path in found.files)
    with (root / "out" / "compare.csv").open(newline="") as file:
        ours, theirs = csv.DictReader(file)
    assert ours["iqm_high"] == ""
    assert float(theirs["iqm_high"]) == found.rows[1]["iqm_high"]
    page = (root / "out" / "compare.md").read_text()
    assert "| spread-3 | theirs | 3 | 0.420 [0.400, 0.440] |" in page
    assert all(note in page for note in found.notes)
    exported = json.loads((root / "out" / "marl-eval.json").read_text())
    assert list(exported["cesma_sb3"]["spread-3"]) == ["ours", "theirs"]
    for name in FIGURES:
        with Image.open(root / "out" / name) as picture:
            assert min(picture.size) > 200


def test_again_gives_the_same_and_runs_nothing(made):
    root, names, options, found = made
    before = {path.name: path.read_bytes() for path in (root / "out").iterdir() if path.suffix != ".png"}
    again = cesma_sb3.compare(names, **options, **FEW, **TINY)
    assert (again.ran, again.rows, again.improvement) == (0, found.rows, found.improvement)
    assert before == {name: (root / "out" / name).read_bytes() for name in before}


def test_one_seed_gives_no_interval(made, tmp_path):
    root, *_ = made
    words = ["compare", str(root / "theirs" / "seed-0"), *FEWER, "--out", str(tmp_path / "out")]
    found = CliRunner().invoke(cesma, [*words, "--json"], standalone_mode=False)
    told = json.loads(found.stdout)
    assert found.return_value == 0
    (row,) = told["rows"]
    assert (row["iqm"], row["iqm_low"], row["iqm_high"]) == (pytest.approx(0.4), None, None)
    assert told["notes"] == ["spread-3-maddpg: spread-3-maddpg: one run, which gives no interval"]
    assert {path.name for path in (tmp_path / "out").iterdir()} == (FILES | FIGURES) - {
        "improvement.csv",
        "improvement.png",
    }


def test_what_the_command_prints(made, tmp_path):
    root, *_ = made
    words = ["compare", str(root / "theirs"), f"ours={root / 'runs'}", *FEWER, "--out", str(tmp_path / "out")]
    printed = CliRunner().invoke(cesma, words).stdout
    assert "0.420 [0.400, 0.440]" in printed
    assert "probability of a higher score" in printed
    assert "note: spread-3: intervals of 3 runs are too narrow" in printed
    assert str(tmp_path / "out" / "compare.md") in printed


def test_runs_that_fail_are_told(made, tmp_path, monkeypatch):
    root, *_ = made
    failures = (Failure("spread-3-scripted, seed 0", "out of memory", tmp_path / "log"),)
    swept = Sweep([], 1, failures, tmp_path, {"spread-3-scripted": ()})
    monkeypatch.setattr(compare_module, "sweep", lambda names, **options: swept)
    found = compare_module.compare(["spread-3-scripted", root / "theirs"], out=tmp_path / "out", **FEW)
    assert (found.ran, found.failures) == (1, failures)
    assert [row["system"] for row in found.rows] == ["spread-3-maddpg"]
    assert found.notes[0] == "left out: spread-3-scripted, seed 0: out of memory"


def test_of_many_pairs_those_of_the_first_are_shown():
    pairs = [{"task": "t", "system": x, "other": y} for x in "abcde" for y in "abcdef" if x < y]
    assert [row["other"] for row in pairs_to_show(pairs)] == list("bcdef")
    assert pairs_to_show(pairs[:10]) == pairs[:10]


def test_folders_that_do_not_fit(made, tmp_path, monkeypatch):
    root, *_ = made
    failures = (Failure("spread-3-scripted, seed 0", "out of memory", tmp_path / "log"),)
    swept = Sweep([], 1, failures, tmp_path, {"spread-3-scripted": ()})
    monkeypatch.setattr(compare_module, "sweep", lambda names, **options: swept)
    with pytest.raises(CesmaError, match="no finished run: spread-3-scripted, seed 0: out of memory"):
        compare_module.compare("spread-3-scripted", out=tmp_path / "out")
    (tmp_path / "file").touch()
    with pytest.raises(CesmaError, match="file: is a file; expected a folder"):
        compare_module.compare(root / "theirs", out=tmp_path / "file")
    with pytest.raises(CesmaError, match="cannot be made: Not a directory"):
        compare_module.compare(root / "theirs", out=tmp_path / "file" / "out", **FEW)
    with pytest.raises(CesmaError, match="baselines and values are of runs to be made"):
        compare_module.compare(root / "theirs", baselines=True)


@pytest.mark.parametrize(
    ("names", "options", "told"),
    [
        ([], {}, "expected the name of an experiment, or a folder of runs"),
        (["spread-33"], {}, "unknown experiment 'spread-33'; did you mean 'spread-3"),
        (["spread-3", "spread-6-maddpg"], {}, "are different tasks (env.kwargs.n_agents is 3, not 6)"),
        (
            ["spread-3", "spread-3=spread-3-mlp"],
            {},
            "spread-3-mlp: is called 'spread-3' on spread-3, as spread-3",
        ),
        (["spread-3"], {"dagger.n_evs": 3}, "did you mean 'n_envs'"),
        (["no/such"], {}, "no/such: no such folder"),
        (["CESMA="], {}, "CESMA=: expected LABEL=NAME"),
        (["spread-3"], {"metric": "retrun"}, "metric: unknown metric 'retrun'; did you mean 'return'"),
        (["spread-3"], {"repetitions": 0}, "repetitions: expected at least 1, got 0"),
        (["spread-3"], {"seeds": 0}, "seeds: expected at least 1, got 0"),
        (["."], {}, "no finished run: expected run folders"),
    ],
)
def test_bad_input(tmp_path, monkeypatch, names, options, told):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CesmaError) as caught:
        compare_module.compare(names, **options)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())
