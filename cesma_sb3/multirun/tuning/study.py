"""`tune`: an experiment run again and again with other values, by Optuna, for what it scores."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from cesma_sb3.config.registry import is_name, load_experiment
from cesma_sb3.config.schema import Experiment
from cesma_sb3.config.validation import plain
from cesma_sb3.errors import CesmaError, ConfigError, UntrustedError, integer, short_repr, unknown_name
from cesma_sb3.multirun.tuning import claims
from cesma_sb3.multirun.tuning import storage as optuna_storage
from cesma_sb3.multirun.tuning.progress import StudyProgress
from cesma_sb3.multirun.tuning.results import BEST, TRIALS, best_trial, draw, write_best, write_tables
from cesma_sb3.multirun.tuning.search_space import SearchSpace, default_spaces, load_space, merged
from cesma_sb3.multirun.tuning.trial import Objective, Trials, expert_values
from cesma_sb3.multirun.tuning.workers import Workers
from cesma_sb3.training.run_folder import make_folder
from cesma_sb3.training.trust import SIGNATURE, is_own_study, sign_study
from cesma_sb3.utils import locks
from cesma_sb3.utils.file_names import as_path
from cesma_sb3.utils.signals import terminated_as_interrupted

if TYPE_CHECKING:
    import optuna

__all__ = ["BEST", "TRIALS", "TuningResult", "tune"]

DEFAULT_TRIALS = 20
JOURNAL = "study.journal"
"""In the study's folder, where no storage is named."""
_WAIT_SECONDS = 0.5
"""Between two looks, while others are at work on the last trials."""


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


@dataclasses.dataclass(frozen=True)
class _Options:
    """How studies are gone through: see `tune`."""

    count: int | None
    minutes: float | None
    workers: int
    storage: str | None
    sampler: str
    pruner: str
    seeds: tuple[int, ...]
    progress: bool
    as_worker: bool
    trust: bool


@dataclasses.dataclass(frozen=True)
class _Request:
    """A study as it was asked for."""

    trials: Trials
    name: str
    storage: str
    alone: bool
    """No other command works on it: it is kept in its own folder."""
    sampler: str
    pruner: str
    seed: int
    deadline: float | None
    """In the clock of `time.monotonic`."""

    @property
    def directions(self) -> tuple[optuna_storage.Direction, ...]:
        """Of each objective."""
        both = self.trials.objective == "students-and-samples"
        return ("maximize", "minimize") if both else ("maximize",)

    @property
    def is_over(self) -> bool:
        """Whether no more trials are to begin."""
        return self.deadline is not None and time.monotonic() >= self.deadline


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
    as_worker: bool = False,
    trust: bool = False,
    **overrides: Any,
) -> TuningResult:
    """Runs an experiment with values from a search space, and looks for those that score best.

    A trial whose values are refused counts as failed, with its `cause`; a programming error ends the study.
    The first trial has the experiment's own values, where the space has them: the others are to be better.
    The best score was chosen from many: run `best.yaml` with another seed for one to report.

    Args:
        name: A registered experiment, or a YAML file.
        space: Search spaces of `tuning/`, or YAML files; None: those of its expert and students.
        trials: Ended ones that the study is to have; None: 20, or as many as `minutes` has room for.
        minutes: After these, no trial begins.
        workers: Processes on this machine. The same call on other machines, with the same `storage` and
            `study`, adds more.
        storage: `sqlite:///FILE`, `journal:///FILE`, `postgresql://...`: where the study is kept, and resumed
            from; None: a journal in the study's folder, so that the same call resumes it.
        study: Its name; None: `<experiment>-<space>-seed<N>`.
        objective: What is to be high: see `Trials.objective`.
        seeds: Runs of each trial, whose mean score counts: seeds `seed`, `seed + 1`, ...
        sampler: `tpe`, `cmaes`, `random`, `gp`, or `grid`.
        pruner: Ends trials early: `median` and `hyperband` by scores on the way, in both stages; `wilcoxon`
            by the scores of the first seeds.
        expert: A run folder (or one with a run for each seed) whose expert is used: students alone are tuned.
        stage_wise: Tunes the expert first, then the students of the best one, which is not trained again;
            each stage has this many trials, or half of the minutes.
        seed: The first of the runs', and of the choice of values.
        out: The study's folder; None: `runs/tune/<study>` under the current folder.
        progress: Show how far the study is on standard error.
        as_worker: Only run trials: somebody else writes down what they come to.
        trust: That the folder `expert` may run the code that it names or holds, though it was made elsewhere.
        **overrides: Values in place of the experiment's, in every trial.

    Raises:
        CesmaError: Bad input, before anything is trained; or no trial finished.
        RuntimeError: A worker had a programming error; its log is named.
    """
    trials = None if trials is None else integer("trials", trials, 1)
    workers, seeds, seed = integer("workers", workers, 1), integer("seeds", seeds, 1), integer("seed", seed)
    if minutes is not None and not minutes > 0:
        raise ConfigError(f"minutes: expected more than 0, got {minutes}")
    if objective not in get_args(Objective):
        raise ConfigError(f"objective: {unknown_name('objective', objective, get_args(Objective))}")
    if study is not None and not is_name(study):
        raise ConfigError(f"study: expected letters, digits and - _ . only, got {short_repr(study)}")
    fixed = {**plain(overrides), "seed": seed}
    base = load_experiment(name, fixed)
    if stage_wise and (objective != "students" or expert is not None or base.dagger is None):
        raise ConfigError(
            "stage_wise: expected an expert to be trained and imitated, for the students' score"
        )
    if base.dagger is None and objective == "expert":
        raise ConfigError(f"objective: expected students, for {base.name} has no expert that is imitated")
    options = _Options(
        count=DEFAULT_TRIALS if trials is None and minutes is None else trials,
        minutes=minutes,
        workers=workers,
        storage=storage,
        sampler=sampler,
        pruner=pruner,
        seeds=tuple(range(seed, seed + seeds)),
        progress=progress,
        as_worker=as_worker,
        trust=trust,
    )
    named = [] if space is None else [space] if isinstance(space, str | Path) else list(space)
    if stage_wise:
        study = study or f"{base.name}-stage-wise-seed{seed}"
        return _by_stage(name, base, fixed, named, options, study, _folder(study, out))
    found = _spaces(named, base, objective, reused=expert is not None)
    study = study or f"{base.name}-{found.name}-seed{seed}"
    given = None if expert is None else as_path(expert)
    return _study(name, found, fixed, objective, options, study, _folder(study, out), given)


