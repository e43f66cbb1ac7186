"""A finished run, for tests that spoil copies of it, and commands that must be refused."""

import pytest

from tests.faults.refusals import Refusals, forbid_work


@pytest.fixture(scope="session")
def finished_run(shared_run):
    """The folder of a run with a trained expert and its students; to be copied."""
    return shared_run("small")


@pytest.fixture
def refused(tmp_path, monkeypatch, capfd):
    """Types a command, which must be refused; gives the line."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    forbid_work(monkeypatch)
    return Refusals(folder, capfd)
