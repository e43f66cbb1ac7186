"""`tune`: an experiment run again and again with other values, by Optuna, for the best score."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from cesma_sb3.config.documents import is_name
from cesma_sb3.config.registry import load_experiment
from cesma_sb3.config.schema import Experiment
from cesma_sb3.config.validation import plain
from cesma_sb3.errors import ConfigError, UntrustedError, integer, short_repr, unknown_name
from cesma_sb3.multirun.tuning import claims
from cesma_sb3.multirun.tuning import storage as optuna_storage
from cesma_sb3.multirun.tuning.progress import StudyProgress
from cesma_sb3.multirun.tuning.results import BEST, TRIALS, best_trial, draw, write_best, write_tables
from cesma_sb3.multirun.tuning.search_space import SearchSpace, default_spaces, load_space, merged
from cesma_sb3.multirun.tuning.study_config import Objective, StudyConfig, expert_run
from cesma_sb3.multirun.tuning.trial import expert_values
from cesma_sb3.multirun.tuning.work import lead, work
from cesma_sb3.training.run_folder import make_folder
from cesma_sb3.training.trust import SIGNATURE, is_own_study, sign_study
from cesma_sb3.utils.file_names import as_path
from cesma_sb3.utils.locks import LOCK, exclusive_lock

if TYPE_CHECKING:
    import optuna

__all__ = ["BEST", "TRIALS", "TuningResult", "tune"]

DEFAULT_TRIALS = 20
JOURNAL = "study.journal"
"""In the study's folder, where no storage is named."""


@dataclasses.dataclass(frozen=True)
class TuningResult:
    """What a study gives."""

    study: optuna.Study
    """Optuna's own: all trials, and what its plots take."""
    values: dict[str, Any]
    """The best trial's, by dotted key."""
    objective: float
    """Its score: normalised, or the return where the environment has no reference; a mean over the seeds."""
    folder: Path
    """Holds `best.yaml`, tables of the trials, figures, and the run folders of each trial."""


def tune(
    name: str | Path,
    *,
    space: str | Path | Sequence[str | Path] | None = None,
    trials: int | None = None,
    minutes: float | None = None,
    workers: int = 1,
    storage: str | None = None,
    study: str | None = None,
    objective: Objective = "students",
    seeds: int = 1,
    sampler: optuna_storage.Sampler = "tpe",
    pruner: optuna_storage.Pruner = "none",
    expert: Path | str | None = None,
    stage_wise: bool = False,
    seed: int = 0,
    out: Path | str | None = None,
    progress: bool = False,
    trust: bool = False,
    overrides: Mapping[str, Any] | None = None,
    **more: Any,
) -> TuningResult:
    """Run an experiment with values from a search space, and look for those that score best.

    A trial whose values are refused counts as failed, with its `cause`; a programming error ends the study.
    The first trial has the experiment's own values, where the space has them.
    The best score was chosen from many: run `best.yaml` with another seed for one to report.

    Args:
        name: A registered experiment, or a YAML file.
        space: Search spaces of `tuning/`, or YAML files; None: those of its expert and students.
        trials: Trials that the study has in the end; None: 20, or as many as begin within `minutes`.
        minutes: Stop starting trials after so many minutes.
        workers: Processes on this machine. The same call on other machines, with the same `storage` and
            `study`, adds more.
        storage: `sqlite:///FILE`, `journal:///FILE`, `postgresql://...`: where the study is kept, and resumed
            from; None: a journal in the study's folder, so that the same call resumes it.
        study: Name of the study; None: `<experiment>-<space>-seed<N>`.
        objective: Whose score is to be high: `students` or `expert`; `students-and-samples` has a second
            objective, a small number of environment samples.
        seeds: Runs of each trial, whose mean score counts: seeds `seed`, `seed + 1`, ...
        sampler: `tpe`, `cmaes`, `random`, `gp`, or `grid`.
        pruner: Ends trials early: `median` and `hyperband` by scores on the way, in both stages; `wilcoxon`
            by the scores of the first seeds.
        expert: A run folder (or one with a run for each seed) whose expert is used: students alone are tuned.
        stage_wise: Tunes the expert first, then the students of the best one, which is not trained again;
            each stage has this many trials, or half of the minutes.
        seed: Seed of the first run of each trial, and of the sampler.
        out: The study's folder; None: `runs/tune/<study>` under the current folder.
        progress: Show how far the study is on standard error.
        trust: Whether the folder `expert` may run the code that it names or holds, though made elsewhere.
        overrides: Values in place of the experiment's in all trials, by dotted key, such as
            `{"expert.n_envs": 8}`, or nested.
        **more: Further overrides, as keywords: `expert={"n_envs": 8}`.

    Raises:
        CesmaError: Bad input, before anything is trained; or no trial finished.
        RuntimeError: A worker had a programming error; its log is named.
    """
    trials = None if trials is None else integer("trials", trials, 1)
    workers, seeds, seed = integer("workers", workers, 1), integer("seeds", seeds, 1), integer("seed", seed)
    overrides = {**(overrides or {}), **more}
    if "seed" in overrides:
        raise ConfigError("override: seed: expected none, for the study has an argument seed")
    fixed = {**plain(overrides), "seed": seed}
    base = load_experiment(name, fixed)
    named = [] if space is None else [space] if isinstance(space, str | Path) else list(space)
    _check(base, objective, study, minutes)
    if stage_wise:
        _check_stage_wise(base, objective, named, expert)
        found = _spaces(named[:1], base, "expert")
    else:
        found = _spaces(named, base, objective, reused=expert is not None)
    study = study or f"{base.name}-{'stage-wise' if stage_wise else found.name}-seed{seed}"
    config = StudyConfig(
        study=study,
        experiment=name,
        space=found,
        overrides=fixed,
        objective=objective,
        seeds=tuple(range(seed, seed + seeds)),
        n_trials=DEFAULT_TRIALS if trials is None and minutes is None else trials,
        deadline=None,
        folder=_folder(study, out),
        storage=storage or "",
        sampler=sampler,
        pruner=pruner,
    )
    how: Any = {"n_workers": workers, "progress": progress, "trust": trust}
    if stage_wise:
        of_students = _spaces(named[1:], base, "students", reused=True)
        return _by_stage(config, of_students, None if minutes is None else minutes / 2, how)
    return _study(config, minutes, None if expert is None else as_path(expert), **how)


