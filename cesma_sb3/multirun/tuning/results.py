"""The files that a study writes: the best trial as an experiment, a table of the trials, and figures."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cesma_sb3.config.overrides import nest
from cesma_sb3.config.registry import list_experiments, load_experiment
from cesma_sb3.config.yaml import write_mapping
from cesma_sb3.errors import CesmaError
from cesma_sb3.multirun.tuning import claims
from cesma_sb3.training.run_files import csv_text, to_json
from cesma_sb3.utils import atomic

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

BEST, TRIALS, TRIALS_JSON = "best.yaml", "trials.csv", "trials.json"
_FIGURES = {
    "history.png": "plot_optimization_history",
    "importance.png": "plot_param_importances",
    "slice.png": "plot_slice",
    "parallel-coordinates.png": "plot_parallel_coordinate",
}
_FOR_FIGURES = 3
"""Fewest finished trials for which figures are drawn."""


def best_trial(study: optuna.Study) -> FrozenTrial:
    """The trial with the best score; with two objectives, the first counts before the second.

    Raises:
        CesmaError: No trial finished.
    """
    finished = [trial for trial in study.get_trials(deepcopy=False) if trial.state.name == "COMPLETE"]
    if not finished:
        causes = [t.user_attrs[claims.CAUSE] for t in claims.ended(study) if claims.CAUSE in t.user_attrs]
        cause = f"; the last failed: {causes[-1]}" if causes else ""
        raise CesmaError(f"study {study.study_name!r}: no trial finished{cause}")
    return max(finished, key=lambda trial: (trial.values[0], *(-value for value in trial.values[1:])))


def write_tables(study: optuna.Study, folder: Path) -> None:
    """Write every trial that has begun as CSV and JSON."""
    begun = (trial for trial in study.get_trials(deepcopy=False) if trial.state.name != "WAITING")
    rows = [_row(trial) for trial in begun]
    text = json.dumps([to_json(row) for row in rows], indent=2, allow_nan=False) + "\n"
    atomic.write(folder / TRIALS, lambda path: path.write_text(csv_text(rows), encoding="utf-8"))
    atomic.write(folder / TRIALS_JSON, lambda path: path.write_text(text, encoding="utf-8"))


def _row(trial: FrozenTrial) -> dict[str, Any]:
    attrs = trial.user_attrs
    state = "surplus" if claims.SURPLUS in attrs else trial.state.name.lower()
    values = trial.values or [None]
    return {
        "trial": trial.number,
        "state": state,
        "objective": values[0],
        "scores": " ".join(f"{score:.6g}" for score in attrs.get("scores", ())),
        "env_samples": attrs.get("env_samples"),
        "seconds": None if trial.duration is None else round(trial.duration.total_seconds(), 2),
        "cause": attrs.get(claims.CAUSE, ""),
        **attrs.get("values", {}),
    }


def write_best(
    study: optuna.Study, folder: Path, name: str | Path, settings: Mapping[str, Any], n_ended: int
) -> Path:
    """Write the best trial as an experiment for `cesma run`.

    Args:
        study: A study with a finished trial.
        folder: The folder of the file.
        name: The experiment that was tuned.
        settings: Values in place of its own.
        n_ended: Number of trials that it was chosen from.
    """
    if name in list_experiments():
        content = {"extends": name, **nest(settings)}
    else:  # a file that may move, or change: its values are written out
        content = load_experiment(name, settings).to_mapping()
    description = f"{name} with the values of trial {best_trial(study).number}, the best of {n_ended}"
    text = write_mapping({**content, "name": study.study_name, "description": description[:80]})
    atomic.write(folder / BEST, lambda path: path.write_text(text, encoding="utf-8"))
    return folder / BEST


def draw(study: optuna.Study, folder: Path) -> list[Path]:
    """Draw Optuna's figures of the first objective, if enough trials have finished."""
    finished = [trial for trial in study.get_trials(deepcopy=False) if trial.state.name == "COMPLETE"]
    if len(finished) < _FOR_FIGURES:
        return []
    import matplotlib as mpl
    from matplotlib.figure import Figure

    mpl.use("Agg")
    import optuna.visualization.matplotlib as plots
    from matplotlib import pyplot

    written = []
    n_parameters = len({name for trial in finished for name in trial.params})
    several = len(study.directions) > 1
    first = {"target": lambda trial: trial.values[0], "target_name": "score"} if several else {}
    for file, function in _FIGURES.items():
        with warnings.catch_warnings():  # parts of Optuna may change; a parameter may have one value only
            warnings.simplefilter("ignore")
            try:
                axes = getattr(plots, function)(study, **first)
            except (ValueError, RuntimeError):  # all scores are the same: nothing is more important
                continue
            figure = (axes if not hasattr(axes, "flat") else axes.flat[0]).get_figure()
            assert isinstance(figure, Figure)
            # Room for the labels of all parameters, side by side in the last two figures.
            n_across = n_parameters if function in {"plot_slice", "plot_parallel_coordinate"} else 0
            figure.set_size_inches(max(9.0, 3.2 * n_across), 5.5)
            atomic.write(folder / file, partial(figure.savefig, dpi=110, bbox_inches="tight"))
            pyplot.close(figure)
        written.append(folder / file)
    return written
