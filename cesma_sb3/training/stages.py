"""The stages of a run: each trains what `build` has made, from its beginning or from a checkpoint."""

from __future__ import annotations

import dataclasses
import math
import warnings
from functools import partial

from imitation.util import logger as imitation_logger
from stable_baselines3.common.base_class import BaseAlgorithm

from cesma_sb3.config.schema import DaggerConfig
from cesma_sb3.envs.experience import Experience
from cesma_sb3.envs.joint_vec_env import JointVecEnv
from cesma_sb3.errors import CesmaWarning
from cesma_sb3.experts import Expert, SamplingExpert, make_actor
from cesma_sb3.imitation import DAggerProgress, MultiAgentDAggerTrainer, TeamTrainer
from cesma_sb3.policies import TeamPolicy
from cesma_sb3.spaces.types import Actor
from cesma_sb3.training.acting_mode import ActingMode, choose_acting_mode
from cesma_sb3.training.build import BuiltExpert, BuiltFineTuning, BuiltStudents, ExpertTraining
from cesma_sb3.training.callbacks import CurvePoint, LearningCurve
from cesma_sb3.training.checkpoint import ResumePoint, StageCheckpoints
from cesma_sb3.training.context import RunContext
from cesma_sb3.training.models import StandInVecEnv, baseline_team
from cesma_sb3.training.outcome import NOT_TRAINED, TrainedExpert, TrainedStudents
from cesma_sb3.training.sb3 import LOG_FORMATS, Tick, learn
from cesma_sb3.training.trainer import make_trainer
from cesma_sb3.training.user_callbacks import ImitationCallbacks
from cesma_sb3.utils.closing import closing


def train_expert(built: BuiltExpert, context: RunContext, tick: Tick) -> TrainedExpert:
    """Trains the centralized expert, and chooses how it acts; a pretrained expert is only measured.

    Args:
        built: The expert.
        context: What the stages of the run share.
        tick: Called with the stage's progress.
    """
    if built.training is None:
        trained = TrainedExpert(
            expert=built.expert, model=built.model, is_pretrained=True, experience=built.experience
        )
    else:
        trained = _train_model(built, built.training, context, tick, "expert")
    stochastic = built.stochastic
    mode = _choose_mode(
        "expert",
        make_actor(built.expert),
        None if stochastic is None else make_actor(stochastic),
        built,
        context,
    )
    expert = built.expert if stochastic is None or mode.deterministic else stochastic
    if built.training is None:
        score = context.evaluator.on_curve(make_actor(expert))
        trained.curve = [] if math.isnan(score.mean) else [CurvePoint(0, score)]
    return dataclasses.replace(trained, expert=expert, mode=mode)


def train_baseline(built: BuiltExpert, context: RunContext, tick: Tick) -> TrainedStudents:
    """Trains a team whose actors see their own observations from the start (`dagger: null`).

    Args:
        built: The agents.
        context: What the stages of the run share.
        tick: Called with the stage's progress.
    """
    assert built.training is not None
    trained = _train_model(built, built.training, context, tick, "students")
    policy = baseline_team(built.training.model)
    deterministic, stochastic = (
        context.evaluator.act_of(policy, deterministic=each) for each in (True, False)
    )
    mode = _choose_mode(
        "students", deterministic, None if built.stochastic is None else stochastic, built, context
    )
    policy.acts_deterministically = mode.deterministic
    return TrainedStudents(
        curve=trained.curve,
        env_samples=trained.env_samples,
        seconds=trained.seconds,
        processor_seconds=trained.processor_seconds,
        policy=policy,
        model=built.training.model,
        mode=mode,
    )


def _train_model(
    built: BuiltExpert, training: ExpertTraining, context: RunContext, tick: Tick, stage: str
) -> TrainedExpert:
    """Trains an SB3 algorithm in its environments, and keeps the weights that the experiment asks for."""
    config, model, evaluator = built.config, training.model, context.evaluator
    measured: Expert = built.expert
    if config.deterministic is False and built.stochastic is not None:
        measured = built.stochastic
    actor = partial(make_actor, measured)
    curve = LearningCurve(
        model.policy,
        lambda: evaluator.on_curve(actor()),
        context.eval_freq,
        config.keep,
        on_eval=evaluator.seen(stage, actor),
    )
    checkpoints = context.checkpoints.stage(stage)
    outcome = {}
    if built.experience is not None and config.total_timesteps:
        built.experience.expect(config.total_timesteps)
        outcome["experience"] = built.experience
    training.generators.restore()
    with closing(training.open_env()) as venv:
        _give_env(model, venv)
        learn(
            model,
            curve,
            config.total_timesteps,
            checkpoints=checkpoints,
            tick=tick,
            callbacks=context.callbacks.get(stage, ()),
            outcome=outcome,
        )
    return TrainedExpert(
        curve=curve.points,
        env_samples=model.num_timesteps,
        seconds=checkpoints.seconds,
        processor_seconds=checkpoints.processor_seconds,
        expert=built.expert,
        model=model,
        experience=built.experience,
    )


