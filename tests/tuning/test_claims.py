"""Who is alive: by heartbeats in databases, by locks beside a journal."""

import subprocess
import sys
import time

import optuna
import pytest

from cesma_sb3.errors import CesmaWarning
from cesma_sb3.multirun.tuning import claims, work
from cesma_sb3.multirun.tuning import storage as optuna_storage
from cesma_sb3.multirun.tuning.claims import Claims
from cesma_sb3.multirun.tuning.study_config import StudyConfig
from cesma_sb3.multirun.tuning.workers import Workers

PRESENT = """
import sys, optuna
from cesma_sb3.multirun.tuning import claims
study = optuna.create_study()
with claims.Claims(study, sys.argv[1]).present():
    print(claims.own_name(), flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def journal(tmp_path):
    return f"journal:///{tmp_path}/study.log"


def study_of(storage: str | None) -> optuna.Study:
    with optuna_storage.quiet():
        return optuna_storage.open_study("mine", storage, {})


def states(study: optuna.Study) -> list[str]:
    return [trial.state.name for trial in study.get_trials()]


def begun_by(study: optuna.Study, name: str) -> None:
    study.ask().set_user_attr(claims.WORKER, name)


def test_a_worker_of_a_journal_is_alive_until_its_process_is_killed(journal, tmp_path):
    study = study_of(journal)
    found = Claims(study, journal)
    command = [sys.executable, "-W", "ignore", "-c", PRESENT, journal]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as other:
        begun_by(study, other.stdout.readline().strip())
        found.revive()
        assert states(study) == ["RUNNING"]
        assert [trial.number for trial in found.running()] == [0]
        other.kill()
    assert found.running() == []
    told = []
    found.revive(told.append)
    assert states(study) == ["FAIL", "WAITING"]
    assert told == ["trial 0: its worker died; the trial is run again"]
    assert list(tmp_path.glob("*.lock")) == []  # what it left is removed


def test_a_worker_that_has_left_is_not_alive(journal, tmp_path):
    study = study_of(journal)
    found = Claims(study, journal)
    with found.present():
        begun_by(study, claims.own_name())
        found.revive()
    assert states(study) == ["RUNNING"]  # its own trial is never lost to itself
    assert list(tmp_path.glob("*.lock")) == []
    begun_by(study, "another-1")
    found.revive()
    assert states(study) == ["RUNNING", "FAIL", "WAITING"]


@pytest.mark.parametrize("name", ["../../elsewhere-1", "-", "a b-2", "0"])
def test_a_strange_name_is_nobody_and_harms_nobody(journal, tmp_path, name):
    (tmp_path.parent / "elsewhere-1").touch()
    study = study_of(journal)
    begun_by(study, name)
    Claims(study, journal).revive()
    assert states(study) == ["FAIL", "WAITING"]
    assert (tmp_path.parent / "elsewhere-1").exists()


@pytest.mark.filterwarnings("ignore:Heartbeat of storage is supposed:UserWarning")
def test_in_a_database_a_worker_is_alive_as_long_as_its_heart_beats(tmp_path, monkeypatch):
    monkeypatch.setattr(optuna_storage, "HEARTBEAT_SECONDS", 1)
    storage = f"sqlite:///{tmp_path}/study.db"
    study = study_of(storage)
    trial = study.ask()
    trial.set_user_attr(claims.WORKER, "another-1")
    study._storage.record_heartbeat(trial._trial_id)
    found = Claims(study, storage)
    found.revive()
    assert states(study) == ["RUNNING"]
    assert [each.number for each in found.running()] == [0]
    while states(study) == ["RUNNING"]:  # it is silent from now on
        found.revive()
        time.sleep(0.2)
    assert states(study) == ["FAIL", "WAITING"]


@pytest.mark.filterwarnings("ignore:Heartbeat of storage is supposed:UserWarning")
def test_a_worker_that_this_process_started_and_saw_end_is_not_waited_for(tmp_path):
    storage = f"sqlite:///{tmp_path}/study.db"
    study = study_of(storage)
    begun_by(study, "mine-1")
    begun_by(study, "other-1")
    Claims(study, storage).revive(dead={"mine"})
    assert states(study) == ["FAIL", "RUNNING", "WAITING"]


@pytest.mark.filterwarnings("ignore:Heartbeat of storage is supposed:UserWarning")
def test_where_nobody_else_works_every_running_trial_was_left(tmp_path):
    storage = f"sqlite:///{tmp_path}/study.db"
    study = study_of(storage)
    begun_by(study, "other-1")
    Claims(study, storage).revive(alone=True)
    assert states(study) == ["FAIL", "WAITING"]


def test_a_trial_that_nobody_claims_is_given_up_by_ones_own_clock(monkeypatch):
    """Whatever the clock of the machine that began it shows."""
    study = study_of(None)
    study.ask()
    found = Claims(study, None)
    now = time.monotonic()
    monkeypatch.setattr(claims.time, "monotonic", lambda: now)
    found.revive()
    assert states(study) == ["RUNNING"]
    now += claims._UNCLAIMED_SECONDS + 1
    assert found.running() == []
    found.revive()
    assert states(study) == ["FAIL", "WAITING"]


def test_several_that_begin_at_once_are_not_too_many():
    study = study_of(None)
    found = Claims(study, None)
    begun = [study.ask() for _ in range(3)]
    for trial in begun:
        trial.set_user_attr(claims.WORKER, claims.own_name())
    assert [found.is_surplus(trial.number, 2) for trial in begun] == [False, False, True]
    study.tell(begun[0], 1.0)
    assert found.is_surplus(2, 2)
    study.tell(begun[1], state=optuna.trial.TrialState.FAIL)  # interrupted: it does not count
    assert not found.is_surplus(2, 2)


def test_workers_get_a_name_and_what_is_secret_in_their_environment(tmp_path, monkeypatch):
    seen = []

    def start(command, *, env, **options):
        seen.append((command, env))
        return subprocess.Popen([sys.executable, "-c", ""], **options)

    stand_in = type("", (), {**vars(subprocess), "Popen": start})
    monkeypatch.setattr("cesma_sb3.utils.processes.subprocess", stand_in)
    secret = {optuna_storage.STORAGE: "sqlite:///x?password=Tr0ub4dor"}
    with Workers(["tune-worker"], 2, tmp_path, secret) as team:
        while team.is_working():
            time.sleep(0.05)
    names = {env[claims.VARIABLE] for _, env in seen}
    assert team.ended == names
    assert len(names) == 2
    for command, env in seen:
        assert "Tr0ub4dor" not in " ".join(command)
        assert env["CESMA_STORAGE"] == "sqlite:///x?password=Tr0ub4dor"


def test_a_lock_that_was_left_is_told_of(tmp_path):
    journal = tmp_path / "study.log"
    journal.touch()
    journal.with_name("study.log.lock").symlink_to(journal)
    with pytest.warns(CesmaWarning, match=r"study\.log\.lock: is held, perhaps by a process that was killed"):
        optuna_storage._storage(f"journal:///{journal}")


def test_a_trial_that_is_interrupted_is_run_again(monkeypatch, tmp_path):
    """Ctrl-C: Optuna counts the trial as failed, and its values are drawn no second time."""
    study = optuna.create_study()

    def stopped(config, trial):
        trial.suggest_float("x", 0.0, 1.0)
        raise KeyboardInterrupt

    monkeypatch.setattr(work, "run_trial", stopped)
    config = StudyConfig("s", "e", None, {}, "students", (0,), None, None, tmp_path, "", "random", "none")
    with pytest.raises(KeyboardInterrupt):
        work.run_one(Claims(study, None), config, None)
    first, again = study.get_trials()
    assert first.state is optuna.trial.TrialState.FAIL
    assert again.state is optuna.trial.TrialState.WAITING
    assert study.ask().suggest_float("x", 0.0, 1.0) == first.params["x"]
