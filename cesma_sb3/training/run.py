"""`run` trains one experiment from start to end: the file to read first. Data flows one way.

registry entry -> environment -> joint view -> expert -> labels -> students -> evaluation -> run folder
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from stable_baselines3.common.on_policy_algorithm import OnPolicyAlgorithm

from cesma_sb3.config.registry import load_experiment
from cesma_sb3.config.schema import IN_MEMORY, DaggerConfig, Experiment
from cesma_sb3.errors import ConfigError
from cesma_sb3.experts import Expert
from cesma_sb3.imitation.visited_states import VisitedArrays, save_states, visited_arrays
from cesma_sb3.policies import TeamEnsemble, TeamPolicy
from cesma_sb3.policies.save_util import check_owners
from cesma_sb3.training.build import BuiltRun, build
from cesma_sb3.training.checkpoint import Checkpoints
from cesma_sb3.training.context import RunContext, find_device, torch_settings
from cesma_sb3.training.evaluate_run import final_returns
from cesma_sb3.training.evaluator import Evaluator, Spectator, Watch
from cesma_sb3.training.experiment_files import EXPERIENCE
from cesma_sb3.training.load import expert_agents, initial_agents
from cesma_sb3.training.outcome import Outcome, TrainedExpert
from cesma_sb3.training.pretrained import InMemoryExpert, keep_input_files
from cesma_sb3.training.report import make_report, report_rows, save_results
from cesma_sb3.training.run_folder import CONFIG, FIGURE, RunFolder
from cesma_sb3.training.run_status import recorded, refuse_while_importing
from cesma_sb3.training.stages import decentralize, fine_tune, train_baseline, train_expert
from cesma_sb3.training.user_callbacks import make_callbacks
from cesma_sb3.utils.closing import closing
from cesma_sb3.utils.progress import StageProgress, announce
from cesma_sb3.utils.tables import html_picture, html_table


@dataclasses.dataclass(frozen=True)
class RunResult:
    """What a run returns."""

    expert: Expert | None
    """The centralized controller; None of a baseline (`dagger: null`), which has none."""
    students: TeamPolicy | TeamEnsemble
    """All decentralized policies as one; `students.agent(i)` is one of them."""
    report: dict[str, Any]
    """The content of `report.json`."""
    run_dir: Path
    """The run folder."""

    def _repr_html_(self) -> str:
        """What a notebook shows: the report's scores and the learning curves."""
        title = f"{self.report['name']}, seed {self.report['seed']}: {self.run_dir}"
        curves = html_picture(self.run_dir / FIGURE, "returns of expert and students while they learn")
        return html_table(title, *report_rows(self.report)) + curves


def run(
    name: str | Path | None = None,
    *,
    seed: int | None = None,
    out: Path | str | None = None,
    resume: Path | str | None = None,
    trust: bool = False,
    progress: bool = False,
    spectator: Spectator | None = None,
    overrides: Mapping[str, Any] | None = None,
    **more: Any,
) -> RunResult:
    """Trains a centralized expert, decentralizes it into one policy for each agent, and measures both.

    An experiment with `dagger: null` is a baseline: its agents learn by themselves, and are all there is.

    Args:
        name: A registered experiment (`cesma list`), or a YAML file. With `resume` it may be left out.
        seed: Seed in place of the experiment's.
        out: The run folder, new or empty; None: `runs/NAME/<time>-seed<N>` under the current folder.
        resume: The folder of an interrupted run, which is resumed from its last checkpoint (the experiment's
            `checkpoint` says when one is written). Where the environment's state can be kept, as the particle
            world's is, the numbers are those of a run that was never interrupted; else episodes begin anew.
        trust: Whether files of the expert may run code when they are loaded (`expert.trust`); with `resume`,
            whether the folder may run the code that it names or holds, though it was made elsewhere.
        progress: Whether to show a progress bar of each stage on standard error.
        spectator: Told where the run is, and shown the team after each evaluation while it trains, as
            `cesma_sb3.analysis.training_page.TrainingPage` is. The results are the same without it.
        overrides: Values in place of the experiment's, by dotted key (`{"expert.n_envs": 8}`) or nested.
        **more: Further overrides, as keywords: `expert={"n_envs": 8}`.

    Raises:
        CesmaError: Bad input: one line, before anything is trained.
        Interrupted: Ctrl-C or SIGTERM: a checkpoint is written first. A second one does not wait for it.

    Example:
        >>> result = cesma_sb3.run("spread-3", seed=1)
        >>> mode = result.students.acts_deterministically
        >>> action, _ = result.students.agent(0).predict(own_observation, deterministic=mode)
    """
    values = {**(overrides or {}), **more} | ({} if seed is None else {"seed": seed})
    if resume is not None:
        if out is not None:
            raise ConfigError("out and resume: expected one of them: a run is resumed in its own folder")
        return _resume(RunFolder.open(resume, trust=trust), name, values, progress, spectator)
    if name is None:
        raise ConfigError("expected the name of an experiment, or a run to resume")
    values = {**values, "expert.trust": True} if trust else values
    return run_experiment(load_experiment(name, values), out=out, progress=progress, spectator=spectator)