def _folder(study: str, out: Path | str | None) -> Path:
    folder = Path("runs", "tune", study) if out is None else as_path(out)
    if above := [each for each in (folder, *folder.parents) if each.is_file()]:
        raise ConfigError(f"{above[0]}: is a file; expected a folder")
    return folder


def _by_stage(  # noqa: PLR0917  # as `_study`
    name: str | Path,
    base: Experiment,
    fixed: dict[str, Any],
    named: Sequence[str | Path],
    options: _Options,
    study: str,
    folder: Path,
) -> TuningResult:
    """The expert's study, then that of the students of its best."""
    if named and len(named) != 2:
        raise ConfigError(f"space: expected two, the expert's and the students', got {len(named)}")
    if options.minutes is not None:
        options = dataclasses.replace(options, minutes=options.minutes / 2)
    of_expert = _spaces(named[:1], base, "expert")
    of_students = _spaces(named[1:], base, "students", reused=True)
    own = folder / "expert"
    first = _study(name, of_expert, fixed, "expert", options, f"{study}-expert", own)
    best = own / f"trial-{best_trial(first.study).number}"
    others = {key: value for key, value in fixed.items() if not _is_of_expert(key)}
    return _study(name, of_students, others, "students", options, study, folder / "students", best)


def _is_of_expert(key: str) -> bool:
    return key.split(".")[0] == "expert"


def _spaces(
    named: Sequence[str | Path], base: Experiment, objective: Objective, *, reused: bool = False
) -> SearchSpace:
    """What is tuned: what was named, or what goes with the experiment's expert and students."""
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


def _study(  # noqa: PLR0917  # what makes a study, and how it is gone through
    name: str | Path,
    space: SearchSpace,
    fixed: dict[str, Any],
    objective: Objective,
    options: _Options,
    study: str,
    folder: Path,
    expert: Path | None = None,
) -> TuningResult:
    """One study, from its beginning or from where it was left."""
    seeds, storage, workers = options.seeds, options.storage, options.workers
    seed = seeds[0]
    if expert is not None:
        for key in fixed:
            if _is_of_expert(key):
                raise ConfigError(f"override: {key}: expected none, for the expert is that of {expert}")
        fixed = {**fixed, "expert": expert_values(expert, seed, trust=options.trust)}
    space.check(name, fixed)
    base = load_experiment(name, fixed)
    trials = Trials(name, space, fixed, objective, seeds, folder, options.count, options.pruner, expert)
    deadline = None if options.minutes is None else time.monotonic() + 60 * options.minutes
    alone = storage is None
    if storage is None:
        storage = f"{optuna_storage.JOURNAL}{folder / JOURNAL}"
    request = _Request(trials, study, storage, alone, options.sampler, options.pruner, seed, deadline)
    optuna_storage.check_names(options.sampler, options.pruner, len(request.directions))
    if options.sampler == "grid":
        space.grid()
    contents: dict[str, Any] = {"experiment": base.to_mapping(), "space": space.to_mapping()}
    if objective != "students" or len(seeds) > 1:
        contents |= {"objective": objective, "seeds": list(seeds)}
    own = None if options.sampler == "grid" or options.as_worker else space.parameters_of(base)
    kept_here = _in_folder(folder, study, storage, trust=options.trust) if alone else nullcontext()
    with optuna_storage.quiet(), kept_here:
        found = optuna_storage.open_study(study, storage, contents, request.directions, own)
        try:
            with StudyProgress(options.count, enabled=options.progress and not options.as_worker) as shown_:
                if alone:  # this process has begun nothing yet: what is its own was left by an earlier call
                    claims.revive(found, shown_.told, dead={claims.Worker.of().name}, alone=True)
                if workers == 1:
                    _work(found, request, shown_)
                else:
                    _lead(found, request, workers, shown_, trust=options.trust)
        finally:
            if not options.as_worker:
                write_tables(found, folder)
        return _result(found, request, write=not options.as_worker)


