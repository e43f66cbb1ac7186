"""A run that is killed leaves no half-written file."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from cesma_sb3.training.run_folder import RunFolder
from cesma_sb3.utils import atomic

KILLS = 24


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks the process that it kills")
def test_every_file_is_whole_after_a_kill(tmp_path):
    writer = Path(__file__).with_name("killed_writer.py")
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    subprocess.run([sys.executable, writer, str(tmp_path), str(KILLS), "0"], check=True, env=environment)
    folders = sorted(tmp_path.iterdir())
    assert len(folders) == KILLS
    found_leftovers = 0
    for folder in folders:
        run = RunFolder.open(folder)
        check_contents(run)
        found_leftovers += len(atomic.leftovers(run.path))
        removed = atomic.clean(run.path)
        assert not any(path.exists() for path in removed)
        assert not atomic.leftovers(run.path)
        check_contents(run)
        assert not list(folder.rglob(f"{atomic.PREFIX}*"))
    assert found_leftovers  # else no kill came in the middle of a write, and the test has shown nothing


def check_contents(run):
    report = run.report()
    assert set(report["padding"]) == {report["generation"]}
    with (run.path / "evaluations.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 200
    assert len({row["generation"] for row in rows}) == 1
    model = (run.path / "expert" / "model.bin").read_bytes()
    assert len(model) == 70_000
    assert model == model[:7] * 10_000
    students = run.path / "students"
    if students.exists():  # killed between two renames: the old one is a leftover
        contents = {path.name: path.read_bytes() for path in students.iterdir()}
        assert set(contents) == {"team.json", "team.bin"}
        assert len(set(contents.values())) == 1
    names = {path.name for path in run.path.iterdir() if not path.name.startswith(atomic.PREFIX)}
    files = {"config.yaml", "run.json", "signature.json", "report.json", "evaluations.csv"}
    assert names <= {*files, "expert", "students"}
    assert run.is_own


def test_a_writer_that_fails_leaves_the_old_file(tmp_path):
    path = tmp_path / "report.json"
    atomic.write(path, lambda p: p.write_text("{}"))

    def fail(temporary):
        temporary.write_text("{")
        raise RuntimeError("disk full")

    with pytest.raises(RuntimeError, match="disk full"):
        atomic.write(path, fail)
    assert json.loads(path.read_text()) == {}
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_is_replaced_as_a_whole(tmp_path):
    path = tmp_path / "deep" / "students"
    atomic.write_folder(path, {"a": b"1", "b": b"1"})
    atomic.write_folder(path, {"c": b"2", "below/d": b"2"})

    def written():
        return {f.relative_to(path).as_posix(): f.read_bytes() for f in path.rglob("*") if f.is_file()}

    assert written() == {"c": b"2", "below/d": b"2"}
    with pytest.raises(FileExistsError):
        atomic.write_folder(path, {"c": b"3", "c/below": b"3"})
    assert written() == {"c": b"2", "below/d": b"2"}
    assert list(path.parent.iterdir()) == [path]


def test_leftovers_are_told_from_files(tmp_path):
    (tmp_path / "keep.json").write_text("{}")
    (tmp_path / "expert").mkdir()
    (tmp_path / "expert" / f"{atomic.PREFIX}0-model.zip").write_text("half")
    (tmp_path / f"{atomic.PREFIX}1-students").mkdir()
    (tmp_path / f"{atomic.PREFIX}1-students" / f"{atomic.PREFIX}2-x").write_text("half")
    found = atomic.leftovers(tmp_path)
    assert [path.name for path in found] == [f"{atomic.PREFIX}1-students", f"{atomic.PREFIX}0-model.zip"]
    assert atomic.clean(tmp_path) == found
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["expert", "keep.json"]


def test_a_temporary_name_keeps_the_suffix(tmp_path):
    seen = []
    atomic.write(tmp_path / "figure.png", lambda path: (seen.append(path), path.write_text("x")))
    assert seen[0].suffix == ".png"
    assert seen[0].parent == tmp_path