def run_experiment(
    experiment: Experiment,
    *,
    out: Path | str | None = None,
    progress: bool = False,
    in_memory: InMemoryExpert | None = None,
    states: VisitedArrays | None = None,
    watch: Watch | None = None,
    spectator: Spectator | None = None,
) -> RunResult:
    """Trains an experiment as `run` does, given its resolved values in place of its name.

    Args:
        experiment: As resolved.
        out: The run folder, new or empty; None: `runs/NAME/<time>-seed<N>` under the current folder.
        progress: Whether to show a progress bar of each stage on standard error.
        in_memory: The expert itself, if `decentralize` took one in memory.
        states: States that the expert labels, if `decentralize` took them in memory.
        watch: Called after each evaluation during training; what it raises ends the run.
        spectator: Looks on while the run trains (`run`).

    Raises:
        CesmaError: Bad input: one line, before anything is trained.
        Interrupted: Ctrl-C or SIGTERM: a checkpoint is written first.
    """
    with _open_run(experiment, out, in_memory, states, watch, spectator=spectator) as context:
        built = build(experiment, context, in_memory)
        return _run(experiment, built, progress)


def run_expert(
    experiment: Experiment,
    *,
    out: Path | str | None = None,
    progress: bool = False,
    watch: Watch | None = None,
) -> dict[str, Any]:
    """Runs the first stage of an experiment alone. `expert.init_from` can name its folder.

    The folder keeps the states that the expert has visited, if students would learn from them, as with
    `dagger.experience.save`: `expert.experience` can name the file (`EXPERIENCE`).

    Args:
        experiment: As resolved; it has an expert that could be imitated.
        out: The run folder, new or empty; None: `runs/NAME/<time>-seed<N>` under the current folder.
        progress: Whether to show a progress bar on standard error.
        watch: Called after each evaluation during training; what it raises ends the run.

    Returns:
        The report, without students.
    """
    with _open_run(experiment, out, watch=watch) as context:
        built = build(experiment, context, has_students=False)
        outcome = _train(built, progress)
        return _finish(experiment, context, outcome)


def _resume(
    folder: RunFolder,
    name: str | Path | None,
    values: dict[str, Any],
    progress: bool,
    spectator: Spectator | None,
) -> RunResult:
    """Resumes a run in its folder, if it is the run that the user means."""
    if name is not None or values:
        meant = load_experiment(folder.path / CONFIG if name is None else name, values, check_names=False)
        if name is not None and "seed" not in values:
            meant = meant.model_copy(update={"seed": folder.experiment.seed})
        if different := folder.differences(meant):
            raise ConfigError(f"{folder.path}: is of another experiment: {different[0]}")
        folder.trust = folder.trust or name is not None  # all that the folder names, the user has named
    if folder.experiment.expert.algorithm == IN_MEMORY:
        raise ConfigError(f"{folder.path}: its expert was in memory alone: this run cannot be resumed")
    experiment = folder.load()
    with _open_run(experiment, folder, spectator=spectator) as context:
        built = build(experiment, context)
        return _run(experiment, built, progress)


@contextmanager
def _open_run(
    experiment: Experiment,
    out: Path | str | RunFolder | None,
    in_memory: InMemoryExpert | None = None,
    states: VisitedArrays | None = None,
    watch: Watch | None = None,
    *,
    spectator: Spectator | None = None,
) -> Iterator[RunContext]:
    """Opens the run's environment for evaluations, in a run folder that records how the run ends.

    A new run's folder first gets the files that the experiment names, and the order of its agents.

    Args:
        experiment: As resolved.
        out: The folder of a run that is resumed; else that of a new run, as `run` takes it.
        in_memory: The expert itself, if `decentralize` took one in memory.
        states: States that the expert labels, if `decentralize` took them in memory.
        watch: Called after each evaluation during training.
        spectator: Looks on while the run trains.
    """
    refuse_while_importing()
    resumes = isinstance(out, RunFolder)
    folder = out if isinstance(out, RunFolder) else RunFolder.create(experiment, out)
    with recorded(folder, resumes=resumes, watched=watch is not None), torch_settings(experiment.threads):
        if spectator is not None:
            spectator.begin(folder.path)
        owners = None
        if not resumes:
            keep_input_files(folder, experiment, in_memory, states)
            owners = expert_agents(experiment, in_memory)
        agents = folder.agents or owners or initial_agents(experiment)
        # In the run's own copy of the team that plays the other side of a game.
        made = Evaluator(folder.here(experiment), watch, agents, spectator=spectator)
        with closing(made) as evaluator:
            if owners is not None:
                config = experiment.expert
                where = config.path if in_memory is None else f"expert {config.algorithm}"
                check_owners(owners, evaluator.venv.team.agents, where or "expert")
            folder.keep_agents(evaluator.venv.team.agents)
            yield RunContext(
                evaluator,
                Checkpoints(folder, experiment.checkpoint, resume=resumes),
                find_device(experiment.device),
                experiment.evaluation.eval_freq,
                make_callbacks(experiment.callbacks),
            )


