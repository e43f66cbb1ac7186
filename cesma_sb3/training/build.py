"""Everything that a run needs is made and checked here, once, before anything trains.

One environment is open during the whole run: the evaluator's. Models are made on a stand-in for the
environments of their stage, which opens them when it begins and closes them at its end.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

from imitation.util.logger import HierarchicalLogger
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.utils import set_random_seed

from cesma_sb3.config.schema import DaggerConfig, Experiment, ExpertConfig, FineTuningConfig, StudentsConfig
from cesma_sb3.envs import undivided_view
from cesma_sb3.envs.experience import Experience, RecordedVecEnv
from cesma_sb3.envs.joint_vec_env import JointVecEnv
from cesma_sb3.errors import ConfigError, ExpertError
from cesma_sb3.experts import Expert, SamplingExpert
from cesma_sb3.imitation.fine_tuning import FineTuningPPO
from cesma_sb3.imitation.visited_states import load_experience
from cesma_sb3.policies import TeamEnsemble, TeamPolicy, Visibility
from cesma_sb3.training import state as state_module
from cesma_sb3.training.acting_mode import stochastic_expert
from cesma_sb3.training.context import RunContext
from cesma_sb3.training.dataset_size import dataset_size
from cesma_sb3.training.dry_run import check_results
from cesma_sb3.training.evaluator import Evaluator
from cesma_sb3.training.experiment_files import EXPERIENCE
from cesma_sb3.training.load import load_initial_expert, load_initial_students
from cesma_sb3.training.models import (
    StandInVecEnv,
    as_expert,
    baseline_team,
    check_masks,
    expert_env,
    make_loss,
    make_model,
    make_students,
)
from cesma_sb3.training.outcome import Outcome, TrainedExpert, TrainedStudents
from cesma_sb3.training.pretrained import InMemoryExpert, is_trained, make_pretrained
from cesma_sb3.training.trainer import make_trainer
from cesma_sb3.utils.torch_defaults import GeneratorState, own_generators


@dataclasses.dataclass(frozen=True)
class ExpertTraining:
    """What an untrained expert needs for its training."""

    model: BaseAlgorithm
    """The algorithm, on a stand-in for its environments."""
    open_env: Callable[[], JointVecEnv]
    """Opens its environments."""
    generators: GeneratorState
    """The global generators after its weights were drawn, from which its training draws on."""


@dataclasses.dataclass(frozen=True)
class BuiltExpert:
    """The centralized controller before its stage, or the agents of a baseline."""

    config: ExpertConfig
    expert: Expert
    """Labels by its likeliest actions."""
    stochastic: SamplingExpert | None
    """Labels by samples; None of an expert that is no distribution."""
    model: BaseAlgorithm | BasePolicy | None
    """The SB3 algorithm or policy, if it is one."""
    training: ExpertTraining | None
    """None of a pretrained expert."""
    experience: Experience | None = None
    """Where its training is recorded, or states that were visited before; None: nowhere."""


@dataclasses.dataclass(frozen=True)
class BuiltStudents:
    """The students before their stage."""

    config: DaggerConfig
    policy: TeamPolicy
    loss: Any
    """The loss, or the name of one of this package's."""
    deterministic: bool | None
    """Whether they act by their likeliest actions; None: as their expert does."""
    match_slack: float
    """How far below the expert's return an evaluation still counts as a match."""
    generators: GeneratorState
    """The global generators after their weights were drawn, from which their training draws on."""


@dataclasses.dataclass(frozen=True)
class BuiltFineTuning:
    """Fine-tuning before its stage."""

    config: FineTuningConfig
    model: FineTuningPPO
    """The algorithm, with the students' networks, on a stand-in for its environments."""
    generators: GeneratorState
    """The global generators after the critic's weights were drawn, from which its training draws on."""


@dataclasses.dataclass(frozen=True)
class BuiltRun:
    """All stages of a run, of which none has begun."""

    context: RunContext
    expert: BuiltExpert
    students: BuiltStudents | None
    """None of a baseline, and of an expert that nobody imitates in this run."""
    fine_tuning: BuiltFineTuning | None
    is_baseline: bool
    """Whether the expert's agents learn by themselves and are the team."""
    dataset_size: str | None
    """Most memory that the students' dataset takes, in words."""


