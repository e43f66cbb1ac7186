"""`run`: the page to read first. Each line of it is a room, and data flows from one to the next.

registry entry -> environment -> joint view -> expert -> labels -> students -> evaluation -> run folder
"""

from __future__ import annotations

import dataclasses
import errno
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from cesma_sb3.config.registry import load_experiment
from cesma_sb3.config.schema import IN_MEMORY, Experiment
from cesma_sb3.errors import (
    CesmaError,
    ConfigError,
    EnvError,
    Interrupted,
    InvalidActionError,
    StorageError,
    UserCodeError,
    error_line,
    is_of_user_code,
)
from cesma_sb3.evaluation import Actor, Change, Returns, make_actor, with_channel
from cesma_sb3.experts import Expert
from cesma_sb3.policies import TeamEnsemble, TeamPolicy
from cesma_sb3.policies.save_util import check_owners
from cesma_sb3.training.checkpoint import Checkpoints
from cesma_sb3.training.dry_run import Rehearsal
from cesma_sb3.training.evaluator import Evaluator, Watch, threads
from cesma_sb3.training.load import expert_agents, initial_agents, load_expert, load_students, try_students
from cesma_sb3.training.pretrained import Handed, keep
from cesma_sb3.training.report import Outcome, make_report, save_results
from cesma_sb3.training.run_folder import CONFIG, RunFolder
from cesma_sb3.training.stages import TrainedExpert, decentralize, fine_tune, train_expert, train_own
from cesma_sb3.utils import modules
from cesma_sb3.utils.closing import closing, logged_by
from cesma_sb3.utils.locks import exclusive_lock
from cesma_sb3.utils.progress import StageProgress, announce
from cesma_sb3.utils.signals import terminated_as_interrupted

_OF_THE_DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EFBIG})


@dataclasses.dataclass(frozen=True)
class RunResult:
    """What a run gives."""

    expert: Expert | None
    """The centralized controller; None of a baseline (`dagger: null`), which has none."""
    students: TeamPolicy | TeamEnsemble
    """All decentralized policies as one; `students.agent(i)` is one of them."""
    report: dict[str, Any]
    """What `report.json` holds."""
    run_dir: Path
    """The run folder."""


def run(
    name: str | Path | None = None,
    *,
    seed: int | None = None,
    out: Path | str | None = None,
    resume: Path | str | None = None,
    trust: bool = False,
    progress: bool = False,
    **overrides: Any,
) -> RunResult:
    """Trains a centralized expert, decentralizes it into one policy for each agent, and measures both.

    An experiment with `dagger: null` is a baseline: its agents learn by themselves, and are all there is.

    Args:
        name: A registered experiment (`cesma list`), or a YAML file. With `resume` it may be left out.
        seed: In place of the experiment's.
        out: The run folder, new or empty; None: `runs/NAME/<time>-seed<N>` under the current folder.
        resume: The folder of an interrupted run, which goes on from its last checkpoint (the experiment's
            `checkpoint` says when one is written). Where the environment's state can be kept, as the particle
            world's is, the numbers are those of a run that was never interrupted; else episodes begin anew.
        trust: That files of the expert may run code when they are loaded (`expert.trust`); with `resume`,
            that the folder may run the code that it names or holds, though it was made elsewhere.
        progress: Show a progress bar of each stage on standard error.
        **overrides: Values in place of the experiment's: nested (`expert={"n_envs": 8}`), or with dotted keys
            (`**{"expert.n_envs": 8}`).

    Raises:
        CesmaError: Bad input: one line, before anything is trained.
        Interrupted: Ctrl-C or SIGTERM: a checkpoint is written first. A second one does not wait for it.

    Example:
        >>> result = cesma_sb3.run("spread-3", seed=1)
        >>> action, _ = result.students.agent(0).predict(own_observation, deterministic=True)
    """
    values = overrides if seed is None else {**overrides, "seed": seed}
    if resume is not None:
        if out is not None:
            raise ConfigError("out and resume: expected one of them: the run goes on in its own folder")
        return _resume(RunFolder.open(resume, trust=trust), name, values, progress)
    if name is None:
        raise ConfigError("expected the name of an experiment, or a run to resume")
    values = {**values, "expert.trust": True} if trust else values
    return run_experiment(load_experiment(name, values), out=out, progress=progress)