def _run(experiment: Experiment, built: BuiltRun, progress: bool) -> RunResult:
    """Trains all stages, measures what they trained, and writes the results."""
    outcome = _train(built, progress)
    assert outcome.students is not None
    announce(
        f"evaluation: {experiment.evaluation.n_final_episodes} episodes of each policy", enabled=progress
    )
    report = _finish(experiment, built.context, outcome)
    expert = None if outcome.expert is None else outcome.expert.expert
    return RunResult(expert, outcome.students.policy, report, built.context.folder.path)


def _train(built: BuiltRun, progress: bool) -> Outcome:
    """Trains the expert, then the students on its labels, then the students on the team's reward.

    A baseline's agents are trained by themselves.
    """
    context = built.context
    bar = partial(StageProgress, enabled=progress)
    if built.dataset_size is not None:
        announce(f"students: experience and dataset of at most {built.dataset_size}", enabled=progress)
    if built.expert.training is not None:
        _announce_rollouts(
            "expert", built.expert.model, built.expert.config.total_timesteps, enabled=progress
        )
    if (tuning := built.fine_tuning) is not None:
        _announce_rollouts("fine_tuning", tuning.model, tuning.config.total_timesteps, enabled=progress)
    if built.is_baseline:
        with bar("students", built.expert.config.total_timesteps) as shown:
            return Outcome(None, train_baseline(built.expert, context, shown.update))
    if built.expert.training is None:
        n_episodes = context.evaluator.config.n_final_episodes
        announce(f"expert: evaluated in {n_episodes} episodes before the students learn", enabled=progress)
    with bar("expert", built.expert.config.total_timesteps) as shown:
        expert = train_expert(built.expert, context, shown.update)
    _save_experience(built, expert)
    if built.students is None:
        return Outcome(expert, None)
    with _students_bar(built.students.config, expert, enabled=progress) as shown:
        students = decentralize(
            built.students, expert.expert, context, shown.update, experience=expert.experience
        )
    if built.fine_tuning is None:
        return Outcome(expert, students)
    assert isinstance(students.policy, TeamPolicy)
    with bar("fine-tuning", built.fine_tuning.config.total_timesteps) as shown:
        tuned = fine_tune(built.fine_tuning, students.policy, expert.expert, context, shown.update)
    return Outcome(expert, tuned, imitators=students)


def _announce_rollouts(section: str, model: Any, budget: int, *, enabled: bool) -> None:
    """Says that an on-policy algorithm takes more steps than its budget: SB3 collects whole rollouts."""
    if not isinstance(model, OnPolicyAlgorithm) or (size := model.n_steps * model.n_envs) <= budget:
        return
    steps = f"{size:,} steps, {section}.kwargs.n_steps {model.n_steps:,} in {model.n_envs:,} environments"
    announce(
        f"{section}: one rollout is {steps}: more than {section}.total_timesteps, {budget:,}", enabled=enabled
    )


def _save_experience(built: BuiltRun, expert: TrainedExpert) -> None:
    """Keeps the states of the expert's training in the folder, if they are wanted; those of a file are there.

    It is done before the students' dataset takes memory.
    """
    students = None if built.students is None else built.students.config.experience
    is_wanted = built.students is None or (students is not None and students.save)
    visited = None if built.expert.config.experience is not None else expert.experience
    if is_wanted and visited is not None and len(visited):
        built.context.folder.write_with(EXPERIENCE, partial(save_states, visited_arrays(visited)))


def _students_bar(config: DaggerConfig, expert: TrainedExpert, *, enabled: bool) -> StageProgress:
    """Shows the timesteps of their stage, the expert's too; where they collect none, their gradient steps."""
    n_visited = len(expert.experience or ())
    if config.total_timesteps or config.experience is None:
        n_rollout = 0 if n_visited else config.rollout_timesteps
        return StageProgress("students", n_rollout + config.total_timesteps, enabled=enabled)
    n_samples = n_visited or config.experience.rollout_timesteps
    n_updates = config.experience.n_updates or n_samples // config.samples_per_update
    return StageProgress("students", n_updates, unit="updates", enabled=enabled)


def _finish(experiment: Experiment, context: RunContext, outcome: Outcome) -> dict[str, Any]:
    """Measures what was trained, writes the results, and removes the checkpoints."""
    evaluator, folder = context.evaluator, context.folder
    expert = None if outcome.expert is None else outcome.expert.expert
    students = None if outcome.students is None else evaluator.act_of(outcome.students.policy)
    measured = {who: mode.returns for who, mode in outcome.modes.items()}
    returns = final_returns(evaluator, expert, students, measured)
    if outcome.imitators is not None:
        returns["imitators"] = evaluator.final(evaluator.act_of(outcome.imitators.policy))
    report = make_report(experiment, returns, outcome)
    save_results(folder, experiment, returns=returns, outcome=outcome, report=report)
    context.checkpoints.remove()
    return report
