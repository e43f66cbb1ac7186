"""The run folder: what it holds, what it refuses, and that it reads back."""

import json
import math
import os
import platform
import sys

import numpy as np
import pytest

from cesma_sb3.config.registry import load_experiment
from cesma_sb3.errors import CesmaError, ConfigError, EnvError, StorageError
from cesma_sb3.training import provenance
from cesma_sb3.training.load import load_students
from cesma_sb3.training.run_folder import RunFolder


@pytest.fixture(scope="module")
def experiment():
    return load_experiment("spread-3-scripted", {"seed": 7, "dagger.n_envs": 8}, check_names=False)


@pytest.fixture
def run(experiment, tmp_path):
    return RunFolder.create(experiment, tmp_path / "out", command="cesma run spread-3-scripted --seed 7")


def test_what_a_new_folder_holds(run, experiment):
    assert sorted(path.name for path in run.path.iterdir()) == [
        "config.yaml",
        "run.json",
        "signature.json",
    ]
    info = json.loads((run.path / "run.json").read_text())
    assert (info["name"], info["seed"], info["status"]) == ("spread-3-scripted", 7, "running")
    assert info["command"] == "cesma run spread-3-scripted --seed 7"
    assert info["versions"]["python"] == platform.python_version()
    assert info["versions"]["numpy"] == np.__version__
    assert info["machine"]["cores"] >= 1
    assert load_experiment(run.path / "config.yaml", check_names=False) == experiment


def test_it_reads_back(run, experiment):
    run.finish({"return": {"expert": np.float32(-15.5)}, "seconds": np.array([1.0, math.nan])})
    again = RunFolder.open(str(run.path))
    assert (again.status, again.experiment, again.info) == ("finished", experiment, run.info)
    assert again.report() == {"return": {"expert": -15.5}, "seconds": [1.0, None]}
    assert again.info["started"] <= again.info["ended"]


def test_a_failure_is_written_on_one_line(run):
    run.fail(ValueError("two\nlines"))
    again = RunFolder.open(run.path)
    assert (again.status, again.info["error"]) == ("failed", "ValueError: two lines")
    with pytest.raises(StorageError, match=r"incomplete, status 'failed': it has no report\.json"):
        again.report()


def test_what_an_unfinished_run_has_not_reached_is_told_with_the_remedy(run):
    run.fail(ValueError("no"))
    again = RunFolder.open(run.path)
    message = rf"incomplete, status 'failed': it has no students; `cesma run --resume {run.path}` finishes it"
    with pytest.raises(StorageError, match=message):
        load_students(again)
    (run.path / "students").mkdir()
    with pytest.raises(StorageError, match="holds no team"):
        load_students(again)


def test_the_traceback_of_a_failure_is_kept_until_the_run_is_resumed(run):
    def innermost():
        return {}["missing"]

    with pytest.raises(KeyError) as caught:
        innermost()
    try:
        raise EnvError("small, step 2") from caught.value
    except EnvError as error:
        run.fail(error)
    log = (run.path / "error.log").read_text()
    assert "in innermost" in log
    assert log.rstrip().endswith("EnvError: small, step 2")
    run.resume()
    assert not (run.path / "error.log").exists()
    run.fail("killed")
    assert not (run.path / "error.log").exists()