def _resume(folder: RunFolder, name: str | Path | None, values: dict[str, Any], progress: bool) -> RunResult:
    """Lets a run go on in its folder, if it is the run that is meant."""
    if name is not None or values:
        meant = load_experiment(folder.path / CONFIG if name is None else name, values, check_names=False)
        if name is not None and "seed" not in values:
            meant = meant.model_copy(update={"seed": folder.experiment.seed})
        if other := folder.differences(meant):
            raise ConfigError(f"{folder.path}: is of another experiment: {other[0]}")
        folder.trust = folder.trust or name is not None  # all that the folder names, the user has named
    if folder.experiment.expert.algorithm == IN_MEMORY:
        raise ConfigError(f"{folder.path}: its expert was in memory alone: this run cannot be resumed")
    experiment = folder.load()
    with _measured(experiment, folder, None, resumes=True) as (_, evaluator):
        return _run(folder, evaluator, progress, None, resumes=True)


def run_experiment(
    experiment: Experiment,
    *,
    out: Path | str | None = None,
    progress: bool = False,
    handed: Handed | None = None,
    watch: Watch | None = None,
) -> RunResult:
    """`run`, of an experiment as resolved.

    Args:
        experiment: Its values.
        out: See `run`.
        progress: Likewise.
        handed: The expert itself, if `decentralize` was given it.
        watch: Told of each measurement on the way; what it raises ends the run.
    """
    with _measured(experiment, out, watch, handed) as (folder, evaluator):
        return _run(folder, evaluator, progress, handed)


def _run(
    folder: RunFolder,
    evaluator: Evaluator,
    progress: bool,
    handed: Handed | None,
    *,
    resumes: bool = False,
) -> RunResult:
    """Both stages and what they come to; of a run that goes on, what is left of them."""
    experiment = evaluator.experiment
    checkpoints = Checkpoints(folder, experiment.checkpoint, resumes=resumes)
    rehearsal = Rehearsal(folder, experiment, evaluator)
    outcome = _train(
        experiment, evaluator, checkpoints, progress=progress, handed=handed, rehearsal=rehearsal
    )
    report = _finish(folder, experiment, evaluator, outcome)
    checkpoints.remove()
    assert outcome.students is not None
    expert = None if outcome.trained is None else outcome.trained.expert
    return RunResult(expert, outcome.students.policy, report, folder.path)


def run_expert(
    experiment: Experiment,
    *,
    out: Path | str | None = None,
    progress: bool = False,
    watch: Watch | None = None,
) -> dict[str, Any]:
    """The first stage of a run alone. Its folder can be named by `expert.init_from`.

    Args:
        experiment: Its values; it has an expert to be imitated.
        out: See `run`.
        progress: Likewise.
        watch: See `run_experiment`.

    Returns:
        The report, without students.
    """
    with (
        _measured(experiment, out, watch) as (folder, evaluator),
        StageProgress("expert", experiment.expert.total_timesteps, enabled=progress) as shown,
    ):
        checkpoints = Checkpoints(folder, experiment.checkpoint)
        tried = Rehearsal(folder, evaluator.experiment, evaluator).alone
        trained = train_expert(evaluator.experiment, evaluator, checkpoints, shown.update, tried=tried)
        report = _finish(folder, evaluator.experiment, evaluator, Outcome(trained, None))
        checkpoints.remove()
        return report


