"""Studies for real, on a budget that teaches nothing."""

import csv
import json
import sqlite3
from contextlib import closing

import pytest

import cesma_sb3
from cesma_sb3 import cli, load_experiment
from cesma_sb3.errors import CesmaError, ConfigError
from cesma_sb3.multirun.tuning import claims
from cesma_sb3.multirun.tuning import storage as optuna_storage
from cesma_sb3.multirun.tuning import study as study_module
from cesma_sb3.training import run as run_module
from cesma_sb3.training import trust
from cesma_sb3.training.run_folder import RunFolder

TINY = {
    "dagger.total_timesteps": 128,
    "dagger.n_envs": 8,
    "students.network": "feed-forward",
    "evaluation": {"n_final_episodes": 4, "n_eval_episodes": 2, "eval_freq": 128, "n_envs": 2},
}
SPACE = """\
dagger.learning_rate: {low: 1e-3, high: 1, log: true}
dagger.batch_size: {choices: [8, 16]}
students.hidden_sizes: {choices: [[8], [8, 8]]}
"""
# Half of the points are refused: the scripted expert has no distribution.
LABELS = "dagger.labels: {choices: [hard, soft]}\ndagger.batch_size: {low: 8, high: 16}\n"


@pytest.fixture(scope="module")
def space(tmp_path_factory):
    file = tmp_path_factory.mktemp("space") / "tiny.yaml"
    file.write_text(SPACE)
    return file


@pytest.fixture(scope="module")
def done(space, tmp_path_factory):
    out = tmp_path_factory.mktemp("work") / "study"
    return study_module.tune("spread-3-scripted", space=space, trials=3, seed=1, out=out, **TINY)


@pytest.fixture
def instant(monkeypatch, tmp_path):
    """In place of real runs: a score that follows from the values; gives the calls."""
    calls = []

    def run(experiment, *, out, watch):
        calls.append((out, experiment))
        if experiment.dagger.labels == "soft":
            raise ConfigError("dagger.labels: no distribution")
        report = scored(-experiment.dagger.learning_rate)
        return run_module.RunResult(None, None, report, out)

    monkeypatch.setattr(run_module, "run_experiment", run)
    monkeypatch.chdir(tmp_path)
    return calls


def scored(score, value=-50.0):
    samples = {"expert": 0, "decentralize": 100}
    return {"normalized": {"students": score}, "return": {"students": value}, "env_samples": samples}


def tune(space, trials, **options):
    return study_module.tune("spread-3-scripted", space=space, trials=trials, **options)


def values(result):
    return [trial.user_attrs.get("values") for trial in result.study.trials]


def table(folder):
    with (folder / study_module.TRIALS).open(newline="") as file:
        return list(csv.DictReader(file))


def test_each_trial_is_a_whole_run(done):
    for number, point in enumerate(values(done)):
        run = RunFolder.open(done.folder / f"trial-{number}")
        assert run.status == "finished"
        assert run.experiment == load_experiment("spread-3-scripted", {**TINY, **point, "seed": 1})
        assert run.report()["normalized"]["students"] == done.study.trials[number].value
    assert done.objective == max(trial.value for trial in done.study.trials)


def test_the_best_runs_again_to_the_same_score(done, tmp_path):
    again = cesma_sb3.run(done.folder / study_module.BEST, out=tmp_path / "again")
    assert again.report["normalized"]["students"] == pytest.approx(done.objective)
    best = RunFolder.open(done.folder / f"trial-{done.study.best_trial.number}").experiment
    own = {"name": "spread-3-scripted-tiny-seed1", "description": load_best(done).description}
    assert load_best(done) == best.model_copy(update=own)
    assert "extends: spread-3-scripted\n" in (done.folder / study_module.BEST).read_text()


def load_best(result):
    return load_experiment(result.folder / study_module.BEST)


def test_the_table_has_every_trial(done):
    rows = table(done.folder)
    assert [row["state"] for row in rows] == ["complete"] * 3
    assert [float(row["dagger.learning_rate"]) for row in rows] == [
        point["dagger.learning_rate"] for point in values(done)
    ]


def test_without_a_reference_the_return_counts(monkeypatch, space, tmp_path):
    result = run_module.RunResult(None, None, scored(float("nan"), -3.5), tmp_path)
    monkeypatch.setattr(run_module, "run_experiment", lambda *a, **k: result)
    assert tune(space, 1, out=tmp_path / "study").objective == -3.5


