"""The stages of a run, from an experiment's values to the calls that they mean."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from imitation.algorithms.dagger import BetaSchedule, ExponentialBetaSchedule, LinearBetaSchedule
from imitation.util import logger as imitation_logger
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.utils import set_random_seed

from cesma_sb3.config.schema import BetaConfig, DaggerConfig, Experiment
from cesma_sb3.envs.joint_vec_env import JointVecEnv
from cesma_sb3.errors import CesmaWarning, ConfigError, ExpertError
from cesma_sb3.experts import Expert, make_actor
from cesma_sb3.imitation import (
    BufferConfig,
    DAggerProgress,
    LabelConfig,
    MessageConfig,
    OptimizerConfig,
)
from cesma_sb3.imitation.fine_tuning import FineTuningPPO
from cesma_sb3.imitation.registry import ALGORITHMS
from cesma_sb3.policies import TeamEnsemble, TeamPolicy, Visibility
from cesma_sb3.training.acting_mode import (
    Way,
    drawing_expert,
    imitates_probabilities,
    settled,
    students_act_deterministically,
)
from cesma_sb3.training.build import (
    as_expert,
    check_masks,
    expert_env,
    falling,
    find_device,
    make_loss,
    make_model,
    make_students,
    own_team,
)
from cesma_sb3.training.callbacks import NOT_MEASURED, Curve, CurvePoint, LearningCurve
from cesma_sb3.training.checkpoint import Checkpoints
from cesma_sb3.training.evaluator import Evaluator, joint_env
from cesma_sb3.training.load import start_expert, start_students
from cesma_sb3.training.pretrained import Finished, Handed, finished_expert, is_trained
from cesma_sb3.training.sb3 import LOG_FORMATS, Tick, learn
from cesma_sb3.utils.closing import closing


@dataclasses.dataclass
class Trained:
    """What a stage gives: a policy, how it got there, and what that cost."""

    curve: Curve
    env_samples: int
    seconds: float


@dataclasses.dataclass
class TrainedExpert(Trained):
    """The centralized controller."""

    expert: Expert
    model: BaseAlgorithm | BasePolicy | None
    """The SB3 algorithm, if it is one; of an expert that was read from a file, the policy alone."""
    way: Way | None = None
    """How it was found to act best; None where it was not measured."""
    finished: Finished | None = None
    """What it came from, if it was not trained here."""


NOT_TRAINED = (
    "students: not one gradient step was made: dagger.min_samples, batch_size or samples_per_update is more "
    "than was collected"
)


@dataclasses.dataclass
class TrainedStudents(Trained):
    """The decentralized team."""

    policy: TeamPolicy | TeamEnsemble
    stopped_early: bool
    """Whether the students matched the expert before their budget was spent."""
    n_updates: int | None = None
    """Gradient steps of imitation; None of a team that did not imitate."""
    model: BaseAlgorithm | None = None
    """The SB3 algorithm of a baseline; None of students that imitate."""
    way: Way | None = None
    """How a baseline was found to act best; None of students that imitate, which act as their expert does."""


def train_expert(
    experiment: Experiment,
    evaluator: Evaluator,
    checkpoints: Checkpoints,
    tick: Tick,
    *,
    stage: str = "expert",
    tried: Callable[[TrainedExpert], object],
    handed: Handed | None = None,
) -> TrainedExpert:
    """Trains the centralized expert, and keeps the weights that were measured best; or finds it finished.

    Args:
        experiment: Its values.
        evaluator: Measures it on the way.
        checkpoints: Where it goes on, and where it is kept.
        tick: Told of progress.
        stage: What the stage is called in the run folder.
        tried: Is given the untrained expert before it is trained (a finished one, as it is), and raises if
            that will not do.
        handed: The expert itself, if `decentralize` was given it.

    Raises:
        ExpertError: See `finished_expert`.
        StorageError: Likewise.
    """
    config = experiment.expert
    if handed is not None or not is_trained(config):
        finished = finished_expert(config, evaluator, handed)
        tried(TrainedExpert(NOT_MEASURED, 0, 0.0, finished.expert, finished.model, finished=finished))
        expert, way = _settled(finished.expert, evaluator, checkpoints)
        curve = [CurvePoint(0, evaluator.on_curve(make_actor(expert)))]
        return TrainedExpert(curve, 0, 0.0, expert, finished.model, way, finished)
    check_masks(config, evaluator.venv)
    kept = checkpoints.stage(stage)
    with closing(expert_env(experiment, evaluator.venv.team, evaluator.seeds.expert)) as venv:
        model = make_model(experiment, venv, evaluator.seeds.expert)
        expert = as_expert(model, venv, evaluator.venv.team)
        tried(TrainedExpert(NOT_MEASURED, 0, 0.0, expert, model))
        start_expert(model, config.init_from, evaluator.venv.team.agents)
        draws = drawing_expert(expert, evaluator)
        in_training = draws if draws is not None and config.deterministic is False else expert
        watched = LearningCurve(
            model.policy,
            lambda: evaluator.on_curve(make_actor(in_training)),
            experiment.evaluation.eval_freq,
            config.keep,
            on_eval=evaluator.seen("expert"),
        )
        learn(model, watched, config.total_timesteps, kept=kept, tick=tick)
    if stage == "expert":
        expert, way = _settled(expert, evaluator, checkpoints)
        return TrainedExpert(watched.points, model.num_timesteps, kept.seconds, expert, model, way)
    return TrainedExpert(watched.points, model.num_timesteps, kept.seconds, expert, model)


def _settled(expert: Expert, evaluator: Evaluator, checkpoints: Checkpoints) -> tuple[Expert, Way]:
    """The expert in the way in which it acts best, and what it returns."""
    draws = drawing_expert(expert, evaluator)
    act = None if draws is None else make_actor(draws)
    way = settled("expert", make_actor(expert), act, evaluator=evaluator, folder=checkpoints.folder)
    return (expert if draws is None or way.deterministic else draws), way


def train_own(
    experiment: Experiment,
    evaluator: Evaluator,
    checkpoints: Checkpoints,
    tick: Tick,
    *,
    tried: Callable[[TrainedStudents], object],
) -> TrainedStudents:
    """Trains a team whose actors see their own observations from the start: a baseline (`dagger: null`).

    Raises:
        ExpertError: The actors see more, or the algorithm has no actors that can be taken apart.
    """
    if not is_trained(experiment.expert):
        raise ExpertError(
            "dagger: null: expected an algorithm to train, for nobody imitates a finished expert"
        )
    trained = train_expert(
        experiment,
        evaluator,
        checkpoints,
        tick,
        stage="students",
        tried=lambda untrained: tried(_as_team(untrained)),
    )
    team = _as_team(trained)
    policy = team.policy
    is_distribution = drawing_expert(trained.expert, evaluator) is not None
    likeliest, drawn = (evaluator.act_of(policy, deterministic=each) for each in (True, False))
    way = settled(
        "students",
        likeliest,
        drawn if is_distribution else None,
        evaluator=evaluator,
        folder=checkpoints.folder,
    )
    assert isinstance(policy, TeamPolicy)
    policy.acts_deterministically = way.deterministic
    return dataclasses.replace(team, way=way)


def _as_team(trained: TrainedExpert) -> TrainedStudents:
    assert isinstance(trained.model, BaseAlgorithm)
    return TrainedStudents(
        trained.curve,
        trained.env_samples,
        trained.seconds,
        policy=own_team(trained.model),
        stopped_early=False,
        model=trained.model,
    )


def decentralize(
    experiment: Experiment,
    trained: TrainedExpert,
    evaluator: Evaluator,
    checkpoints: Checkpoints,
    tick: Tick,
    *,
    stage: str = "students",
    sees: Visibility = "own",
) -> TrainedStudents:
    """Turns the expert into one policy for each agent, by imitation.

    Args:
        experiment: Its values.
        trained: Who is imitated.
        evaluator: Measures the students on the way.
        checkpoints: Where it goes on, and where it is kept.
        tick: Told of progress.
        stage: What the stage is called in the run folder.
        sees: `joint`: students that see what all see, to learn what their own view costs.
    """
    config, seeds = experiment.dagger, evaluator.seeds
    assert config is not None
    kept = checkpoints.stage(stage)
    # Initial weights come from PyTorch's global generator, as everywhere in SB3.
    set_random_seed(seeds.students)
    with (
        kept.logger(imitation_logger.configure, LOG_FORMATS) as logger,
        closing(
            joint_env(experiment, config.n_envs, seeds.students, agents=evaluator.venv.team.agents)
        ) as venv,
    ):
        policy = make_students(experiment, venv.team, config.learning_rate, sees)
        start_students(policy, experiment.students.init_from)
        policy.acts_deterministically = students_act_deterministically(experiment, trained.expert)
        trainer = ALGORITHMS[config.algorithm](
            **_trainer_arguments(config, evaluator, policy, trained.expert),
            venv=venv,
            expert_policy=trained.expert,
            policy=policy,
            rng=np.random.default_rng(seeds.students),
            custom_logger=logger,
        )
        curve = LearningCurve(
            trainer.policy,
            lambda: evaluator.on_curve(evaluator.act_of(trainer.policy)),
            experiment.evaluation.eval_freq,
            config.keep,
            target=evaluator.on_curve(make_actor(trained.expert)).mean - evaluator.slack(),
            n_matches=config.early_stopping_evaluations,
            on_eval=evaluator.seen("students"),
        )
        found = kept.begin({"trainer": trainer, "curve": curve}, constants=[trained.expert])
        if found is not None:
            tick(found.timesteps, resumed=True)
        if found is None:
            curve.evaluate_if_due(0)
        elif not found.whole:
            trainer.reset()

        def watch(progress: DAggerProgress) -> bool:
            goes_on = curve(progress)
            trainer.logger.record("eval/return", curve.last_mean_return)
            tick(
                progress.timesteps,
                {"return": curve.last_mean_return, "loss": lambda: float(progress.losses.mean())},
            )
            if goes_on:
                kept.visit(progress.timesteps)
            return goes_on

        if found is None or not found.ended:
            with kept.training():
                if found is None:
                    trainer.train(config.total_timesteps, callback=watch)
                else:
                    trainer.resume(callback=watch)
            curve.finish(trainer.timesteps)
            kept.end(trainer.timesteps, without=[trainer.dataset, venv])
        tick(trainer.timesteps, {"return": curve.kept_mean_return})
        if trainer.n_updates == 0:
            warnings.warn(NOT_TRAINED, CesmaWarning, stacklevel=2)
    return TrainedStudents(
        curve.points,
        trainer.timesteps,
        kept.seconds,
        policy=trainer.policy,
        stopped_early=curve.matched,
        n_updates=trainer.n_updates,
    )


def fine_tune(
    experiment: Experiment,
    before: TrainedStudents,
    expert: Expert,
    evaluator: Evaluator,
    *,
    checkpoints: Checkpoints,
    tick: Tick,
) -> TrainedStudents:
    """Lets the students go on learning from the team's reward.

    Args:
        experiment: Its values.
        before: The students that imitation gave.
        expert: What they imitated.
        evaluator: Measures them on the way.
        checkpoints: Where it goes on, and where it is kept.
        tick: Told of progress.

    Raises:
        ConfigError: The students are an ensemble, have a memory or masks.
        ExpertError: The expert has a memory, and is to be imitated further.
    """
    config, seed = experiment.fine_tuning, evaluator.seeds.fine_tuning
    assert config is not None
    kept = checkpoints.stage("fine-tuning")
    with closing(joint_env(experiment, config.n_envs, seed, agents=evaluator.venv.team.agents)) as venv:
        model = fine_tuning_model(experiment, before.policy, expert, venv, seed)
        watched = LearningCurve(
            model.policy,
            lambda: evaluator.on_curve(evaluator.act_of(model.policy)),
            experiment.evaluation.eval_freq,
            config.keep,
            on_eval=evaluator.seen("fine-tuning"),
        )
        learn(
            model,
            watched,
            config.total_timesteps,
            kept=kept,
            tick=tick,
            constants=[expert],
        )
    return TrainedStudents(
        watched.points,
        model.num_timesteps,
        kept.seconds,
        policy=model.policy,
        stopped_early=False,
        model=model,
    )


def fine_tuning_model(
    experiment: Experiment,
    students: TeamPolicy | TeamEnsemble,
    expert: Expert,
    venv: JointVecEnv,
    seed: int,
) -> FineTuningPPO:
    """The algorithm that fine-tunes students, untrained.

    Args:
        experiment: Its values.
        students: Whose weights the actors begin with.
        expert: What they are held to at first.
        venv: Where they learn.
        seed: Of new weights, and of exploration.

    Raises:
        ConfigError: The students are an ensemble, have a memory or masks.
        ExpertError: The expert has a memory, and is to be imitated further.
    """
    config = experiment.fine_tuning
    assert config is not None
    if not isinstance(students, TeamPolicy):
        raise ConfigError("fine_tuning: these students are an ensemble of teams, expected one (dagger or bc)")
    return FineTuningPPO(
        TeamPolicy,
        venv,
        students=students,
        expert=expert,
        imitation_coef=config.imitation_coef,
        imitation_coef_final=config.imitation_coef_final,
        critic_warmup_fraction=config.critic_warmup_fraction,
        seed=seed,
        policy_kwargs={
            "team": venv.team,
            "critic_visibility": config.critic_visibility,
            "acts_deterministically": students.acts_deterministically,
            **students.spec.arguments(),
        },
        **{"device": find_device(experiment), **config.kwargs},
    )


def _trainer_arguments(
    config: DaggerConfig, evaluator: Evaluator, policy: TeamPolicy, expert: Expert
) -> dict[str, Any]:
    """The arguments of a trainer that come from the experiment's `dagger`."""
    arguments = {
        "batch_size": config.batch_size,
        "learning_rate": partial(falling, config.learning_rate, config.learning_rate_final),
        "loss": make_loss(config, policy),
        "class_weights": config.class_weights,
        "deterministic": policy.acts_deterministically,
        "buffer": BufferConfig(
            config.capacity, config.when_full, config.min_samples, shared=config.shared_dataset
        ),
        "labels": LabelConfig(imitates_probabilities(config, expert, policy.team), config.label_temperature),
        "messages": MessageConfig(
            config.message_relaxation, config.message_temperature, config.message_entropy
        ),
        "optimizer": OptimizerConfig(
            optimizer_kwargs={"weight_decay": config.weight_decay, "fused": True},
            max_grad_norm=config.max_grad_norm,
        ),
        **config.algorithm_kwargs,
    }
    if config.algorithm in ("dagger", "bc"):
        arguments |= {
            "samples_per_update": config.samples_per_update,
            "round_timesteps": config.round_timesteps,
        }
    if config.algorithm == "dagger":
        arguments |= {
            "beta_schedule": _beta_schedule(config.beta),
            "beta_per_agent": config.beta.per_agent,
        }
    if config.algorithm == "forward-training":  # a team for each step of the longest episode
        arguments["horizon"] = int(evaluator.anchors()["random"].lengths.max())
    return arguments


def _beta_schedule(config: BetaConfig) -> BetaSchedule | None:
    if config.schedule == "linear":
        return LinearBetaSchedule(config.rounds)
    if config.schedule == "exponential":
        return ExponentialBetaSchedule(config.decay)
    return None