@contextmanager
def _measured(
    experiment: Experiment,
    out: Path | str | RunFolder | None,
    watch: Watch | None,
    handed: Handed | None = None,
    *,
    resumes: bool = False,
) -> Iterator[tuple[RunFolder, Evaluator]]:
    """A run folder that holds all that the run needs, and what measures; if the run fails it tells why.

    Args:
        experiment: As resolved.
        out: Of a run that resumes, its folder; else see `run`.
        watch: See `run_experiment`.
        handed: The expert itself, if `decentralize` was given it.
        resumes: Whether the folder has all of it already.
    """
    if (module := modules.being_imported()) is not None:
        raise ConfigError(
            f"{module}: makes a run while it is imported; expected `if __name__ == '__main__':` before it"
        )
    folder = out if isinstance(out, RunFolder) else RunFolder.create(experiment, out)
    with (
        terminated_as_interrupted(),
        threads(experiment.threads),
        exclusive_lock(folder.path, "another run writes there"),
        _recorded(folder, resumes=resumes, watched=watch is not None),
        logged_by(folder.log),
    ):
        if not resumes:
            keep(folder, experiment, handed)
        owners = None if resumes else expert_agents(experiment, handed)
        agents = folder.agents or owners or initial_agents(experiment)
        with closing(Evaluator(experiment, watch, agents)) as evaluator:
            if owners is not None:
                where = experiment.expert.path if handed is None else f"expert {experiment.expert.algorithm}"
                check_owners(owners, evaluator.venv.team.agents, where or "expert")
            folder.keep_agents(evaluator.venv.team.agents)
            evaluator.slack()  # refused here, if there is no such thing
            try_students(experiment, evaluator.venv.team)
            yield folder, evaluator


def _finish(
    folder: RunFolder, experiment: Experiment, evaluator: Evaluator, outcome: Outcome
) -> dict[str, Any]:
    """Measures what was trained, and writes everything down."""
    expert = None if outcome.trained is None else outcome.trained.expert
    students = None if outcome.students is None else evaluator.act_of(outcome.students.policy)
    measured = {who: way.returns for who, way in outcome.ways.items()}
    returns = _final_returns(evaluator, expert, students, measured)
    if outcome.imitators is not None:
        returns["imitators"] = evaluator.final(evaluator.act_of(outcome.imitators.policy))
    report = make_report(experiment, returns, outcome)
    save_results(folder, experiment, returns=returns, outcome=outcome, report=report)
    return report


def evaluate_run(
    run_dir: Path | str,
    *,
    episodes: int | None = None,
    seed: int | None = None,
    messages: Change | None = None,
    trust: bool = False,
    **overrides: Any,
) -> dict[str, Any]:
    """Measures the policies of a run folder again, perhaps in another environment.

    Args:
        run_dir: A finished run's folder.
        episodes: Of each policy; None: as many as the experiment says.
        seed: Of the episodes' initial states; None: the run's, which gives the report's own numbers again.
        messages: What the students hear instead of what was said (`with_channel`); None: what was said.
        trust: That the folder may run the code that it names or holds, though it was made elsewhere.
        **overrides: Values in place of the run's, as `run` takes them. Agents are found by their names, in
            whatever order the environment has them. With `env.kwargs.n_agents=12`, policies over entities,
            whose agents share all weights, act in a team of another size.

    Returns:
        `return`, `normalized`, `std` and `standard_error` by policy, and `episodes`.

    Raises:
        StorageError: A file of the run is missing or torn, or its weights belong to other agents.
        UntrustedError: The folder would run code, and was not made here.
        ConfigError: A value is out of its range.
        LayoutError: `messages` is given, and nobody hears any in this team.
        UnknownNameError: There is no such change of the messages.
    """
    folder = RunFolder.open(run_dir, trust=trust)
    changes: dict[str, Any] = overrides if seed is None else {**overrides, "seed": seed}
    if episodes is not None:
        changes = {**changes, "evaluation.n_final_episodes": episodes}
    experiment = folder.load(changes)
    with threads(experiment.threads), closing(Evaluator(experiment, agents=folder.agents)) as evaluator:
        expert = None if experiment.dagger is None else load_expert(folder, evaluator)
        act = evaluator.act_of(load_students(folder, evaluator.venv.team))
        if messages is not None:
            rng = np.random.default_rng(evaluator.seeds.students)
            act = with_channel(act, evaluator.venv.team, messages, rng)
        returns = _final_returns(evaluator, expert, act)
    return make_report(experiment, returns)


