"""Input that is wrong: refused in one line that says what and where, before anything is done."""

from pathlib import Path

import pytest
import yaml

from tests.faults.refusals import Refusals, forbid_work

TABLES = Path(__file__).parent


def rows(table):
    """Cases of a table: the name of its part, what is wrong, and what must be told."""
    parts = yaml.safe_load((TABLES / f"{table}.yaml").read_text())
    return [
        pytest.param(part, bad, told, id=str(bad)) for part, cases in parts.items() for bad, *told in cases
    ]


@pytest.fixture
def refused(tmp_path, monkeypatch, capfd):
    """Types a command, which must be refused; gives the line."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    forbid_work(monkeypatch)
    return Refusals(folder, capfd)


@pytest.mark.parametrize(("part", "text", "told"), rows("bad_experiments"))
def test_experiments(part, text, told, refused):
    refused.write({"mine.yaml": text if part == "the whole file" else f"extends: {part}\n{text}"})
    refused("run", "mine.yaml", told=told)


def test_a_name_that_no_folder_can_have(refused):
    refused.write({"mine.yaml": f"extends: spread-3\nname: {'a' * 300}"})
    refused("run", "mine.yaml", told="mine.yaml: name: expected at most 100 letters, got 300")
