"""Work on a study: this process runs its trials, or starts workers that do and replaces those that die."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from cesma_sb3.config.registry import load_experiment
from cesma_sb3.errors import CesmaError
from cesma_sb3.multirun.tuning import claims
from cesma_sb3.multirun.tuning.claims import Claims
from cesma_sb3.multirun.tuning.progress import StudyProgress
from cesma_sb3.multirun.tuning.storage import STORAGE, make_pruner, make_sampler, open_study, quiet, retry
from cesma_sb3.multirun.tuning.study_config import StudyConfig
from cesma_sb3.multirun.tuning.trial import run_trial
from cesma_sb3.multirun.tuning.workers import Workers
from cesma_sb3.utils import atomic
from cesma_sb3.utils.signals import terminated_as_interrupted

if TYPE_CHECKING:
    import optuna

_WAIT_SECONDS = 0.5
"""Between two looks at the study."""


def work(study: optuna.Study, config: StudyConfig, progress: StudyProgress, *, one_of_many: bool) -> None:
    """Run trials in this process until the study has enough, time is up, or the grid has no more.

    Args:
        study: Optuna's.
        config: The study as it was asked for.
        progress: Shows its trials.
        one_of_many: Other workers began at the same time, and must not draw the same values.
    """
    found = Claims(study, config.storage)
    grid = config.space.grid() if config.sampler == "grid" else None
    every = load_experiment(config.experiment, config.overrides).evaluation.eval_freq
    with found.present():
        while True:
            found.revive(progress.message)
            done = claims.ended(study)
            progress.update(done)
            if config.is_over or (config.n_trials is not None and len(done) >= config.n_trials):
                return
            busy = found.running()
            if config.n_trials is not None and len(done) + len(busy) >= config.n_trials:
                time.sleep(_WAIT_SECONDS)  # a worker may die, and its trial is then run here
                continue
            own = [claims.own_seed()] if busy or one_of_many else []
            study.sampler = make_sampler(config.sampler, [config.seeds[0], len(done), *own], grid)
            study.pruner = make_pruner(config.pruner, every)
            if grid is not None and study.sampler.is_exhausted(study):  # type: ignore[attr-defined]  # GridSampler's
                return
            run_one(found, config, progress)


class _SurplusError(CesmaError):
    """Other workers have begun as many trials as the study is to have."""


def run_one(found: Claims, config: StudyConfig, progress: StudyProgress) -> None:
    """Run one trial; drop its result if other workers took this one for dead and run the trial again."""
    import optuna

    begun: list[int] = []
    taken: list[int] = []

    def run(trial: optuna.Trial) -> float | tuple[float, float]:
        begun.append(trial.number)
        try:
            trial.set_user_attr(claims.WORKER, claims.own_name())
            if config.n_trials is not None and found.is_surplus(trial.number, config.n_trials):
                trial.set_user_attr(claims.SURPLUS, True)
                raise _SurplusError("surplus")
            return run_trial(config, trial)
        except optuna.exceptions.UpdateFinishedTrialError:
            taken.append(trial.number)
            raise

    study = found.study
    try:
        study.optimize(run, n_trials=1, catch=(CesmaError,))
    except KeyboardInterrupt:  # Optuna counts the trial as failed: the study runs it again when it is resumed
        for trial in study.get_trials(deepcopy=False):
            if trial.number in begun:
                retry(study, trial)
        raise
    except ValueError:  # Optuna's, which cannot end a trial that has been ended
        if not taken:
            raise
        progress.message(f"trial {taken[0]}: this worker was silent for so long that the trial is run again")


def lead(study: optuna.Study, config: StudyConfig, n_workers: int, progress: StudyProgress) -> None:
    """Start worker processes, replace those that die, and show how far the study is.

    Raises:
        CesmaError: A worker was given bad input, or they die again and again.
        RuntimeError: A worker had a programming error.
    """
    logs = config.folder / "workers"
    file = logs / "study.json"
    logs.mkdir(parents=True, exist_ok=True)
    atomic.write(file, lambda path: path.write_text(config.to_json(), encoding="utf-8"))
    found = Claims(study, config.storage)
    with (
        terminated_as_interrupted(),
        Workers(["tune-worker", str(file)], n_workers, logs, {STORAGE: config.storage}) as team,
    ):
        while team.is_working():
            found.revive(progress.message, dead=team.ended)
            progress.update(claims.ended(study))
            time.sleep(_WAIT_SECONDS)
    progress.update(claims.ended(study))


def run_worker(file: Path | str, storage: str) -> None:
    """Work on a study as one of several processes, without writing what the study leaves.

    Args:
        file: What `lead` wrote.
        storage: The URL of the study's storage.

    Raises:
        CesmaError: Bad input.
    """
    config = StudyConfig.from_json(Path(file).read_text(encoding="utf-8"), storage)
    with quiet(), StudyProgress(config.n_trials, enabled=False) as progress:
        study = open_study(config.study, storage, {}, config.directions)
        work(study, config, progress, one_of_many=True)
