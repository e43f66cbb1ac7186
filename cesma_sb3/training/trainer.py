"""Makes the trainer of an imitation algorithm from an experiment's values."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from imitation.algorithms.dagger import BetaSchedule, ExponentialBetaSchedule, LinearBetaSchedule
from imitation.util.logger import HierarchicalLogger

from cesma_sb3.config.schema import BetaConfig, DaggerConfig
from cesma_sb3.envs.joint_vec_env import JointVecEnv
from cesma_sb3.experts import Expert
from cesma_sb3.imitation import (
    BufferConfig,
    LabelConfig,
    MessageConfig,
    OptimizerConfig,
    TeamTrainer,
)
from cesma_sb3.imitation.registry import ALGORITHMS
from cesma_sb3.policies import TeamPolicy
from cesma_sb3.training.acting_mode import imitates_probabilities
from cesma_sb3.training.evaluator import Evaluator
from cesma_sb3.training.models import linear_schedule


def make_trainer(
    config: DaggerConfig,
    policy: TeamPolicy,
    *,
    expert: Expert,
    venv: JointVecEnv,
    loss: Any,
    evaluator: Evaluator,
    logger: HierarchicalLogger,
) -> TeamTrainer:
    """Makes the trainer of the students.

    Args:
        config: The experiment's `dagger`.
        policy: The students.
        expert: Who is imitated.
        venv: The environment in which data is collected.
        loss: The students' loss, or the name of one of this package's.
        evaluator: Knows the seeds, and how long episodes of random actions are.
        logger: imitation's logger.

    Raises:
        CesmaError: These values do not fit one another, the expert or the team.
    """
    arguments: dict[str, Any] = {}
    if config.algorithm in {"dagger", "bc"}:
        arguments |= {
            "samples_per_update": config.samples_per_update,
            "round_timesteps": config.round_timesteps,
        }
    if config.algorithm == "dagger":
        arguments |= {"beta_schedule": _beta_schedule(config.beta), "beta_per_agent": config.beta.per_agent}
    if config.algorithm == "forward-training":  # a team for each step of the longest episode
        arguments |= {"horizon": int(evaluator.anchors()["random"].lengths.max())}
    soft = imitates_probabilities(config, expert, policy.team)
    return ALGORITHMS[config.algorithm](
        venv=venv,
        expert_policy=expert,
        policy=policy,
        rng=np.random.default_rng(evaluator.seeds.students),
        batch_size=config.batch_size,
        learning_rate=partial(linear_schedule, config.learning_rate, config.learning_rate_final),
        loss=loss,
        class_weights=config.class_weights,
        buffer=BufferConfig(
            config.capacity, config.when_full, config.min_samples, shared=config.shared_dataset
        ),
        labels=LabelConfig(soft, config.label_temperature),
        messages=MessageConfig(
            config.message_relaxation,
            config.message_temperature,
            config.message_entropy,
            config.message_temperature_final,
        ),
        optimizer=OptimizerConfig(
            optimizer_kwargs={"weight_decay": config.weight_decay, "fused": True},
            max_grad_norm=config.max_grad_norm,
        ),
        use_symmetries=config.use_symmetries,
        deterministic=policy.acts_deterministically,
        custom_logger=logger,
        **{**arguments, **config.algorithm_kwargs},
    )


def _beta_schedule(config: BetaConfig) -> BetaSchedule | None:
    if config.schedule == "linear":
        return LinearBetaSchedule(config.rounds)
    if config.schedule == "exponential":
        return ExponentialBetaSchedule(config.decay)
    return None
