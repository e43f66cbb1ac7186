"""One trial of a study: an experiment with values from a search space, run once for each seed."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cesma_sb3.config.registry import load_experiment
from cesma_sb3.config.schema import DaggerConfig, Experiment
from cesma_sb3.errors import CesmaError
from cesma_sb3.multirun.tuning import claims
from cesma_sb3.multirun.tuning.study_config import StudyConfig, expert_run
from cesma_sb3.training import run as run_module
from cesma_sb3.training.evaluator import Watch
from cesma_sb3.training.run_folder import RunFolder

if TYPE_CHECKING:
    import optuna


def run_trial(config: StudyConfig, trial: optuna.Trial) -> float | tuple[float, float]:
    """Run a trial; its values, scores, and the cause of a failure become attributes of it.

    Returns:
        The mean score over the seeds: normalised (0 random, 1 reference), or the return where the environment
        has no reference. With two objectives, also the mean number of environment samples.

    Raises:
        CesmaError: Its values were refused.
        TrialPruned: The pruner ended it.
    """
    values = config.space.suggest(trial)
    trial.set_user_attr("values", values)
    scores, samples = [], 0
    try:
        for index, seed in enumerate(config.seeds):
            experiment = load_experiment(config.experiment, config.settings(values, seed))
            report = _run(config, experiment, trial, index)
            scores.append(_score(config, report))
            samples += sum(report.get("env_samples", {}).values())
            if config.pruner == "wilcoxon":
                _report(trial, scores[-1], index)
    except CesmaError as error:
        trial.set_user_attr(claims.CAUSE, str(error))
        raise
    mean, mean_samples = sum(scores) / len(scores), samples / len(config.seeds)
    trial.set_user_attr("scores", scores)
    trial.set_user_attr("env_samples", mean_samples)
    return (mean, mean_samples) if len(config.directions) > 1 else mean


def _run(config: StudyConfig, experiment: Experiment, trial: optuna.Trial, index: int) -> Mapping[str, Any]:
    out = config.run_dir(trial.number, experiment.seed)
    watch = _watch(config, experiment, trial, index)
    if config.objective == "expert":
        return run_module.run_expert(experiment, out=out, watch=watch)
    return run_module.run_experiment(experiment, out=out, watch=watch).report


def _watch(config: StudyConfig, experiment: Experiment, trial: optuna.Trial, index: int) -> Watch | None:
    """What reports scores during a run, on one axis of steps over all stages and seeds."""
    if config.pruner in {"none", "wilcoxon"} or len(config.directions) > 1:
        return None
    expert, dagger, fine_tuning = experiment.expert, experiment.dagger, experiment.fine_tuning
    lengths = {"students": expert.total_timesteps}  # of a baseline
    if dagger is not None:
        lengths = {
            "expert": expert.total_timesteps,
            "students": _most_steps(dagger),
            "fine-tuning": 0 if fine_tuning is None else fine_tuning.total_timesteps,
        }
    # A stage is measured at its end, and the next one at its beginning: 1 step further.
    whole = sum(lengths.values()) + len(lengths)
    begins = dict(zip(lengths, accumulate([0, *(n + 1 for n in lengths.values())]), strict=False))
    last = -1

    def watch(stage: str, timesteps: int, score: float) -> None:
        nonlocal last  # students that learn before they act are measured several times at one timestep
        last = max(last + 1, index * whole + begins[stage] + timesteps)
        _report(trial, score, last)

    return watch


def _most_steps(dagger: DaggerConfig) -> int:
    """Return the most steps of the students on the axis: timesteps, and measurements before the first."""
    if dagger.experience is None:
        return dagger.total_timesteps
    return dagger.total_timesteps + (dagger.experience.n_updates or dagger.capacity)


def _score(config: StudyConfig, report: Mapping[str, Any]) -> float:
    policy = "expert" if config.objective == "expert" else "students"
    score = float(report["normalized"][policy])
    score = float(report["return"][policy]) if math.isnan(score) else score
    if not math.isfinite(score):
        raise CesmaError(f"expected a finite return of the {policy}, got {score}")
    return score


def _report(trial: optuna.Trial, score: float, step: int) -> None:
    import optuna

    if math.isfinite(score):
        trial.report(score, step)
        if trial.should_prune():
            raise optuna.TrialPruned


def expert_values(folder: Path, seed: int, *, trust: bool = False) -> dict[str, Any]:
    """All values of a finished run's expert.

    Raises:
        StorageError: There is no such run.
        UntrustedError: It is of a class that the folder names, and the folder was not made here.
    """
    run = RunFolder.open(expert_run(folder, seed), trust=trust)
    run.ask({"expert.algorithm", "expert.policy", "expert.path", "expert.normalization"})
    values: dict[str, Any] = run.here(run.experiment).to_mapping()["expert"]
    return {**values, "trust": True}  # as where the folder itself is loaded: it was asked just now