def build(
    experiment: Experiment,
    context: RunContext,
    in_memory: InMemoryExpert | None = None,
    *,
    has_students: bool = True,
) -> BuiltRun:
    """Makes and checks everything that a run needs; nothing trains.

    Args:
        experiment: As resolved.
        context: What its stages share.
        in_memory: The expert itself, if `decentralize` took one in memory.
        has_students: Whether the expert is imitated in this run.

    Raises:
        CesmaError: A part does not fit another, a file is missing, or a result could not be written.
    """
    dagger, is_baseline = experiment.dagger, experiment.dagger is None
    students = fine_tuning = size = imitators = None
    if dagger is not None and has_students:
        students = build_students(experiment.students, dagger, context)
        _check_checkpoint(students, experiment.students, context)
    expert = build_expert(
        experiment.expert,
        experiment.students,
        context,
        in_memory,
        is_imitated=not is_baseline,
        records=dagger.capacity if dagger is not None and dagger.has_experience else 0,
    )
    if students is not None:
        visited = expert.experience
        recorded = 0 if visited is None else max(expert.config.total_timesteps, len(visited))
        has_memory = students.policy.is_recurrent
        size = dataset_size(students.config, recorded, context.team, has_memory=has_memory)
        imitators = _untrained_imitators(students, expert.expert, context)
        if experiment.fine_tuning is not None:
            fine_tuning = build_fine_tuning(experiment.fine_tuning, imitators, expert.expert, context)
    built = BuiltRun(context, expert, students, fine_tuning, is_baseline, size)
    check_results(context.folder, experiment, _untrained(built, imitators), context.team.agents)
    return built


def build_expert(
    config: ExpertConfig,
    students: StudentsConfig,
    context: RunContext,
    in_memory: InMemoryExpert | None = None,
    *,
    is_imitated: bool = True,
    records: int = 0,
) -> BuiltExpert:
    """Makes the expert, untrained or pretrained, or the agents of a baseline.

    Args:
        config: The expert's part of the experiment.
        students: The students' part.
        context: What the stages of the run share.
        in_memory: The expert itself, if `decentralize` took one in memory.
        is_imitated: Whether students will imitate it; False of a baseline.
        records: Samples of its training that are recorded for them, the newest.

    Raises:
        CesmaError: It does not fit the environment, or its files do not fit it.
    """
    evaluator = context.evaluator
    if in_memory is not None or not is_trained(config):
        if not is_imitated:
            raise ExpertError(
                "dagger: null: expected an algorithm to train, for nobody imitates a finished expert"
            )
        pretrained = make_pretrained(config, evaluator, in_memory, capacity=max(1, records))
        stochastic = stochastic_expert(pretrained.expert, config, evaluator)
        experience = pretrained.experience
        if experience is None:
            experience = _experience(config, context, records)
        return BuiltExpert(config, pretrained.expert, stochastic, pretrained.model, None, experience)
    check_masks(config, evaluator.venv)
    seed = context.seeds.expert
    as_seen = partial(
        expert_env,
        team=context.team,
        config=config,
        students=students,
        seed=seed,
        is_imitated=is_imitated,
        undivided=undivided_view(evaluator.venv),
    )
    with own_generators():
        stand_in = as_seen(partial(StandInVecEnv, evaluator.venv, config.n_envs))
        model = make_model(config, stand_in, seed, context.device)
        generators = GeneratorState()
        load_initial_expert(model, config.init_from, context.team.agents)
    if not is_imitated:
        baseline_team(model)
    expert = as_expert(model, stand_in)
    experience = _experience(config, context, records)

    def make_env(view: str) -> JointVecEnv:
        venv = context.make_env(config.n_envs, seed, view)
        return venv if experience is None or not config.total_timesteps else RecordedVecEnv(venv, experience)

    training = ExpertTraining(model, partial(as_seen, make_env), generators)
    stochastic = stochastic_expert(expert, config, evaluator)
    return BuiltExpert(config, expert, stochastic, model, training, experience)


def _experience(config: ExpertConfig, context: RunContext, records: int) -> Experience | None:
    """Returns where an expert's training is recorded, or the states that were visited before, if any are.

    Raises:
        CesmaError: The file of states is damaged, or of another team.
    """
    if not records:
        return None
    if config.experience is not None:
        whole = undivided_view(context.evaluator.venv)
        file = context.folder.path / EXPERIENCE
        # The run's copy, which goes with a folder that is refused.
        return load_experience(file, context.team, records, undivided=whole, called="expert.experience")
    return Experience(context.team, config.n_envs, records) if config.total_timesteps else None


