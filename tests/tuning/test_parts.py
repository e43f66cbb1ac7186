"""Samplers, pruners, objectives, stages, seeds, and what a study leaves."""

from __future__ import annotations

import csv
import json
from functools import partial

import numpy as np
import optuna
import pytest
from PIL import Image
from stable_baselines3 import PPO

import cesma_sb3
from cesma_sb3 import load_experiment
from cesma_sb3.envs.particle import ParticleVecEnv, make_scenario
from cesma_sb3.errors import ConfigError
from cesma_sb3.multirun.tuning import results
from cesma_sb3.multirun.tuning import study as study_module
from cesma_sb3.training import run as run_module
from cesma_sb3.training.run_folder import RunFolder
from tests.tuning.test_studies import scored

SPACE = """\
dagger.learning_rate: {low: 1e-3, high: 1, log: true}
dagger.batch_size: {choices: [8, 16]}
"""
GRID = "dagger.batch_size: {choices: [8, 16]}\ndagger.n_envs: {low: 4, high: 8, step: 2}\n"
EVALUATION = {"n_final_episodes": 4, "n_eval_episodes": 2, "eval_freq": 64, "n_envs": 2}
# A joint expert that learns nothing in no time, and its students.
TINY = {
    "expert.total_timesteps": 128,
    "expert.n_envs": 8,
    "expert.kwargs": {"learning_starts": 32, "batch_size": 16, "gradient_steps": 1, "learning_rate": 1e-3},
    "expert.policy_kwargs.hidden_sizes": [8],
    "expert.learning_rate_final": 1.0,
    "students": {"network": "feed-forward", "hidden_sizes": [8]},
    "dagger": {"total_timesteps": 128, "n_envs": 8, "batch_size": 16},
    "evaluation": EVALUATION,
}


@pytest.fixture
def write(tmp_path):
    def writing(text, name="tiny"):
        (tmp_path / f"{name}.yaml").write_text(text)
        return tmp_path / f"{name}.yaml"

    return writing


@pytest.fixture
def instant(monkeypatch, tmp_path):
    """Runs that take no time: their score is the batch size, and 0.1 for each seed after the first."""
    calls = []

    def run(experiment, *, out, watch):
        calls.append(experiment)
        score = experiment.dagger.batch_size + experiment.seed / 10
        if watch is not None:
            for step in range(1, 6):
                watch("students", 1000 * step, score * step)
        return run_module.RunResult(None, None, scored(score), out)

    monkeypatch.setattr(run_module, "run_experiment", run)
    monkeypatch.chdir(tmp_path)
    return calls


@pytest.mark.parametrize("sampler", ["tpe", "cmaes", "random", "gp"])
def test_samplers(instant, write, sampler, tmp_path):
    study = study_module.tune(
        "spread-3-scripted", space=write(SPACE), trials=12, sampler=sampler, out=tmp_path / "a"
    ).study
    rates = [trial.params["dagger.learning_rate"] for trial in study.trials]
    assert len(set(rates)) > 10
    again = study_module.tune(
        "spread-3-scripted", space=write(SPACE), trials=12, sampler=sampler, out=tmp_path / "b"
    ).study
    assert [trial.params for trial in again.trials] == [trial.params for trial in study.trials]


def test_a_grid_is_gone_through_once(instant, write):
    study = study_module.tune("spread-3-scripted", space=write(GRID), trials=50, sampler="grid").study
    points = [(t.params["dagger.batch_size"], t.params["dagger.n_envs"]) for t in study.trials]
    assert sorted(points) == [(size, n) for size in ("16", "8") for n in (4, 6, 8)]


def test_seeds_are_averaged(instant, write):
    result = study_module.tune("spread-3-scripted", space=write(SPACE), trials=2, seeds=3, seed=4)
    assert [experiment.seed for experiment in instant] == [4, 5, 6] * 2
    trial = result.study.best_trial
    assert trial.value == pytest.approx(trial.user_attrs["values"]["dagger.batch_size"] + 0.5)
    assert trial.user_attrs["scores"] == pytest.approx([trial.value - 0.1, trial.value, trial.value + 0.1])
    assert load_experiment(result.folder / "best.yaml").seed == 4