def test_runs_never_share_a_folder(experiment, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    paths = [RunFolder.create(experiment).path for _ in range(4)]
    assert len(set(paths)) == 4
    assert all(path.parent.as_posix() == "runs/spread-3-scripted" for path in paths)
    assert all("-seed7" in path.name for path in paths)


def test_out_is_a_new_or_an_empty_folder(experiment, tmp_path):
    (tmp_path / "empty").mkdir()
    assert RunFolder.create(experiment, tmp_path / "empty").path == tmp_path / "empty"
    with pytest.raises(ConfigError, match="holds something already; expected a new or an empty folder"):
        RunFolder.create(experiment, tmp_path / "empty")
    (tmp_path / "file").write_text("")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(ConfigError, match="is a file; expected a new or an empty folder"):
            RunFolder.create(experiment, out)
    assert RunFolder.create(experiment, tmp_path / "a" / "b").path.is_dir()


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/../../x", "", "..", "a\\..\\b", "C:x"])
def test_names_stay_inside(run, name):
    with pytest.raises(StorageError, match="expected a name inside the run folder"):
        run.write_text(name, "x")


def test_a_link_does_not_lead_out(run, tmp_path):
    (run.path / "link").symlink_to(tmp_path)
    with pytest.raises(StorageError, match="leads out of the run folder"):
        run.write_text("link/x", "x")


def test_tables(run):
    run.write_csv(
        "evaluations.csv", [{"stage": "expert", "samples": 0}, {"stage": "students", "return": -1.5}]
    )
    text = (run.path / "evaluations.csv").read_text()
    assert text == "stage,samples,return\nexpert,0,\nstudents,,-1.5\n"
    run.write_csv("evaluations.csv", [])
    assert (run.path / "evaluations.csv").read_text() == "\n"


def test_folders_and_writers(run):
    run.write_folder("students", {"team.json": b"{}"})
    path = run.write_with("expert/model.zip", lambda path: path.write_bytes(b"zip"))
    assert (run.path / "students" / "team.json").read_bytes() == b"{}"
    assert path.read_bytes() == b"zip"


@pytest.mark.parametrize("can_link", [True, False])
def test_arrays_of_another_run_are_on_the_disk_once(can_link, run, experiment, tmp_path, monkeypatch):
    if not can_link:
        monkeypatch.setattr(os, "link", lambda *_: (_ for _ in ()).throw(OSError("another disk")))
    name = "expert/experience.safetensors"
    source = run.write_bytes(name, b"states")
    (tmp_path / "by-link").symlink_to(run.path)
    for number, path in enumerate((source, tmp_path / "by-link" / name)):
        other = RunFolder.create(experiment, tmp_path / f"other-{number}")
        kept = other.keep(name, path)
        assert kept.read_bytes() == b"states"
        assert kept.samefile(source) is can_link
        assert not kept.is_symlink()
        run.write_bytes(name, b"others")  # a file of a run folder is replaced, not changed
        assert kept.read_bytes() == b"states"
        source = run.write_bytes(name, b"states")


def test_what_the_user_may_change_in_place_is_copied(run, experiment, tmp_path):
    other = RunFolder.create(experiment, tmp_path / "other")
    (tmp_path / "mine.safetensors").write_bytes(b"states")
    sources = {
        "expert/experience.safetensors": tmp_path / "mine.safetensors",
        "initial/expert/run.json": None,
    }
    for name, source in sources.items():
        path = source or run.path / "run.json"
        kept, before = other.keep(name, path), path.read_bytes()
        path.write_bytes(b"others")
        assert kept.read_bytes() == before


def test_what_is_no_run_folder(run, tmp_path):
    def problem_of(path):
        with pytest.raises(CesmaError) as caught:
            RunFolder.open(path)
        assert len(str(caught.value).splitlines()) == 1
        return str(caught.value)

    assert problem_of(tmp_path / "none") == f"{tmp_path / 'none'}: no such folder"
    assert problem_of(tmp_path) == f"{tmp_path}: not a run folder: it has no run.json"
    (run.path / "run.json").write_text('{"name": ')
    assert "run.json: cannot be read" in problem_of(run.path)
    (run.path / "run.json").write_text("[]")
    assert "run.json: expected a JSON object" in problem_of(run.path)
    (run.path / "config.yaml").unlink()
    assert "config.yaml: no such file" in problem_of(run.path)


@pytest.mark.parametrize(
    ("argv", "command"),
    [
        (["/venv/bin/cesma", "run", "my file.yaml"], "cesma run 'my file.yaml'"),
        (["/somewhere/cesma_sb3/__main__.py", "run", "spread-3"], "python -m cesma_sb3 run spread-3"),
        ([""], "python"),
    ],
)
def test_the_command_can_be_typed_again(argv, command, monkeypatch):
    monkeypatch.setattr(sys, "argv", argv)
    assert provenance.command_line() == command


def test_passwords_in_urls_are_not_recorded(monkeypatch):
    url = "postgresql://me:s3cret@host:5432/studies"
    monkeypatch.setattr(sys, "argv", ["cesma", "tune", "spread-3", "--storage", url])
    assert provenance.command_line() == "cesma tune spread-3 --storage postgresql://me:***@host:5432/studies"
