"""A finished run, for tests that spoil copies of it, and commands that must be refused."""

import pytest

import cesma_sb3
from tests.faults.refusals import Refusals, forbid_work

SMALL = {
    "expert": {"total_timesteps": 64, "n_envs": 8},
    "dagger": {"total_timesteps": 128, "n_envs": 8, "batch_size": 16},
    "students": {"network": "feed-forward", "hidden_sizes": [8]},
    "evaluation": {"n_final_episodes": 2, "n_eval_episodes": 2, "eval_freq": 64, "n_envs": 2},
}


@pytest.fixture(scope="session")
def finished_run(tmp_path_factory):
    """The folder of a run with a trained expert and its students; to be copied."""
    return cesma_sb3.run("spread-3", out=tmp_path_factory.mktemp("finished") / "run", **SMALL).run_dir


@pytest.fixture
def refused(tmp_path, monkeypatch, capfd):
    """Types a command, which must be refused; gives the line."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    forbid_work(monkeypatch)
    return Refusals(folder, capfd)