@pytest.mark.parametrize("pruner", ["median", "hyperband", "wilcoxon"])
def test_pruners_end_what_is_worse(instant, write, pruner):
    space = write("dagger.batch_size: {low: 1, high: 1000}\n")
    seeds = 8 if pruner == "wilcoxon" else 1
    study = study_module.tune(
        "spread-3-scripted", space=space, trials=20, pruner=pruner, seeds=seeds, sampler="random"
    ).study
    pruned = [trial for trial in study.trials if trial.state.name == "PRUNED"]
    finished = [trial for trial in study.trials if trial.state.name == "COMPLETE"]
    assert pruned
    assert len(pruned) + len(finished) == 20
    assert study.best_value == max(trial.params["dagger.batch_size"] for trial in finished) + (
        0.35 if seeds > 1 else 0
    )


def test_a_trial_is_pruned_in_the_expert_stage_too(write, tmp_path, monkeypatch):
    """Real runs: what is measured while the expert learns is reported, and can end the trial."""
    monkeypatch.setattr(optuna.Trial, "should_prune", lambda trial: trial.number == 1)
    result = study_module.tune(
        "spread-3", space=write(SPACE), trials=3, pruner="median", out=tmp_path / "study", **TINY_EXPERT
    )
    states = [trial.state.name for trial in result.study.trials]
    assert states == ["COMPLETE", "PRUNED", "COMPLETE"]
    pruned, whole = result.study.trials[1], result.study.trials[2]
    assert list(pruned.intermediate_values) == [0]  # timesteps; the expert was not yet trained
    steps = list(whole.intermediate_values)
    assert any(0 < step < 128 for step in steps)  # the expert
    assert any(step > 128 for step in steps)  # its students
    run = RunFolder.open(tmp_path / "study" / f"trial-{pruned.number}")
    assert run.status == "failed"


@pytest.mark.parametrize("timesteps", [0, 128])
def test_what_is_measured_before_students_act_is_reported_too(write, tmp_path, timesteps):
    """Each measurement has a step of its own, over all stages and seeds."""
    values = {
        **TINY_EXPERT,
        "dagger.total_timesteps": timesteps,
        "dagger.experience.n_updates": 6,
        "dagger.samples_per_update": 32,  # measured every second update
    }
    study = study_module.tune(
        "spread-3", space=write(SPACE), trials=1, pruner="median", seeds=2, out=tmp_path / "study", **values
    ).study
    (trial,) = study.trials
    steps, whole = list(trial.intermediate_values), 128 + 1 + timesteps + 6 + 1 + 1
    of_one = [0, 64, 128, *(129 + k for k in range(4)), *((193, 257) if timesteps else ())]
    assert steps == of_one + [whole + step for step in of_one]


TINY_EXPERT = {key: value for key, value in TINY.items() if key != "dagger"} | {
    "dagger.total_timesteps": 128,
    "dagger.n_envs": 8,
}