def _give_env(model: BaseAlgorithm, venv: JointVecEnv) -> None:
    """Gives a model its environments in place of the stand-in, seeded as SB3 does when it makes a model."""
    model.set_env(venv)
    venv.seed(model.seed)


def _choose_mode(
    who: str, deterministic: Actor, stochastic: Actor | None, built: BuiltExpert, context: RunContext
) -> ActingMode:
    return choose_acting_mode(
        who,
        deterministic,
        stochastic,
        wanted=built.config.deterministic,
        evaluator=context.evaluator,
        folder=context.folder,
    )


def decentralize(
    built: BuiltStudents,
    expert: Expert,
    context: RunContext,
    tick: Tick,
    *,
    experience: Experience | None = None,
    stage: str = "students",
) -> TrainedStudents:
    """Turns the expert into one policy for each agent, by imitation.

    Args:
        built: The students.
        expert: Who is imitated.
        context: What the stages of the run share.
        tick: Called with the stage's progress.
        experience: States that were visited already, from which the students learn before they act.
        stage: Name of the stage in the run folder.
    """
    config, evaluator, policy = built.config, context.evaluator, built.policy
    samples = isinstance(expert, SamplingExpert)
    policy.acts_deterministically = not samples if built.deterministic is None else built.deterministic
    checkpoints = context.checkpoints.stage(stage)
    built.generators.restore()
    with (
        checkpoints.logger(imitation_logger.configure, LOG_FORMATS) as logger,
        closing(_students_env(config, context)) as venv,
    ):
        trainer = make_trainer(
            config, policy, expert=expert, venv=venv, loss=built.loss, evaluator=evaluator, logger=logger
        )
        actor = partial(evaluator.act_of, trainer.policy)
        curve = LearningCurve(
            trainer.policy,
            lambda: evaluator.on_curve(actor()),
            context.eval_freq,
            config.keep,
            updates_freq=max(1, context.eval_freq // config.samples_per_update),
            target=evaluator.on_curve(make_actor(expert)).mean - built.match_slack,
            n_matches=config.early_stopping_evaluations,
            on_eval=evaluator.seen("students", actor),
        )
        point = _resume(trainer, curve, expert, checkpoints)
        if point is None:
            _begin_dataset(trainer, config, experience)
        else:
            tick(_done(trainer, config), resumed=True)
        if point is None or not point.ended:
            callbacks = ImitationCallbacks(context.callbacks.get(stage, []), trainer)
            _imitate(
                trainer, curve, config, checkpoints, tick, callbacks=callbacks, resumes=point is not None
            )
            checkpoints.save_final(_steps(trainer, config), without=[trainer.dataset, venv])
        tick(_done(trainer, config), {"return": curve.kept_mean_return})
    if trainer.n_updates == 0:
        warnings.warn(NOT_TRAINED, CesmaWarning, stacklevel=2)
    return TrainedStudents(
        curve=curve.points,
        env_samples=trainer.timesteps,
        seconds=checkpoints.seconds,
        processor_seconds=checkpoints.processor_seconds,
        policy=trainer.policy,
        n_experience=len(experience) if experience is not None and config.has_experience else 0,
        stopped_early=curve.matched,
        n_updates=trainer.n_updates,
    )


def _students_env(config: DaggerConfig, context: RunContext) -> JointVecEnv:
    """Opens the students' environments; a stand-in for them if nobody steps them."""
    if config.total_timesteps or config.rollout_timesteps:
        return context.make_env(config.n_envs, context.seeds.students)
    return StandInVecEnv(context.evaluator.venv, config.n_envs)


def _done(trainer: TeamTrainer, config: DaggerConfig) -> int:
    """How far the stage is: timesteps, or gradient steps where no timestep is collected."""
    return trainer.timesteps if config.total_timesteps else trainer.n_updates


def _steps(trainer: TeamTrainer, config: DaggerConfig) -> int:
    """Timesteps, and samples of experience that were learned from before the first, as if collected now."""
    return trainer.timesteps + trainer.pretraining_updates * config.samples_per_update


def _begin_dataset(trainer: TeamTrainer, config: DaggerConfig, experience: Experience | None) -> None:
    """Labels what was visited already; where nothing was, what the expert visits if it is to act."""
    if not config.has_experience:
        return
    assert isinstance(trainer, MultiAgentDAggerTrainer)
    if experience is not None and len(experience):
        trainer.add_experience(experience)
    elif config.rollout_timesteps:
        trainer.add_rollouts(config.rollout_timesteps)


def _pretraining_updates(trainer: TeamTrainer, config: DaggerConfig) -> int:
    """Gradient steps on what is in the dataset before the students act."""
    if config.experience is None or not len(trainer.dataset):
        return 0
    return config.experience.n_updates or max(1, len(trainer.dataset) // config.samples_per_update)


def _resume(
    trainer: TeamTrainer,
    curve: LearningCurve,
    expert: Expert,
    checkpoints: StageCheckpoints,
) -> ResumePoint | None:
    """Puts the newest checkpoint into the trainer and its curve; without one, begins the curve."""
    point = checkpoints.restore({"trainer": trainer, "curve": curve}, constants=[expert])
    if point is None:
        curve.evaluate_if_due(0, 0)
        return None
    if not (point.ended or point.in_mid_episode):
        trainer.reset()
    return point


def _imitate(
    trainer: TeamTrainer,
    curve: LearningCurve,
    config: DaggerConfig,
    checkpoints: StageCheckpoints,
    tick: Tick,
    *,
    callbacks: ImitationCallbacks,
    resumes: bool,
) -> None:
    """Trains the students until their budget is spent or they match the expert."""

    def after_step(progress: DAggerProgress) -> bool:
        # Those of the expert's own rollouts, which came before, are samples too.
        progress = dataclasses.replace(progress, timesteps=trainer.timesteps)
        continues = curve(progress)
        trainer.logger.record("eval/return", curve.last_mean_return)
        metrics = {"return": curve.last_mean_return, "loss": lambda: float(progress.losses.mean())}
        tick(_done(trainer, config), metrics)
        continues = callbacks.step(progress) and continues
        if continues:
            checkpoints.save_if_due(_steps(trainer, config))
        return continues

    with checkpoints.deferring_interrupts():
        callbacks.start()
        if resumes:
            trainer.resume(callback=after_step)
        else:
            trainer.train(
                config.total_timesteps,
                pretraining_updates=_pretraining_updates(trainer, config),
                callback=after_step,
            )
    curve.finish(trainer.timesteps, trainer.n_updates)
    callbacks.end()


def fine_tune(
    built: BuiltFineTuning, students: TeamPolicy, expert: Expert, context: RunContext, tick: Tick
) -> TrainedStudents:
    """Trains the students further, on the team's reward.

    Args:
        built: The algorithm.
        students: The students that imitation gave.
        expert: Who they imitated.
        context: What the stages of the run share.
        tick: Called with the stage's progress.
    """
    config, model, evaluator = built.config, built.model, context.evaluator
    model.start_from(students, expert)
    actor = partial(evaluator.act_of, model.policy)
    curve = LearningCurve(
        model.policy,
        lambda: evaluator.on_curve(actor()),
        context.eval_freq,
        config.keep,
        on_eval=evaluator.seen("fine-tuning", actor),
    )
    checkpoints = context.checkpoints.stage("fine-tuning")
    built.generators.restore()
    with closing(context.make_env(config.n_envs, context.seeds.fine_tuning)) as venv:
        _give_env(model, venv)
        learn(
            model,
            curve,
            config.total_timesteps,
            checkpoints=checkpoints,
            tick=tick,
            callbacks=context.callbacks.get("fine-tuning", ()),
            constants=[expert],
        )
    return TrainedStudents(
        curve=curve.points,
        env_samples=model.num_timesteps,
        seconds=checkpoints.seconds,
        processor_seconds=checkpoints.processor_seconds,
        policy=model.policy,
        model=model,
    )
