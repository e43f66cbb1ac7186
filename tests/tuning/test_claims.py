"""Who is alive: by heartbeats where there are any, else by a process that is seen, else nobody is dead."""

import dataclasses
import os
import subprocess
import sys
import time

import optuna
import pytest

from cesma_sb3.errors import CesmaWarning
from cesma_sb3.multirun.tuning import claims
from cesma_sb3.multirun.tuning import storage as optuna_storage
from cesma_sb3.multirun.tuning import study as study_module
from cesma_sb3.multirun.tuning.claims import Worker
from cesma_sb3.multirun.tuning.workers import Workers

GONE = 2**22 + 1
"""No process has this number: it is above Linux's highest."""


def study_of(storage: str | None) -> optuna.Study:
    with optuna_storage.quiet():
        return optuna_storage.open_study("mine", storage, {})


def states(study: optuna.Study) -> list[str]:
    return [trial.state.name for trial in study.get_trials()]


@pytest.mark.parametrize("host", ["node7", "node:1", "fe80::1:2", "a b", ""])
def test_a_name_is_read_back(host):
    worker = dataclasses.replace(Worker.of(), host=host)
    assert Worker.read(worker.name) == worker


@pytest.mark.parametrize("name", [None, 3, "", "host:1:2", "x:1:2:3:4", "node:1:77:99"])
def test_what_is_no_name_is_nobody(name):
    assert Worker.read(name) is None


def test_processes_here_are_seen():
    assert not Worker.of().is_gone(elsewhere=True)
    assert not Worker.of(os.getppid()).is_gone(elsewhere=True)
    assert Worker.of(GONE).is_gone(elsewhere=False)
    assert dataclasses.replace(Worker.of(), began="1").is_gone(elsewhere=False)  # its number was given again


def test_one_that_has_ended_and_was_not_waited_for_is_gone():
    process = subprocess.Popen([sys.executable, "-c", ""])
    worker = Worker.of(process.pid)
    while not worker.is_gone(elsewhere=False):
        time.sleep(0.01)
    process.wait()
    assert worker.is_gone(elsewhere=False)


@pytest.mark.parametrize("field", ["namespace", "boot", "host"])
@pytest.mark.parametrize("elsewhere", [True, False])
def test_processes_elsewhere_cannot_be_seen(field, elsewhere):
    """Another container, another start of the machine, another machine: all may share two of the three."""
    worker = dataclasses.replace(Worker.of(GONE), **{field: "another"})
    assert worker.is_gone(elsewhere=elsewhere) is elsewhere


def test_where_the_system_does_not_tell_nobody_is_taken_for_dead(monkeypatch):
    monkeypatch.setattr(claims, "_here", lambda: ("", "", "host"))
    assert not Worker.of(GONE).is_gone(elsewhere=False) or sys.platform != "linux"


@pytest.mark.filterwarnings("ignore:Heartbeat of storage is supposed:UserWarning")
def test_a_heartbeat_outranks_what_is_seen_of_processes(tmp_path, monkeypatch):
    monkeypatch.setattr(optuna_storage, "HEARTBEAT_SECONDS", 1)
    study = study_of(f"sqlite:///{tmp_path}/study.db")
    trial = study.ask()
    trial.set_user_attr(claims.WORKER, Worker.of(GONE).name)
    study._storage.record_heartbeat(trial._trial_id)
    claims.revive(study, alone=False)
    assert states(study) == ["RUNNING"]
    assert [each.number for each in claims.running(study)] == [0]
    while states(study) == ["RUNNING"]:  # it is silent from now on
        claims.revive(study)
        time.sleep(0.2)
    assert states(study) == ["FAIL", "WAITING"]


@pytest.mark.filterwarnings("ignore:Heartbeat of storage is supposed:UserWarning")
@pytest.mark.parametrize("storage", ["sqlite:///{}/study.db", "journal:///{}/study.log"])
def test_a_worker_that_this_process_started_and_saw_end_is_not_waited_for(tmp_path, storage):
    study = study_of(storage.format(tmp_path))
    mine, other = study.ask(), study.ask()
    name = dataclasses.replace(Worker.of(GONE), host="another").name
    mine.set_user_attr(claims.WORKER, name)
    other.set_user_attr(claims.WORKER, name.replace("another", "a third"))
    told = []
    claims.revive(study, told.append, dead={name})
    assert states(study) == ["FAIL", "RUNNING", "WAITING"]
    assert told == ["trial 0: its worker died, it is done again"]


@pytest.mark.parametrize(("alone", "expected"), [(True, ["FAIL", "WAITING"]), (False, ["RUNNING"])])
def test_in_a_journal_of_ones_own_nobody_elsewhere_is_at_work(tmp_path, alone, expected):
    study = study_of(f"journal:///{tmp_path}/study.log")
    study.ask().set_user_attr(claims.WORKER, dataclasses.replace(Worker.of(GONE), namespace="another").name)
    claims.revive(study, alone=alone)
    assert states(study) == expected


def test_a_trial_that_nobody_claims_is_given_up_by_ones_own_clock(monkeypatch):
    """Whatever the clock of the machine that began it shows."""
    study = study_of(None)
    study.ask()
    now = time.monotonic()
    monkeypatch.setattr(claims.time, "monotonic", lambda: now)
    claims.revive(study)
    assert states(study) == ["RUNNING"]
    now += claims._UNCLAIMED_SECONDS + 1
    assert claims.running(study) == []
    claims.revive(study)
    assert states(study) == ["FAIL", "WAITING"]


def test_the_names_of_those_that_ended_are_known(tmp_path):
    with Workers(["list"], 1, tmp_path, None, {"CESMA_TEST": "told"}) as team:
        (name,) = team._names.values()
        assert team.ended == set()
        while team.is_working():
            time.sleep(0.05)
        assert team.ended == {name}
    assert Worker.read(name).began


def test_workers_get_what_is_secret_in_their_environment(tmp_path, monkeypatch):
    seen = {}

    def start(command, *, env, **options):
        seen.update(command=command, env=env)
        return subprocess.Popen([sys.executable, "-c", ""], **options)

    monkeypatch.setattr(
        "cesma_sb3.multirun.tuning.workers.subprocess", type("", (), {**vars(subprocess), "Popen": start})
    )
    with Workers(["tune"], 1, tmp_path, None, {optuna_storage.STORAGE: "sqlite:///x?password=Tr0ub4dor"}):
        pass
    assert "Tr0ub4dor" not in " ".join(seen["command"])
    assert seen["env"]["CESMA_STORAGE"] == "sqlite:///x?password=Tr0ub4dor"
    assert seen["env"]["PATH"] == os.environ["PATH"]


def test_a_lock_that_was_left_is_told_of(tmp_path):
    journal = tmp_path / "study.log"
    journal.touch()
    journal.with_name("study.log.lock").symlink_to(journal)
    with pytest.warns(CesmaWarning, match=r"study\.log\.lock: is held, perhaps by a process that was killed"):
        optuna_storage._storage(f"journal:///{journal}")


def test_a_trial_that_is_interrupted_is_done_again():
    """Ctrl-C: Optuna counts the trial as failed, and its values are drawn no second time."""
    study = optuna.create_study()

    def stopped(trial):
        trial.suggest_float("x", 0.0, 1.0)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        study_module._run_one(study, stopped, None)
    first, again = study.get_trials()
    assert first.state is optuna.trial.TrialState.FAIL
    assert again.state is optuna.trial.TrialState.WAITING
    assert study.ask().suggest_float("x", 0.0, 1.0) == first.params["x"]
