"""`tune`: an experiment run again and again with other values, by Optuna, for what its students score."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cesma_sb3 import _atomic, _optuna, pipeline
from cesma_sb3._yaml import write_mapping
from cesma_sb3.errors import CesmaError, ConfigError
from cesma_sb3.registry import is_name, list_experiments, load_experiment, nested
from cesma_sb3.runs import csv_text
from cesma_sb3.search_space import load_space
from cesma_sb3.validation import shown

if TYPE_CHECKING:
    import optuna

BEST, TRIALS = "best.yaml", "trials.csv"


@dataclasses.dataclass(frozen=True)
class TuningResult:
    """What a study gives."""

    study: optuna.Study
    """Optuna's own: all trials, and what its plots take."""
    values: dict[str, Any]
    """The best trial's, by dotted key."""
    objective: float
    """The students' normalised score in that trial; their return where the environment has no reference."""
    folder: Path
    """Holds `best.yaml`, `trials.csv`, and the run folder of each trial."""


def tune(
    name: str | Path,
    *,
    space: str | Path,
    trials: int,
    storage: str | None = None,
    study: str | None = None,
    seed: int = 0,
    out: Path | str | None = None,
    progress: bool = False,
    **overrides: Any,
) -> TuningResult:
    """Runs an experiment with values from a search space, and looks for those whose students score best.

    A trial whose values are refused counts as failed, with its `cause`. The best score was chosen from many:
    run `best.yaml` with another seed for one to report.

    Args:
        name: A registered experiment, or a YAML file.
        space: A search space of `tuning/`, or a YAML file.
        trials: Finished or failed ones that the study is to have in the end.
        storage: URL of a database, such as `sqlite:///study.db`, in which the study is kept or goes on.
        study: Its name; None: `<experiment>-<space>-seed<N>`.
        seed: Of every run, and of the choice of values.
        out: The study's folder; None: `runs/tune/<study>` under the current folder.
        progress: Show a progress bar of each stage on standard error.
        **overrides: Values in place of the experiment's, in every trial.

    Raises:
        CesmaError: Bad input, before anything is trained; or no trial finished.
    """
    searched, fixed = load_space(space), {**overrides, "seed": seed}
    if trials < 1:
        raise ConfigError(f"trials: expected at least 1, got {trials}")
    base = load_experiment(name, fixed)
    searched.check(name, fixed)
    study = f"{base.name}-{searched.name}-seed{seed}" if study is None else study
    if not is_name(study):
        raise ConfigError(f"study: expected letters, digits and - _ . only, got {shown(study)}")
    folder = Path("runs", "tune", study) if out is None else Path(out)

    def objective(trial: optuna.Trial) -> float:
        values = searched.suggest(trial)
        run_dir = folder / f"trial-{trial.number}"
        trial.set_user_attr("values", values)
        try:
            report = pipeline.run(name, out=run_dir, progress=progress, **{**fixed, **values}).report
            score = float(report["normalized"]["students"])
            score = float(report["return"]["students"]) if math.isnan(score) else score
            if not math.isfinite(score):
                raise CesmaError(f"expected a finite return of the students, got {score}")
        except CesmaError as error:
            trial.set_user_attr("cause", str(error))
            raise
        return score

    with _optuna.quiet():
        contents = {"experiment": base.to_mapping(), "space": searched.to_mapping()}
        found = _optuna.open_study(study, storage, contents)
        if not found.trials and folder.exists() and any(folder.iterdir()):
            raise ConfigError(
                f"{folder}: holds something already; expected a new folder, or a study in storage"
            )
        try:
            while (done := len(_ended(found))) < trials:
                found.sampler = _optuna.sampler(seed, done)
                found.optimize(objective, n_trials=1, catch=(CesmaError,))
        finally:
            _atomic.write(folder / TRIALS, lambda path: path.write_text(csv_text(_rows(found))))
    return _result(found, folder, name, fixed)


def _ended(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    """Trials that finished, or whose values were refused; not those that were interrupted."""
    return [trial for trial in study.trials if trial.value is not None or "cause" in trial.user_attrs]


def _rows(study: optuna.Study) -> list[dict[str, Any]]:
    return [
        {
            "trial": trial.number,
            "state": trial.state.name.lower(),
            "objective": trial.value,
            "cause": trial.user_attrs.get("cause", ""),
            **trial.user_attrs.get("values", {}),
        }
        for trial in study.trials
    ]


def _result(study: optuna.Study, folder: Path, name: str | Path, fixed: dict[str, Any]) -> TuningResult:
    """The best trial, written as an experiment."""
    ended = _ended(study)
    if all(trial.value is None for trial in ended):
        cause = ended[-1].user_attrs["cause"]
        raise CesmaError(f"study {study.study_name!r}: no trial finished; the last failed: {cause}")
    best = study.best_trial
    values = best.user_attrs["values"]
    settings = {**fixed, **values}
    if name in list_experiments():
        content = {"extends": name, **nested(settings)}
    else:  # a file, which cannot be extended
        content = load_experiment(name, settings).to_mapping()
    told = f"{name} with the values of trial {best.number}, the best of {len(ended)}"
    text = write_mapping({**content, "name": study.study_name, "description": told})
    _atomic.write(folder / BEST, lambda path: path.write_text(text))
    return TuningResult(study, values, float(study.best_value), folder)
