"""One trial of a study: an experiment with values from a search space, run once for each seed."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from cesma_sb3.config.registry import load_experiment
from cesma_sb3.config.schema import Experiment
from cesma_sb3.errors import CesmaError
from cesma_sb3.multirun.tuning import claims
from cesma_sb3.multirun.tuning.search_space import SearchSpace
from cesma_sb3.training import run as run_module
from cesma_sb3.training.evaluator import Watch
from cesma_sb3.training.run_folder import RunFolder

if TYPE_CHECKING:
    import optuna

Objective = Literal["students", "expert", "students-and-samples"]


class _SurplusError(CesmaError):
    """Others have begun as many trials as are wanted."""


@dataclasses.dataclass(frozen=True)
class Trials:
    """What the trials of a study have in common. Called with a trial, it runs it.

    Scores are normalised (0 random, 1 reference), or returns where the environment has no reference.
    """

    name: str | Path
    """The experiment."""
    space: SearchSpace
    fixed: Mapping[str, Any]
    """Values in place of the experiment's, in every trial."""
    objective: Objective
    """`students`: their mean score over the seeds. `expert`: its own, and nothing else is trained.
    `students-and-samples`: two objectives, the second one environment samples in all, to be few."""
    seeds: tuple[int, ...]
    folder: Path
    """Of the study; each trial has a folder there."""
    wanted: int | None
    """Trials that the study is to have in the end."""
    pruner: str
    expert: Path | None = None
    """A run folder, or one with a run folder for each seed, whose expert is used and not trained again."""

    def __call__(self, trial: optuna.Trial) -> float | tuple[float, float]:
        """Runs it, and leaves its values, scores, and the cause of a failure with the trial.

        Raises:
            CesmaError: Its values were refused.
            TrialPruned: It was not worth going on.
        """
        trial.set_user_attr(claims.WORKER, claims.Worker.of().name)
        if self.wanted is not None and claims.is_surplus(trial.study, trial.number, self.wanted):
            trial.set_user_attr(claims.SURPLUS, True)
            raise _SurplusError("surplus")
        values = self.space.suggest(trial)
        trial.set_user_attr("values", values)
        scores, samples = [], 0
        try:
            for index, seed in enumerate(self.seeds):
                experiment = load_experiment(self.name, self.settings(values, seed))
                report = self._run(experiment, trial, index)
                scores.append(self._score(report))
                samples += sum(report.get("env_samples", {}).values())
                if self.pruner == "wilcoxon":
                    _report(trial, scores[-1], index)
        except CesmaError as error:
            trial.set_user_attr(claims.CAUSE, str(error))
            raise
        trial.set_user_attr("scores", scores)
        trial.set_user_attr("env_samples", samples / len(self.seeds))
        mean = sum(scores) / len(scores)
        return (mean, samples / len(self.seeds)) if self.objective == "students-and-samples" else mean

    def settings(self, values: Mapping[str, Any], seed: int) -> dict[str, Any]:
        """Everything that is put in place of the experiment's values in one run."""
        found = {**self.fixed, **values, "seed": seed}
        if self.expert is not None:
            run = str(expert_run(self.expert, seed))
            found["expert"] = {**found["expert"], "init_from": run, "total_timesteps": 0}
        return found

    def run_dir(self, number: int, seed: int) -> Path:
        """The run folder of a trial's run."""
        folder = self.folder / f"trial-{number}"
        return folder / f"seed-{seed}" if len(self.seeds) > 1 else folder

    def _run(self, experiment: Experiment, trial: optuna.Trial, index: int) -> Mapping[str, Any]:
        out = self.run_dir(trial.number, experiment.seed)
        watch = self._watch(experiment, trial, index)
        if self.objective == "expert":
            return run_module.run_expert(experiment, out=out, watch=watch)
        return run_module.run_experiment(experiment, out=out, watch=watch).report

    def _watch(self, experiment: Experiment, trial: optuna.Trial, index: int) -> Watch | None:
        """Reports scores on the way, as one line of steps over both stages and all seeds."""
        if self.pruner in {"none", "wilcoxon"} or self.objective == "students-and-samples":
            return None
        lengths = {
            "expert": experiment.expert.total_timesteps,
            "students": 0 if experiment.dagger is None else experiment.dagger.total_timesteps,
            "fine-tuning": 0 if experiment.fine_tuning is None else experiment.fine_tuning.total_timesteps,
        }
        # A stage is measured at its end, and the next one at its beginning: 1 step further.
        whole = sum(lengths.values()) + len(lengths)
        begins = dict(zip(lengths, accumulate([0, *(n + 1 for n in lengths.values())]), strict=False))

        def watch(stage: str, timesteps: int, score: float) -> None:
            _report(trial, score, index * whole + begins[stage] + timesteps)

        return watch

    def _score(self, report: Mapping[str, Any]) -> float:
        policy = "expert" if self.objective == "expert" else "students"
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


def expert_run(folder: Path, seed: int) -> Path:
    """The run whose expert is used with a seed: the folder itself, or the seed's run in it."""
    own = folder / f"seed-{seed}"
    return own if own.is_dir() else folder


def expert_values(folder: Path, seed: int, *, trust: bool = False) -> dict[str, Any]:
    """The values of a finished run's expert, all of them.

    Raises:
        StorageError: There is no such run.
        UntrustedError: It is of a class that the folder names, and the folder was not made here.
    """
    run = RunFolder.open(expert_run(folder, seed), trust=trust)
    run.ask({"expert.algorithm", "expert.policy", "expert.path", "expert.normalization"})
    values: dict[str, Any] = run.here(run.experiment).to_mapping()["expert"]
    return values