@contextmanager
def _in_folder(folder: Path, study: str, storage: str, *, trust: bool) -> Iterator[None]:
    """The folder of a study that is kept there, new or to be resumed; no other command works in it meanwhile.

    Raises:
        ConfigError: It holds something else, cannot be made, or another command works there.
        UntrustedError: Its study was not made here: what its trials and samplers hold would run.
    """
    make_folder(folder)
    with locks.alone(folder, "another command works on this study; wait for it"):
        if all(path.name == SIGNATURE for path in folder.iterdir()):
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


def _work(study: optuna.Study, request: _Request, progress: StudyProgress) -> None:
    """Runs trials until there are enough, or time is up, or the grid has no more."""
    trials, me = request.trials, claims.Worker.of().name
    grid = trials.space.grid() if request.sampler == "grid" else None
    while True:
        claims.revive(study, progress.told, alone=request.alone)
        done = claims.ended(study)
        progress.update(study, done)
        if request.is_over or (trials.wanted is not None and len(done) >= trials.wanted):
            return
        busy = claims.running(study)
        if trials.wanted is not None and len(done) + len(busy) >= trials.wanted:
            time.sleep(_WAIT_SECONDS)  # one of them may die, and its trial is then done here
            continue
        others = [ord(letter) for letter in me] if busy else []
        study.sampler = optuna_storage.make_sampler(request.sampler, [request.seed, len(done), *others], grid)
        study.pruner = optuna_storage.make_pruner(request.pruner, _every(request))
        if grid is not None and study.sampler.is_exhausted(study):  # type: ignore[attr-defined]  # GridSampler's
            return
        _run_one(study, trials, progress)


def _run_one(study: optuna.Study, trials: Trials, progress: StudyProgress) -> None:
    """Runs a trial. Its result is dropped if others took this worker for dead and do the trial again."""
    import optuna

    begun: list[int] = []
    taken: list[int] = []

    def run(trial: optuna.Trial) -> float | tuple[float, float]:
        begun.append(trial.number)
        try:
            return trials(trial)
        except optuna.exceptions.UpdateFinishedTrialError:
            taken.append(trial.number)
            raise

    try:
        study.optimize(run, n_trials=1, catch=(CesmaError,))
    except KeyboardInterrupt:  # Optuna counts the trial as failed: the study does it again when it resumes
        for trial in study.get_trials(deepcopy=False):
            if trial.number in begun:
                optuna_storage.retry(study, trial)
        raise
    except ValueError:  # Optuna's, which cannot end a trial that has been ended
        if not taken:
            raise
        progress.told(f"trial {taken[0]}: this worker was silent for so long that the trial is done again")


def _every(request: _Request) -> int:
    """Environment timesteps between two reports."""
    return load_experiment(request.trials.name, request.trials.fixed).evaluation.eval_freq


def _lead(
    study: optuna.Study, request: _Request, workers: int, progress: StudyProgress, *, trust: bool
) -> None:
    """Has processes run the trials, and replaces those that die."""
    trials = request.trials
    words = [
        *("tune", str(trials.name), "--study", request.name, "--as-worker"),
        *("--sampler", request.sampler, "--pruner", request.pruner, "--objective", trials.objective),
        *("--seeds", str(len(trials.seeds)), "--seed", str(request.seed), "--out", str(trials.folder)),
        *(() if trials.expert is None else ("--expert", str(trials.expert))),
        *(() if trials.wanted is None else ("--trials", str(trials.wanted))),
        *(("--trust",) if trust else ()),
    ]
    for part in trials.space.parts:
        words += ["--space", part]
    for key, value in trials.fixed.items():
        if key != "seed" and not (trials.expert is not None and _is_of_expert(key)):
            words += ["--set", f"{key}={json.dumps(value)}"]
    with (
        terminated_as_interrupted(),
        Workers(
            words,
            workers,
            trials.folder / "workers",
            request.deadline,
            {optuna_storage.STORAGE: request.storage},
        ) as team,
    ):
        while team.is_working():
            claims.revive(study, progress.told, dead=team.ended, alone=request.alone)
            progress.update(study, claims.ended(study))
            time.sleep(_WAIT_SECONDS)
    progress.update(study, claims.ended(study))


def _result(study: optuna.Study, request: _Request, *, write: bool) -> TuningResult:
    """The best trial, and everything that a study leaves."""
    trials = request.trials
    best = best_trial(study)
    values = dict(best.user_attrs["values"])
    if write:
        settings = {**trials.fixed, **values, "seed": request.seed}
        write_best(study, trials.folder, trials.name, settings, len(claims.ended(study)))
        draw(study, trials.folder)
    return TuningResult(study, values, float(best.values[0]), trials.folder)