def test_same_seed_same_values(instant, space, tmp_path):
    first, again, other = (
        values(tune(space, 14, seed=seed, out=tmp_path / str(index))) for index, seed in enumerate([3, 3, 4])
    )
    assert first == again != other
    assert len({json.dumps(point) for point in first}) == 14


def test_the_first_trial_has_the_experiments_own_values(instant, tmp_path):
    """What the space has of them: the rest is drawn."""
    space = tmp_path / "own.yaml"
    space.write_text(
        "dagger.learning_rate: {low: 1e-4, high: 1, log: true}\n"
        "dagger.batch_size: {low: 64, high: 512, step: 64}\n"
        "students.hidden_sizes: {choices: [[8], [64, 64]]}\n"
        "dagger.weight_decay: {choices: [0.5, 0.25]}\n"
        "dagger.beta.schedule: {choices: [none, linear]}\n"
        "dagger.beta.rounds: {low: 5, high: 50, when: {dagger.beta.schedule: linear}}\n"
    )
    own = load_experiment("spread-3-scripted")
    first, second = values(tune(space, 2, out=tmp_path / "study"))
    assert first.pop("dagger.weight_decay") in (0.5, 0.25)
    assert first == {
        "dagger.learning_rate": own.dagger.learning_rate,
        "dagger.batch_size": own.dagger.batch_size,
        "students.hidden_sizes": list(own.students.hidden_sizes),
        "dagger.beta.schedule": "none",
    }
    assert second["dagger.learning_rate"] != first["dagger.learning_rate"]


def test_a_study_goes_on_as_if_it_had_never_stopped(instant, space, tmp_path):
    stored = {"storage": f"sqlite:///{tmp_path / 'study.db'}", "study": "mine", "out": tmp_path / "stored"}
    whole = tune(space, 14, out=tmp_path / "whole")
    instant.clear()
    for trials, ran in ((6, 6), (14, 14), (14, 14), (5, 14)):
        result = tune(space, trials, **stored)
        assert len(instant) == ran
    assert values(result) == values(whole)
    assert [out.name for out, _ in instant] == [f"trial-{number}" for number in range(14)]
    assert result.values == whole.values
    with closing(sqlite3.connect(tmp_path / "study.db")) as database:
        assert database.execute("select count(*) from trials").fetchone() == (14,)


def test_another_experiment_or_space_needs_another_study(instant, space, tmp_path):
    stored = {"storage": f"sqlite:///{tmp_path / 'study.db'}", "study": "mine"}
    tune(space, 1, **stored)
    with pytest.raises(ConfigError, match="'mine': was made with another experiment"):
        tune(space, 2, **stored, **{"dagger.n_envs": 9})
    with pytest.raises(ConfigError, match="'mine': was made with another space"):
        tune("dagger", 2, **stored)


def test_a_refused_trial_is_recorded_and_the_study_goes_on(tmp_path):
    (tmp_path / "labels.yaml").write_text(LABELS)
    numbers = {**TINY, "env.kwargs.continuous_actions": True}  # which have no soft labels
    result = tune(tmp_path / "labels.yaml", 4, seed=2, out=tmp_path / "study", **numbers)
    labels = [point["dagger.labels"] for point in values(result)]
    assert set(labels) == {"hard", "soft"}
    for label, trial, row in zip(labels, result.study.trials, table(result.folder), strict=True):
        assert trial.state.name == {"hard": "COMPLETE", "soft": "FAIL"}[label]
        assert row["cause"] == trial.user_attrs.get("cause", "")
        assert bool(row["cause"]) == (label == "soft")
    assert result.values["dagger.labels"] == "hard"


def test_a_study_in_which_every_trial_is_refused(instant, tmp_path):
    (tmp_path / "soft.yaml").write_text("dagger.labels: {choices: [soft]}")
    with pytest.raises(CesmaError, match=r"no trial finished; the last failed: dagger.labels: no distrib"):
        tune(tmp_path / "soft.yaml", 2, out=tmp_path / "study")
    assert [row["state"] for row in table(tmp_path / "study")] == ["fail"] * 2
    assert not (tmp_path / "study" / study_module.BEST).exists()