def _check(base: Experiment, objective: Objective, study: str | None, minutes: float | None) -> None:
    if minutes is not None and not minutes > 0:
        raise ConfigError(f"minutes: expected more than 0, got {minutes}")
    if objective not in get_args(Objective):
        raise ConfigError(f"objective: {unknown_name('objective', objective, get_args(Objective))}")
    if study is not None and not is_name(study):
        raise ConfigError(f"study: expected letters, digits and - _ . only, got {short_repr(study)}")
    if base.dagger is None and objective == "expert":
        raise ConfigError(f"objective: expected students, for {base.name} has no expert that is imitated")


def _check_stage_wise(
    base: Experiment, objective: Objective, named: Sequence[str | Path], expert: Path | str | None
) -> None:
    if objective != "students" or expert is not None or base.dagger is None:
        raise ConfigError(
            "stage_wise: expected an expert to be trained and imitated, for the students' score"
        )
    if named and len(named) != 2:
        raise ConfigError(f"space: expected two, the expert's and the students', got {len(named)}")


def _by_stage(
    config: StudyConfig, of_students: SearchSpace, minutes: float | None, how: Mapping[str, Any]
) -> TuningResult:
    """The expert's study, then that of the students of its best trial."""
    own = dataclasses.replace(
        config, study=f"{config.study}-expert", objective="expert", folder=config.folder / "expert"
    )
    first = _study(own, minutes, None, **how)
    students = dataclasses.replace(
        config,
        space=of_students,
        overrides={key: value for key, value in config.overrides.items() if not _is_of_expert(key)},
        folder=config.folder / "students",
    )
    return _study(students, minutes, own.folder / f"trial-{best_trial(first.study).number}", **how)


def _folder(study: str, out: Path | str | None) -> Path:
    folder = Path("runs", "tune", study) if out is None else as_path(out)
    if above := [each for each in (folder, *folder.parents) if each.is_file()]:
        raise ConfigError(f"{above[0]}: is a file; expected a folder")
    return folder


def _is_of_expert(key: str) -> bool:
    return key.split(".")[0] == "expert"


def _spaces(
    named: Sequence[str | Path], base: Experiment, objective: Objective, *, reused: bool = False
) -> SearchSpace:
    """The spaces that were named, or those for the experiment's expert and students, as one."""
    found = [load_space(each) for each in named]
    if not named:
        of_expert, of_students = default_spaces(base)
        names = [None if reused else of_expert, None if objective == "expert" else of_students]
        found = [load_space(each) for each in names if each is not None]
    if not found:
        raise ConfigError(
            f"space: there is none for {base.expert.algorithm}; expected the name or file of one"
        )
    return found[0] if len(found) == 1 else merged(found)