def test_stages_one_after_the_other(write, tmp_path):
    """The best expert is kept, and students are tuned against it without training it again."""
    expert = write("expert.kwargs.learning_rate: {low: 1e-4, high: 1e-2, log: true}\n", "expert")
    students = write("dagger.learning_rate: {low: 1e-3, high: 1e-1, log: true}\n", "students")
    tiny = {key: value for key, value in TINY.items() if key != "expert.kwargs"} | {
        "expert.kwargs.learning_starts": 32,
        "expert.kwargs.gradient_steps": 1,
    }
    result = study_module.tune(
        "spread-3", space=[expert, students], trials=2, stage_wise=True, out=tmp_path / "study", **tiny
    )
    experts = [RunFolder.open(tmp_path / "study" / "expert" / f"trial-{n}") for n in range(2)]
    scores = [run.report()["normalized"]["expert"] for run in experts]
    best = scores.index(max(scores))
    assert "students" not in experts[0].report()["return"]
    for number in range(2):
        run = RunFolder.open(tmp_path / "study" / "students" / f"trial-{number}")
        assert run.report()["env_samples"]["expert"] == 0
        assert run.report()["return"]["expert"] == experts[best].report()["return"]["expert"]
        assert run.report()["experience"]["decentralize"] >= 128  # what that expert has visited
        kept = run.path / run.experiment.expert.init_from / "expert/policy.safetensors"
        assert kept.read_bytes() == (experts[best].path / "expert/policy.safetensors").read_bytes()
    # What comes out trains it again: an experiment that stands by itself.
    found = load_experiment(result.folder / "best.yaml")
    assert found.expert.init_from is None
    assert found.expert.total_timesteps == 128
    rate = experts[best].experiment.expert.kwargs["learning_rate"]
    assert found.expert.kwargs["learning_rate"] == rate
    assert found.dagger.learning_rate == result.values["dagger.learning_rate"]
    cesma_sb3.run(result.folder / "best.yaml", out=tmp_path / "again")


def test_the_expert_of_a_run(write, shared_run, tmp_path):
    run = shared_run("trained")
    result = study_module.tune(
        "spread-3",
        space=write(SPACE),
        trials=1,
        expert=run,
        out=tmp_path / "study",
        **{"evaluation": EVALUATION, "students": TINY["students"], "dagger.total_timesteps": 128},
    )
    report = RunFolder.open(result.folder / "trial-0").report()
    assert np.isfinite(report["return"]["expert"])
    assert report["env_samples"]["expert"] == 0
    weights = "expert/policy.safetensors"
    assert (result.folder / "trial-0" / weights).read_bytes() == (run / weights).read_bytes()
    with pytest.raises(ConfigError, match="expected none, for the expert is that of"):
        study_module.tune("spread-3", space=write(SPACE), expert=run, **{"expert.n_envs": 8})


VISITED = {"evaluation": EVALUATION, "students": TINY["students"], "dagger.total_timesteps": 0}


def test_students_of_a_run_that_kept_what_its_expert_visited(write, tmp_path):
    """A whole run, of expert and students, is as good as one of the expert alone."""
    saves = {**TINY_EXPERT, "dagger.total_timesteps": 0, "dagger.experience": {"save": True}}
    cesma_sb3.run("spread-3", out=tmp_path / "run", **saves)
    result = study_module.tune(
        "spread-3", space=write(SPACE), trials=2, expert=tmp_path / "run", out=tmp_path / "study", **VISITED
    )
    for number in range(2):
        report = RunFolder.open(result.folder / f"trial-{number}").report()
        assert report["env_samples"] == {"expert": 0, "decentralize": 0}
        assert report["experience"]["decentralize"] == 128 + 8
    runs = [tmp_path / "run", *(result.folder / f"trial-{number}" for number in range(2))]
    assert len({(run / "expert/experience.safetensors").stat().st_ino for run in runs}) == 1, "kept once"


def test_students_that_have_nothing_to_learn_from_are_no_study(write, shared_run, tmp_path):
    tune = partial(study_module.tune, "spread-3", expert=shared_run("trained"), out=tmp_path / "study")
    told = (
        r"^\S+: keeps no states that its expert has visited, and dagger.total_timesteps is 0; expected "
        r"the folder of a run with dagger.experience.save, or dagger.experience.rollout_timesteps$"
    )
    with pytest.raises(ConfigError, match=told):
        tune(space=write(SPACE), trials=1, **VISITED)
    assert not (tmp_path / "study").exists()
    rollouts = {"dagger.experience.rollout_timesteps": 128, "dagger.n_envs": 8}
    report = RunFolder.open(
        tune(space=write(SPACE), trials=1, **VISITED, **rollouts).folder / "trial-0"
    ).report()
    assert report["env_samples"] == {"expert": 0, "decentralize": 128}
    # What is tuned may be more than nothing.
    tuned = {**VISITED, "dagger.n_envs": 8}
    del tuned["dagger.total_timesteps"]
    space = write("dagger.total_timesteps: {choices: [0, 128]}\n")
    study = tune(space=space, trials=2, sampler="grid", **tuned | {"out": tmp_path / "other"}).study
    assert sorted(trial.state.name for trial in study.trials) == ["COMPLETE", "FAIL"]