@pytest.mark.parametrize("stop", [KeyboardInterrupt, ZeroDivisionError])
def test_a_bug_or_an_interrupt_stops_and_its_trial_is_done_again(instant, monkeypatch, space, tmp_path, stop):
    stored = {"storage": f"sqlite:///{tmp_path / 'study.db'}", "out": tmp_path / "stored"}
    whole = tune(space, 3, out=tmp_path / "whole")
    tune(space, 1, **stored)

    def fail(*args, **kwargs):
        raise stop

    with monkeypatch.context() as broken:
        broken.setattr(run_module, "run_experiment", fail)
        with pytest.raises(stop):
            tune(space, 3, **stored)
    assert [row["state"] for row in table(tmp_path / "stored")] == ["complete", "fail"]
    points = values(tune(space, 3, **stored))
    assert points[1] == points[2]
    assert [points[0], *points[2:]] == values(whole)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"trials": 0}, "trials: expected at least 1, got 0"),
        ({"minutes": -1}, "minutes: expected more than 0, got -1"),
        ({"sampler": "tpa"}, "sampler: unknown sampler 'tpa'; did you mean 'tpe'?"),
        ({"pruner": "medien"}, "pruner: unknown pruner 'medien'; did you mean 'median'?"),
        ({"objective": "student"}, "objective: unknown objective 'student'; did you mean 'students'?"),
        ({"objective": "students-and-samples", "pruner": "median"}, "pruner: expected none with two"),
        ({"sampler": "grid"}, "dagger.learning_rate"),
        ({"stage_wise": True, "objective": "expert"}, "stage_wise: expected"),
        ({"expert": "nowhere"}, "nowhere: no such folder"),
        ({"study": "a/b"}, "study: expected letters, digits and - _ . only, got 'a/b'"),
        ({"storage": "nonsense"}, "storage: nonsense: expected sqlite:///FILE"),
        ({"dagger.batch_size": 3}, "override: dagger.batch_size: this value is tuned by"),
        ({"dagger.batch_sise": 3}, "override: dagger.batch_sise: unknown key"),
    ],
)
def test_bad_input_before_anything_runs(instant, space, tmp_path, options, told):
    with pytest.raises(CesmaError) as caught:
        tune(space, **{"trials": 1, **options})
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)
    assert instant == []
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("what", ["another study", "a run", "a file"])
def test_a_folder_that_holds_something_else_is_refused(instant, space, tmp_path, what):
    folder = tmp_path / "taken"
    if what == "another study":
        tune(space, 1, study="other", out=folder)
        instant.clear()
    else:
        folder.mkdir()
        (folder / {"a run": "run.json", "a file": "notes.txt"}[what]).write_text("{}")
    before = sorted(folder.rglob("*"))
    with pytest.raises(ConfigError, match=r"taken: holds something already, and no study 'mine'; expected a"):
        tune(space, 1, study="mine", out=folder)
    assert instant == []
    assert sorted(folder.rglob("*")) == before


@pytest.mark.parametrize("end", [KeyboardInterrupt, SystemExit])
def test_the_same_call_resumes_a_study_in_its_folder(instant, space, monkeypatch, end):
    """With its finished trials, as if it had never stopped: what is drawn is what would have been drawn."""
    whole = tune(space, 2, study="whole")
    instant.clear()
    run = run_module.run_experiment

    def stop_the_second(experiment, *, out, watch):
        if len(instant) == 1:
            raise end
        return run(experiment, out=out, watch=watch)

    monkeypatch.setattr(run_module, "run_experiment", stop_the_second)
    with pytest.raises(end):
        tune(space, 2, study="stopped")
    monkeypatch.setattr(run_module, "run_experiment", run)
    found = tune(space, 2, study="stopped")
    finished = [trial for trial in found.study.trials if trial.state.name == "COMPLETE"]
    assert [trial.user_attrs["values"] for trial in finished] == values(whole)
    assert found.objective == whole.objective
    assert len(instant) == 2
    assert tune(space, 2, study="stopped").values == whole.values
    assert len(instant) == 2  # nothing is left to do


def test_a_stage_wise_study_resumes_too(instant, space, tmp_path, monkeypatch):
    trained = []

    def run_expert(experiment, *, out, watch):
        trained.append(out)
        (out / "expert").mkdir(parents=True)
        for name in ("policy", "experience"):
            (out / "expert" / f"{name}.safetensors").touch()
        return {"normalized": {"expert": 0.5}, "return": {"expert": 1.0}}

    monkeypatch.setattr(run_module, "run_expert", run_expert)
    expert = load_experiment("spread-3").to_mapping()["expert"]
    monkeypatch.setattr(study_module, "expert_values", lambda folder, seed, *, trust: expert)
    (tmp_path / "expert.yaml").write_text("expert.kwargs.gamma: {low: 0.9, high: 0.99}")
    call = {"space": [tmp_path / "expert.yaml", space], "stage_wise": True, "study": "both", "trials": 2}
    first, second = (study_module.tune("spread-3", **call) for _ in range(2))
    assert first.values == second.values
    assert len(trained) == len(instant) == 2


