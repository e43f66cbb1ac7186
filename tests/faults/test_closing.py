"""What cannot be closed is a warning: the outcome of a run is what it came to, and all others are closed."""

import json
from functools import partial

import pytest
from stable_baselines3.common.logger import CSVOutputFormat, TensorBoardOutputFormat

from cesma_sb3.config.registry import make_experiment
from cesma_sb3.envs.joint_vec_env import joint_vec_env
from cesma_sb3.errors import ClosingWarning
from cesma_sb3.training.run import run_experiment
from cesma_sb3.utils.closing import close_each, closing, logged_by
from tests.envs_for_tests import MatchingGame, UncloseableGame

TINY = {
    "name": "tiny",
    "env": {"id": "tests.envs_for_tests:UncloseableGame"},
    "expert": {
        "algorithm": "PPO",
        "total_timesteps": 16,
        "n_envs": 2,
        "kwargs": {"n_steps": 8, "batch_size": 16, "n_epochs": 1},
        "policy_kwargs": {"net_arch": [4]},
    },
    "dagger": {"total_timesteps": 16, "n_envs": 2, "batch_size": 8},
    "students": {"hidden_sizes": [4]},
    "evaluation": {"n_final_episodes": 2, "n_eval_episodes": 2, "eval_freq": 16, "n_envs": 2},
}


class Thing:
    def __init__(self, error=None):
        self.error, self.is_closed = error, False

    def close(self):
        self.is_closed = True
        if self.error is not None:
            raise self.error


def test_each_is_closed_even_if_another_cannot_be():
    things = [Thing(OSError("disk")), Thing(), Thing(KeyError("gone")), Thing()]
    with pytest.warns(ClosingWarning) as caught:
        close_each(things)
    assert all(thing.is_closed for thing in things)
    (warning,) = caught
    first, second = str(warning.message).split("; ")
    assert first.startswith("Thing: close() raised OSError: disk")
    assert second.startswith("Thing: close() raised KeyError: 'gone'")


def test_what_the_block_raises_outranks_what_closing_raises():
    """Also where warnings are errors, as in these tests."""
    thing = Thing(RuntimeError("close"))
    with pytest.raises(ZeroDivisionError), closing(thing):
        raise ZeroDivisionError
    assert thing.is_closed


def test_an_interrupt_while_closing_is_no_warning():
    with pytest.raises(KeyboardInterrupt), closing(Thing(KeyboardInterrupt())):
        pass


def test_the_traceback_goes_to_the_log_of_the_run_that_closes():
    logged = []
    with logged_by(logged.append), pytest.warns(ClosingWarning), closing(Thing(OSError("disk"))):
        pass
    with pytest.warns(ClosingWarning), closing(Thing(OSError("disk"))):
        pass  # no run's
    (text,) = logged
    assert text.startswith("Traceback")
    assert text.rstrip().endswith("OSError: disk")


@pytest.mark.parametrize("processes", [0, 2])
def test_environments_are_closed_one_and_all(tmp_path, processes):
    venv = joint_vec_env(partial(UncloseableGame, str(tmp_path)), 3, processes=processes)
    venv.reset()
    with pytest.warns(ClosingWarning) as caught:
        venv.close()
    assert len(list(tmp_path.iterdir())) == 3
    (warning,) = caught
    for index in range(3):
        told = f"environment {index}: close() raised RuntimeError: the window was gone"
        assert told in str(warning.message)
    venv.close()  # is closed


def test_environments_that_can_be_closed_are_closed_without_a_word():
    for processes in (0, 1):
        joint_vec_env(MatchingGame, 2, processes=processes).close()


def test_a_run_whose_environments_cannot_be_closed_has_its_results(tmp_path):
    with pytest.warns(ClosingWarning) as caught:
        result = run_experiment(make_experiment(TINY, {}, called="tiny"), out=tmp_path / "run")
    told = "environment 0: close() raised RuntimeError: the window was gone"
    assert sum(told in str(warning.message) for warning in caught) == 3  # of each stage, and the evaluator's
    folder = result.run_dir
    assert json.loads((folder / "run.json").read_text())["status"] == "finished"
    assert json.loads((folder / "report.json").read_text())["return"].keys() >= {"expert", "students"}
    assert (folder / "error.log").read_text().count("RuntimeError: the window was gone") == 6


def test_a_logger_that_cannot_be_closed_costs_nothing(tmp_path, monkeypatch):
    """Its other outputs are closed, and the run has its results."""
    closed = []

    def fail(self):
        self.file.close()
        raise OSError("the file was gone")

    monkeypatch.setattr(CSVOutputFormat, "close", fail)
    monkeypatch.setattr(TensorBoardOutputFormat, "close", lambda self: closed.append(type(self)))
    values = {"env": {"id": "tests.envs_for_tests:MatchingGame"}}
    with pytest.warns(ClosingWarning, match="CSVOutputFormat: close\\(\\) raised OSError: the file was gone"):
        result = run_experiment(make_experiment({**TINY, **values}, {}, called="tiny"), out=tmp_path / "run")
    assert len(closed) == 2
    assert (result.run_dir / "report.json").exists()