@pytest.mark.parametrize("kind", ["scripted", "a function", "a model"])
def test_an_expert_that_was_not_trained_in_its_run_is_used_as_it_is(kind, write, shared_run, tmp_path):
    values = {"evaluation": EVALUATION, "students": TINY["students"], "dagger": TINY["dagger"]}
    if kind == "scripted":
        run, name = shared_run("scripted"), "spread-3-scripted"
    else:
        name = "spread-3"
        expert = "tests.tuning.test_parts:still"
        if kind == "a model":
            venv = ParticleVecEnv(make_scenario("spread", n_agents=3), 2, seed=0)
            expert = PPO("MlpPolicy", venv, n_steps=8, batch_size=16, device="cpu")
        env = load_experiment(name).env
        run = cesma_sb3.decentralize(
            expert, {"id": env.id, "kwargs": env.kwargs}, total_timesteps=128, out=tmp_path / "run", **values
        ).run_dir
    study = study_module.tune(
        name,
        space=write("dagger.learning_rate: {low: 1e-3, high: 1}\n"),
        trials=1,
        expert=run,
        out=tmp_path / "study",
        **values,
    )
    report = RunFolder.open(study.folder / "trial-0").report()
    assert report["env_samples"] == {"expert": 0, "decentralize": 128}
    assert np.isfinite(report["return"]["students"])


def still(observations):
    """Nobody of `spread-3` moves."""
    return np.zeros((len(observations), 3), dtype=np.int64)


def test_two_objectives(monkeypatch, write, tmp_path):
    def run(experiment, *, out, watch):
        assert watch is None
        size = experiment.dagger.batch_size
        report = scored(float(size >= 16)) | {"env_samples": {"expert": 5, "decentralize": size}}
        return run_module.RunResult(None, None, report, out)

    monkeypatch.setattr(run_module, "run_experiment", run)
    space = write("dagger.batch_size: {low: 1, high: 64}\n")
    result = study_module.tune(
        "spread-3-scripted", space=space, trials=30, objective="students-and-samples", out=tmp_path / "s"
    )
    best = result.values["dagger.batch_size"]
    assert result.objective == 1.0
    assert best == min(t.params["dagger.batch_size"] for t in result.study.trials if t.values[0] == 1)
    assert 1 <= len(result.study.best_trials) <= 4


def test_what_a_study_leaves(instant, write, tmp_path, monkeypatch):
    monkeypatch.setattr(results, "_FOR_FIGURES", 3)
    result = study_module.tune("spread-3-scripted", space=write(SPACE), trials=6, out=tmp_path / "study")
    rows = json.loads((result.folder / "trials.json").read_text())
    with (result.folder / "trials.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert len(rows) == len(table) == 6
    assert rows[0]["dagger.batch_size"] == int(table[0]["dagger.batch_size"])
    for name in ("history", "importance", "slice", "parallel-coordinates"):
        with Image.open(result.folder / f"{name}.png") as picture:
            assert picture.width > 600
            low, high = picture.convert("L").getextrema()
            assert high - low > 100
    assert not list(result.folder.rglob("*.pkl"))


def test_time_is_a_budget(instant, write):
    result = study_module.tune("spread-3-scripted", space=write(SPACE), minutes=0.02)
    assert len(result.study.trials) > 1
    assert all(trial.state.name == "COMPLETE" for trial in result.study.trials)


def test_the_spaces_of_an_experiment_are_found(instant):
    result = study_module.tune("spread-3-scripted", trials=1)
    assert "dagger.learning_rate" in result.values
    assert not any(key.startswith("expert") for key in result.values)