@pytest.mark.parametrize("name", ["1:2:another-container:another-start:host", "of an earlier release"])
def test_trials_of_a_killed_command_are_done_again(instant, space, name):
    """Also of one in a container that is no more: the folder is locked while a command works there."""
    tune(space, 1, study="killed")
    url = f"journal:///{study_module._folder('killed', None) / study_module.JOURNAL}"
    with optuna_storage.quiet():
        study = optuna_storage.open_study("killed", url, {})
        study.ask().set_user_attr(claims.WORKER, name)
    found = tune(space, 2, study="killed").study.trials
    assert [trial.state.name for trial in found] == ["COMPLETE", "FAIL", "COMPLETE"]


def test_two_commands_do_not_work_in_one_folder(instant, space, monkeypatch):
    run, told = run_module.run_experiment, []

    def call_again(experiment, *, out, watch):
        with pytest.raises(ConfigError) as caught:
            tune(space, 1, study="mine")
        told.append(str(caught.value))
        return run(experiment, out=out, watch=watch)

    monkeypatch.setattr(run_module, "run_experiment", call_again)
    tune(space, 1, study="mine")
    assert told == ["runs/tune/mine: another command works on this study; wait for it"]


def test_other_values_are_no_study_to_resume(instant, space):
    tune(space, 1, study="mine")
    with pytest.raises(ConfigError, match="study 'mine': was made with another experiment"):
        tune(space, 1, study="mine", **{"dagger.n_envs": 5})


def test_a_command_killed_before_it_had_a_study_is_no_hindrance(instant, space, tmp_path):
    (tmp_path / "study").mkdir()
    trust.sign_study(tmp_path / "study")
    (tmp_path / "study" / study_module.JOURNAL).touch()
    assert len(tune(space, 1, out=tmp_path / "study").study.trials) == 1


def test_a_journal_that_is_torn_is_told_in_one_line(instant, space, tmp_path):
    (tmp_path / "study").mkdir()
    trust.sign_study(tmp_path / "study")
    (tmp_path / "study" / study_module.JOURNAL).write_text("{torn\n{torn\n")
    with pytest.raises(ConfigError, match="storage: cannot be opened: JSONDecodeError"):
        tune(space, 1, out=tmp_path / "study")


def test_an_experiment_that_is_a_file(instant, space, tmp_path):
    (tmp_path / "mine.yaml").write_text("extends: spread-3-scripted\ndagger: {n_envs: 5}")
    result = study_module.tune(tmp_path / "mine.yaml", space=space, trials=1, out=tmp_path / "study")
    assert load_best(result).dagger.n_envs == 5
    assert load_best(result).dagger.batch_size == result.values["dagger.batch_size"]


@pytest.mark.parametrize("as_json", [True, False])
def test_the_command(instant, space, capsys, as_json):
    words = ["--space", str(space), "--trials", "2", "--seed", "3", "--set", "dagger.n_envs=8"]
    with pytest.raises(SystemExit) as caught:
        cli.main(["tune", "spread-3-scripted", *words, *(["--json"] if as_json else [])])
    assert caught.value.code == 0
    printed = capsys.readouterr().out
    best = "runs/tune/spread-3-scripted-tiny-seed3/best.yaml"
    assert load_experiment(best).seed == 3
    assert load_experiment(best).dagger.n_envs == 8
    if as_json:
        found = json.loads(printed)
        assert found["best"] == best
        assert found["objective"] == -found["values"]["dagger.learning_rate"]
    else:
        assert best in printed
        assert "dagger.learning_rate" in printed


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--space", "dager"], "error: unknown search space 'dager'; did you mean 'dagger'? "),
        (["--space", "dagger", "--set", "out=here"], "error: override: out: unknown key"),
        (["--space", "dagger", "--set", "seed=-1"], "error: override: seed: expected at least 0, got -1"),
        (["--sampler", "tpa"], "error: Invalid value for '--sampler'"),
        (["--expert", "nowhere", "--space", "dagger"], "error: nowhere: no such folder"),
    ],
)
def test_what_the_command_refuses(instant, capsys, words, told):
    with pytest.raises(SystemExit) as caught:
        cli.main(["tune", "spread-3-scripted", *words])
    assert caught.value.code == 2
    told_by_it = capsys.readouterr().err
    assert told_by_it.startswith(told)
    assert told_by_it.count("\n") == 1
    assert instant == []