def build_students(
    config: StudentsConfig, dagger: DaggerConfig, context: RunContext, visibility: Visibility = "own"
) -> BuiltStudents:
    """Makes the untrained students and their loss.

    Args:
        config: The students' part of the experiment.
        dagger: How they learn.
        context: What the stages of the run share.
        visibility: `joint`: students that see what all see, to learn what their own view costs.

    Raises:
        CesmaError: These networks do not fit the team, the weights that they start from are missing, or their
            loss cannot be made.
    """
    slack = match_slack(dagger, context.evaluator)
    with own_generators():
        # Initial weights come from PyTorch's global generator, as everywhere in SB3.
        set_random_seed(context.seeds.students)
        policy = make_students(config, context.team, context.device, visibility)
        load_initial_students(policy, config.init_from)
        loss = make_loss(dagger, policy)
        generators = GeneratorState()
    deterministic = None if config.deterministic == "auto" else config.deterministic
    return BuiltStudents(dagger, policy, loss, deterministic, slack, generators)


def build_fine_tuning(
    config: FineTuningConfig, students: TeamPolicy | TeamEnsemble, expert: Expert, context: RunContext
) -> BuiltFineTuning:
    """Makes the algorithm that fine-tunes the students.

    Raises:
        ConfigError: The students are an ensemble.
    """
    if not isinstance(students, TeamPolicy):
        raise ConfigError("fine_tuning: these students are an ensemble of teams, expected one (dagger or bc)")
    arguments: dict[str, Any] = {"device": context.device, **config.kwargs}
    with own_generators():
        model = FineTuningPPO(
            TeamPolicy,
            StandInVecEnv(context.evaluator.venv, config.n_envs),
            students=students,
            expert=expert,
            imitation_coef=config.imitation_coef,
            imitation_coef_final=config.imitation_coef_final,
            critic_warmup_fraction=config.critic_warmup_fraction,
            seed=context.seeds.fine_tuning,
            policy_kwargs={
                "team": context.team,
                "critic_visibility": config.critic_visibility,
                **students.spec.arguments(),
            },
            **arguments,
        )
        generators = GeneratorState()
    return BuiltFineTuning(config, model, generators)


def match_slack(config: DaggerConfig, evaluator: Evaluator) -> float:
    """How far below the expert's return an evaluation still counts as a match.

    Raises:
        ConfigError: There is a tolerance, and no reference that is better than a random team.
    """
    if not config.early_stopping_tolerance:
        return 0.0
    if evaluator.reference is not None and (span := evaluator.span()) > 0:
        return config.early_stopping_tolerance * span
    why = "is no better than a random team" if evaluator.reference is not None else "does not exist"
    raise ConfigError(
        f"dagger.early_stopping_tolerance {config.early_stopping_tolerance:g}: a fraction of the distance "
        f"from a random team to the reference, which {why} for {evaluator.env.id}; expected 0"
    )


def _check_checkpoint(students: BuiltStudents, config: StudentsConfig, context: RunContext) -> None:
    """Refuses networks and losses of a user's class whose state a checkpoint cannot hold."""
    is_users = config.module is not None or students.config.loss_class is not None
    if is_users and context.checkpoints.config.is_written:
        with own_generators():
            again = build_students(config, students.config, context)
            made = [{"students": each.policy, "dagger.loss_class": each.loss} for each in (students, again)]
            state_module.restore(made[1], *state_module.capture(made[0]))  # as if it were interrupted here


def _untrained_imitators(
    students: BuiltStudents, expert: Expert, context: RunContext
) -> TeamPolicy | TeamEnsemble:
    """Returns what imitation would make of the students if it did not train them.

    Raises:
        CesmaError: Values of `dagger` do not fit one another, the expert or the team.
    """
    quiet = HierarchicalLogger(Logger(None, []))
    venv = StandInVecEnv(context.evaluator.venv, students.config.n_envs)
    with own_generators(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they come when the trainer is made for good
        trainer = make_trainer(
            students.config,
            students.policy,
            expert=expert,
            venv=venv,
            loss=students.loss,
            evaluator=context.evaluator,
            logger=quiet,
        )
    return trainer.policy


def _untrained(built: BuiltRun, imitators: TeamPolicy | TeamEnsemble | None) -> Outcome:
    """Returns what the run would if nothing trained."""
    if built.is_baseline:
        assert built.expert.training is not None
        model = built.expert.training.model
        return Outcome(None, TrainedStudents(policy=baseline_team(model), model=model))
    expert = TrainedExpert(
        expert=built.expert.expert,
        model=built.expert.model,
        is_pretrained=built.expert.training is None,
    )
    if imitators is None:
        return Outcome(expert, None)
    imitated = TrainedStudents(policy=imitators)
    if built.fine_tuning is None:
        return Outcome(expert, imitated)
    model = built.fine_tuning.model
    return Outcome(expert, TrainedStudents(policy=model.policy, model=model), imitated)