def _study(
    config: StudyConfig,
    minutes: float | None,
    expert: Path | None,
    *,
    n_workers: int,
    progress: bool,
    trust: bool,
) -> TuningResult:
    """One study, from its beginning or from where it was interrupted."""
    seed = config.seeds[0]
    if expert is not None:
        for key in config.overrides:
            if _is_of_expert(key):
                raise ConfigError(f"override: {key}: expected none, for the expert is that of {expert}")
        overrides = {**config.overrides, "expert": expert_values(expert, seed, trust=trust)}
        config = dataclasses.replace(config, overrides=overrides, expert=expert)
        _check_experience(config)
    config.space.check(config.experiment, config.overrides)
    optuna_storage.check_names(config.sampler, config.pruner, len(config.directions))
    if config.sampler == "grid":
        config.space.grid()
    if minutes is not None:
        config = dataclasses.replace(config, deadline=time.time() + 60 * minutes)
    alone = not config.storage  # it is kept in its folder, in which no other command works
    if alone:
        storage = f"{optuna_storage.JOURNAL}{config.folder / JOURNAL}"
        config = dataclasses.replace(config, storage=storage)
    base = load_experiment(config.experiment, config.overrides)
    first = None if config.sampler == "grid" else config.space.parameters_of(base)
    with (
        optuna_storage.quiet(),
        _in_folder(config.folder, config.study, config.storage, trust=trust) if alone else nullcontext(),
    ):
        study = optuna_storage.open_study(
            config.study, config.storage, config.contents, config.directions, first
        )
        try:
            with StudyProgress(config.n_trials, enabled=progress) as display:
                if alone:  # whatever is running was left by a command that was killed
                    claims.Claims(study, config.storage).revive(display.message, alone=True)
                if n_workers == 1:
                    work(study, config, display, one_of_many=False)
                else:
                    lead(study, config, n_workers, display)
        finally:
            write_tables(study, config.folder)
        best = best_trial(study)
        values = dict(best.user_attrs["values"])
        settings = {**config.overrides, **values, "seed": seed}
        write_best(study, config.folder, config.experiment, settings, len(claims.ended(study)))
        draw(study, config.folder)
    return TuningResult(study, values, float(best.values[0]), config.folder)


def _check_experience(config: StudyConfig) -> None:
    """Refuses students that have nothing to learn from, in whatever trial.

    Raises:
        ConfigError: They collect nothing, and the run of their expert keeps none of the states it visited.
    """
    tuned = ("dagger.total_timesteps", "dagger.experience")
    if config.objective == "expert" or any(key.startswith(tuned) for key in config.space.keys):
        return
    for seed in config.seeds:
        experiment = load_experiment(config.experiment, config.settings({}, seed))
        dagger = experiment.dagger
        collects = dagger is None or dagger.total_timesteps or dagger.rollout_timesteps
        if not collects and experiment.expert.experience is None:
            assert config.expert is not None
            raise ConfigError(
                f"{expert_run(config.expert, seed)}: keeps no states that its expert has visited, and "
                "dagger.total_timesteps is 0; expected the folder of a run with dagger.experience.save, or "
                "dagger.experience.rollout_timesteps"
            )


@contextmanager
def _in_folder(folder: Path, study: str, storage: str, *, trust: bool) -> Iterator[None]:
    """The folder of a study that is kept there, new or to be resumed; no other command works in it meanwhile.

    Raises:
        ConfigError: It holds something else, cannot be made, or another command works there.
        UntrustedError: Its study was not made here: what its trials and samplers hold would run.
    """
    make_folder(folder)
    with exclusive_lock(folder, "another command works on this study; wait for it"):
        if all(path.name in {SIGNATURE, LOCK} for path in folder.iterdir()):
            sign_study(folder)
        elif study not in _studies_in(folder, storage, study):
            raise ConfigError(
                f"{folder}: holds something already, and no study {study!r}; expected a new folder, or its"
            )
        elif not (trust or is_own_study(folder)):
            raise UntrustedError(
                f"{folder}: this study was not made here, and would run what its trials and samplers hold; "
                "expected trust=True (--trust) if you know where it is from"
            )
        yield


def _studies_in(folder: Path, storage: str, study: str) -> list[str]:
    """Names of the studies that a folder's journal holds."""
    if not (folder / JOURNAL).is_file():
        return []
    # An empty journal is of one that was killed before it had a study.
    return optuna_storage.studies_of(storage) or [study]
