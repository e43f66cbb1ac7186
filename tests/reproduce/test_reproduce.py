"""Figures for real, from runs that teach nothing."""

import csv
import json

import pytest

from cesma_sb3 import cli
from cesma_sb3.analysis.figures.reproduce import reproduce
from cesma_sb3.errors import ConfigError
from cesma_sb3.multirun import plan as plan_module
from cesma_sb3.training.provenance import command_line
from cesma_sb3.training.run_folder import RunFolder
from cesma_sb3.utils.locks import exclusive_lock
from tests.reproduce.tiny import FAILS, TINY, line, panel, write_figure

pytestmark = pytest.mark.usefixtures("runs_in_this_process")
OWN = {**TINY, "dagger.batch_size": 16}


def reports(out):
    """Every finished run, and when its report was written."""
    return {path.parent: path.stat().st_mtime_ns for path in (out / "runs").glob("*/seed-?/report.json")}


@pytest.fixture(scope="module")
def figure(tmp_path_factory):
    first = panel("first", line(), line("other", overrides=OWN))
    return write_figure(tmp_path_factory.mktemp("data") / "mine.yaml", first, panel("second", line()))


@pytest.fixture(scope="module")
def done(figure, tmp_path_factory, runs_in_this_process):
    out = tmp_path_factory.mktemp("out")
    return out, reproduce(figure, out=out, seeds=2, workers=2)


def test_runs_are_shared_and_each_is_made_once(done):
    out, result = done
    assert (result.ran, result.failures) == (4, ())
    folders = [RunFolder.open(path) for path in reports(out)]
    assert sorted((run.experiment.seed, run.experiment.dagger.batch_size) for run in folders) == [
        (seed, size) for seed in (0, 1) for size in (16, 256)
    ]


def test_the_files(done):
    out, result = done
    assert [path.relative_to(out).as_posix() for path in result.files] == [
        f"mine.{suffix}" for suffix in ("png", "svg", "csv", "md")
    ]
    assert result.files[0].read_bytes().startswith(b"\x89PNG")
    with result.files[2].open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["panel"], row["line"], row["seeds"]) for row in rows] == [
        ("first", "CESMA", "2"),
        ("first", "other", "2"),
        ("second", "CESMA", "2"),
    ]
    assert rows[0]["return"] == rows[2]["return"]
    page = result.files[3].read_text()
    assert page.startswith("# A figure\n")
    assert page.count("\n| ") == 2 + 3 - 1 + 1
    assert "2 seeds, budget quick" in page


def test_what_there_is_can_be_drawn_without_a_run(done, figure, tmp_path):
    out, _ = done
    before = reports(out)
    result = reproduce(figure, out=out, seeds=3, draw_only=True)  # two of three are there
    assert result.ran == 0
    assert reports(out) == before
    assert {row["seeds"] for row in result.rows} == {2}
    nothing = reproduce(figure, out=tmp_path / "nothing", draw_only=True)
    assert (nothing.ran, {row["seeds"] for row in nothing.rows}) == (0, {0})
    assert "0 seeds, budget quick" in nothing.files[3].read_text()


def test_again_runs_only_what_is_missing(done, figure):
    out, first = done
    before = reports(out)
    assert reproduce(figure, out=out, seeds=2).ran == 0
    assert reports(out) == before

    gone = sorted(before)[0]
    (gone / "report.json").unlink()  # as of a run that was interrupted
    again = reproduce(figure, out=out, seeds=2)
    assert again.ran == 1
    after = reports(out)
    assert {path for path in after if after[path] != before[path]} == {gone}
    for now, then in zip(again.rows, first.rows, strict=True):
        assert {**now, "seconds": 0} == {**then, "seconds": 0}


def test_a_run_of_other_values_is_set_aside(done, figure):
    out, _ = done
    path = sorted(reports(out))[0]
    config = (path / "config.yaml").read_text()
    (path / "config.yaml").write_text(config.replace("n_eval_episodes: 2", "n_eval_episodes: 3"))
    assert reproduce(figure, out=out, seeds=2).ran == 1
    assert (path / "config.yaml").read_text() == config
    assert "n_eval_episodes: 3" in (path.with_name(f"{path.name}-aside-1") / "config.yaml").read_text()


def test_one_panel_has_files_of_its_own(done, figure):
    out, _ = done
    result = reproduce(figure, out=out, seeds=1, only=["second"])
    assert result.ran == 0
    assert result.files[0] == out / "mine-second.png"
    with pytest.raises(ConfigError, match="--only: unknown panel 'secnd'; did you mean 'second'"):
        reproduce(figure, out=out, only=["secnd"])


@pytest.mark.parametrize("as_json", [True, False])
def test_a_run_that_fails_is_told_of_and_the_others_go_on(tmp_path, capsys, as_json):
    file = write_figure(tmp_path / "f.yaml", panel("p", line("bad", overrides=FAILS), line()))
    words = ["reproduce", str(file), "--seeds", "1", "--workers", "2", "--out", str(tmp_path / "out")]
    with pytest.raises(SystemExit) as caught:
        cli.main([*words, *(["--json"] if as_json else [])])
    assert caught.value.code == 1
    printed = capsys.readouterr()
    (failed,) = [text for text in printed.err.splitlines() if text.startswith("failed: ")]
    assert "spread-3-scripted-" in failed
    assert "labels" in failed
    if as_json:
        found = json.loads(printed.out)
        assert (found["ran"], len(found["failures"])) == (2, 1)
        assert [row["seeds"] for row in found["rows"]] == [0, 1]
    assert (tmp_path / "out" / "f.png").exists()


def test_when_stopped_what_to_type_is_told(tmp_path, monkeypatch, capsys):
    def stop(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(plan_module, "run_jobs", stop)
    file = write_figure(tmp_path / "f.yaml", panel("p", line()))
    with pytest.raises(SystemExit) as caught:
        cli.main(["reproduce", str(file), "--seeds", "1", "--out", str(tmp_path / "out")])
    assert caught.value.code == 130
    assert f"to resume: {command_line()}\n" in capsys.readouterr().err


def test_two_at_once_are_refused(done, figure):
    out, _ = done
    with (
        exclusive_lock(out, "this test is at work"),
        pytest.raises(ConfigError, match="another command makes runs there"),
    ):
        reproduce(figure, out=out)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"seeds": 0}, "seeds: expected at least 1, got 0"),
        ({"workers": 0}, "workers: expected at least 1, got 0"),
        ({"budget": "ful"}, "unknown budget 'ful'; did you mean 'full'"),
    ],
)
def test_bad_arguments(figure, tmp_path, options, told):
    with pytest.raises(ConfigError, match=told):
        reproduce(figure, out=tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()