def _train(
    experiment: Experiment,
    evaluator: Evaluator,
    checkpoints: Checkpoints,
    *,
    progress: bool,
    handed: Handed | None,
    rehearsal: Rehearsal,
) -> Outcome:
    """An expert, what is learned from it, and what comes of that; of a baseline, a team by itself."""
    bar = partial(StageProgress, enabled=progress)
    if experiment.dagger is None:
        with bar("students", experiment.expert.total_timesteps) as shown:
            return Outcome(
                None, train_own(experiment, evaluator, checkpoints, shown.update, tried=rehearsal.team)
            )

    def tried(untrained: TrainedExpert) -> None:
        """Nothing is shown before everything was checked: bad input is one line."""
        rehearsal.expert(untrained)
        announce(f"students: a dataset of at most {rehearsal.dataset()}", enabled=progress)

    with bar("expert", experiment.expert.total_timesteps) as shown:
        trained = train_expert(experiment, evaluator, checkpoints, shown.update, tried=tried, handed=handed)
    with bar("students", experiment.dagger.total_timesteps) as shown:
        students = decentralize(experiment, trained, evaluator, checkpoints, shown.update)
    if experiment.fine_tuning is None:
        return Outcome(trained, students)
    with bar("fine-tuning", experiment.fine_tuning.total_timesteps) as shown:
        tuned = fine_tune(
            experiment, students, trained.expert, evaluator, checkpoints=checkpoints, tick=shown.update
        )
    return Outcome(trained, tuned, imitators=students)


def _final_returns(
    evaluator: Evaluator,
    expert: Expert | None,
    students: Actor | None,
    measured: Mapping[str, Returns] = MappingProxyType({}),
) -> dict[str, Returns]:
    """What each policy returns, all on the same initial states; what was measured already stays."""
    acts = {"expert": None if expert is None else make_actor(expert), "students": students}
    returns = {
        policy: measured[policy] if policy in measured else evaluator.final(act)
        for policy, act in acts.items()
        if act is not None
    }
    return {**returns, **evaluator.anchors()}


@contextmanager
def _recorded(folder: RunFolder, *, resumes: bool, watched: bool) -> Iterator[None]:
    """Leaves the reason in the run folder if the run fails; bad input leaves no folder.

    Args:
        folder: The run's.
        resumes: Whether the run goes on in it.
        watched: Whether somebody watches, and may end the run by an error that is handed on as it is.
    """
    try:
        if resumes:
            folder.resume()
        yield
    except BaseException as error:
        refused = isinstance(error, CesmaError) and not isinstance(error, EnvError | InvalidActionError)
        with suppress(StorageError):  # which the error is about, perhaps
            if isinstance(error, KeyboardInterrupt):
                folder.interrupt()
            elif resumes or not (refused and folder.discard()):
                folder.fail(error)
        if isinstance(error, KeyboardInterrupt):
            raise Interrupted(folder.path) from None
        if isinstance(error, OSError) and error.errno in _OF_THE_DISK:  # of SB3's loggers
            raise StorageError(f"{folder.path}: cannot be written: {error.strerror}") from None
        ours = not isinstance(error, Exception) or isinstance(error, CesmaError | MemoryError)
        if not ours and not watched and is_of_user_code(error):
            raise UserCodeError(f"{folder.path}: {error_line(error)}") from error
        raise
