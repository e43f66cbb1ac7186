"""The stages of a run, from an experiment's values to the calls that they mean."""

from __future__ import annotations

import dataclasses
import inspect
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import torch as th
from imitation.algorithms.dagger import BetaSchedule, ExponentialBetaSchedule, LinearBetaSchedule
from imitation.util import logger as imitation_logger
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import configure
from stable_baselines3.common.utils import set_random_seed

from cesma_sb3.algorithms import activation_class, algorithm_class, policy_class
from cesma_sb3.config import SCRIPTED, BetaConfig, DaggerConfig, Experiment
from cesma_sb3.decentralize import DAggerProgress, MultiAgentDAggerTrainer
from cesma_sb3.envs import make_vec_env, scripted_bodies
from cesma_sb3.errors import ExpertError
from cesma_sb3.evaluation import (
    Act,
    Curve,
    Keep,
    LearningCurve,
    MatchingCurve,
    Returns,
    evaluate,
    expert_act,
    greedy,
    random_act,
)
from cesma_sb3.experts import Expert, SB3Expert, ScriptedNavigationExpert
from cesma_sb3.joint.actions import make_view
from cesma_sb3.joint.vec_env import JointVecEnv
from cesma_sb3.networks import TeamPolicy

LOG_FORMATS = ["csv", "tensorboard"]
Tick = Callable[[int, dict[str, float]], None]
"""Told of progress: environment timesteps so far in this stage, and what was measured last by name."""


@contextmanager
def threads(count: int | None) -> Iterator[None]:
    """PyTorch's threads for the time of a run; None leaves them as they are."""
    before = th.get_num_threads()
    th.set_num_threads(before if count is None else count)
    try:
        yield
    finally:
        th.set_num_threads(before)


@dataclasses.dataclass(frozen=True)
class Seeds:
    """One seed for each user of randomness, all from the experiment's."""

    expert: int
    students: int
    curve: int
    final: int
    random: int

    @classmethod
    def of(cls, seed: int) -> Seeds:
        """The seeds that follow from an experiment's."""
        state = np.random.SeedSequence(seed).generate_state(len(dataclasses.fields(cls)))
        return cls(*(int(word) % 2**31 for word in state))


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
    model: BaseAlgorithm | None
    """The SB3 algorithm; None for the scripted expert."""


@dataclasses.dataclass
class TrainedStudents(Trained):
    """The decentralized team."""

    policy: TeamPolicy
    stopped_early: bool
    """Whether the students matched the expert before their budget was spent."""


class Evaluator:
    """Measures policies of an experiment, all on the same initial states."""

    def __init__(self, experiment: Experiment) -> None:
        self.experiment = experiment
        self.seeds = Seeds.of(experiment.seed)
        self.venv = joint_env(experiment, experiment.evaluation.n_envs, self.seeds.curve)
        self.reference = reference_expert(self.venv)
        self._anchors: dict[str, Returns] = {}

    def on_curve(self, act: Act) -> float:
        """Mean return over few episodes, for a learning curve and for the choice of the best weights."""
        return evaluate(
            act, self.venv, n_episodes=self.experiment.evaluation.curve_episodes, seed=self.seeds.curve
        ).mean

    def final(self, act: Act) -> Returns:
        """Returns over many episodes that no choice was made on."""
        return evaluate(act, self.venv, n_episodes=self.experiment.evaluation.episodes, seed=self.seeds.final)

    def anchors(self) -> dict[str, Returns]:
        """`random`, and `reference` where the environment has one; measured once."""
        if not self._anchors:
            rng = np.random.default_rng(self.seeds.random)
            self._anchors["random"] = self.final(random_act(self.venv.team, rng))
            if self.reference is not None:
                self._anchors["reference"] = self.final(expert_act(self.reference))
        return self._anchors

    def span(self) -> float:
        """Distance from random to reference, the unit of the normalised score; NaN without a reference."""
        anchors = self.anchors()
        return anchors["reference"].mean - anchors["random"].mean if "reference" in anchors else float("nan")

    def close(self) -> None:
        """Ends the environments' processes, if they have any."""
        self.venv.close()


def joint_env(experiment: Experiment, n_envs: int, seed: int, view: str = "joint") -> JointVecEnv:
    """The experiment's environment, batched, in one joint space."""
    env = experiment.env
    return make_vec_env(
        env.id,
        kwargs=env.kwargs,
        wrappers=[{"name": wrapper.name, **wrapper.kwargs} for wrapper in env.wrappers],
        team_reward=env.team_reward,
        processes=env.processes,
        n_envs=n_envs,
        seed=seed,
        view=view,
    )


def reference_expert(venv: JointVecEnv) -> ScriptedNavigationExpert | None:
    """The scripted expert of this environment; None where there is none."""
    bodies = scripted_bodies(venv)
    if bodies is None:
        return None
    try:
        return ScriptedNavigationExpert(venv.team, bodies)
    except ExpertError:
        return None


def train_expert(experiment: Experiment, evaluator: Evaluator, logs: Path, tick: Tick) -> TrainedExpert:
    """Trains the centralized expert, and keeps the weights that were measured best.

    Raises:
        ExpertError: The scripted expert is asked for in an environment that has none.
    """
    config = experiment.expert
    if config.algorithm == SCRIPTED:
        if evaluator.reference is None:
            raise ExpertError(
                f"expert.algorithm: there is no scripted expert for env.id {experiment.env.id!r}"
            )
        curve = [(0, evaluator.on_curve(evaluator.reference.labels))]
        return TrainedExpert(curve, 0, 0.0, expert=evaluator.reference, model=None)
    started = time.perf_counter()
    with (
        closing(configure(str(logs), LOG_FORMATS)) as logger,
        closing(joint_env(experiment, config.n_envs, evaluator.seeds.expert, config.action_view)) as venv,
    ):
        model = make_model(experiment, venv, evaluator.seeds.expert)
        model.set_logger(logger)
        expert = SB3Expert(model, venv.team, make_view(config.action_view, venv.team))
        watched = LearningCurve(
            expert.policy, lambda: evaluator.on_curve(expert.labels), experiment.evaluation.every
        )
        model.learn(config.total_timesteps, callback=_ExpertWatch(watched, config.keep, tick))
    return TrainedExpert(
        watched.points, model.num_timesteps, time.perf_counter() - started, expert=expert, model=model
    )


def make_model(experiment: Experiment, venv: JointVecEnv, seed: int) -> BaseAlgorithm:
    """The untrained SB3 algorithm that the experiment names."""
    config = experiment.expert
    algorithm = algorithm_class(config.algorithm)
    policy = policy_class(algorithm, config.policy)
    kwargs, policy_kwargs = dict(config.kwargs), dict(config.policy_kwargs)
    # What YAML cannot say: SB3 wants [4, episode] as a tuple, and activations as classes.
    if isinstance(kwargs.get("train_freq"), list):
        kwargs["train_freq"] = tuple(kwargs["train_freq"])
    if isinstance(policy_kwargs.get("activation_fn"), str):
        policy_kwargs["activation_fn"] = activation_class(policy_kwargs["activation_fn"])
    if "team" in inspect.signature(policy.__init__).parameters:
        policy_kwargs["team"] = venv.team
    return algorithm(policy, venv, policy_kwargs=policy_kwargs, seed=seed, **kwargs)


class _ExpertWatch(BaseCallback):
    """The expert's learning curve as an SB3 callback."""

    def __init__(self, curve: LearningCurve, keep: Keep, tick: Tick) -> None:
        super().__init__()
        self.curve = curve
        self.keep = keep
        self.tick = tick

    def _on_training_start(self) -> None:
        self._visit()

    def _on_step(self) -> bool:
        self._visit()
        self.tick(self.num_timesteps, {"return": self.curve.last})
        return True

    def _on_training_end(self) -> None:
        self.curve.finish(self.num_timesteps, self.keep)

    def _visit(self) -> None:
        if self.curve.visit(self.num_timesteps):
            self.logger.record("eval/return", self.curve.last)


def decentralize(
    experiment: Experiment, trained: TrainedExpert, evaluator: Evaluator, logs: Path, tick: Tick
) -> TrainedStudents:
    """Turns the expert into one policy for each agent, by multi-agent DAgger."""
    config, seeds = experiment.dagger, evaluator.seeds
    started = time.perf_counter()
    set_random_seed(
        seeds.students
    )  # initial weights come from PyTorch's global generator, as everywhere in SB3
    with (
        closing(imitation_logger.configure(logs, LOG_FORMATS)) as logger,
        closing(joint_env(experiment, config.n_envs, seeds.students)) as venv,
    ):
        trainer = MultiAgentDAggerTrainer(
            venv=venv,
            expert=trained.expert,
            policy=make_students(experiment, venv),
            rng=np.random.default_rng(seeds.students),
            beta_schedule=_beta_schedule(config.beta),
            beta_per_agent=config.beta.per_agent,
            round_timesteps=config.round_timesteps,
            samples_per_update=config.samples_per_update,
            batch_size=config.batch_size,
            min_samples=config.min_samples,
            capacity=config.capacity,
            when_full=config.when_full,
            learning_rate=partial(_linear, config.learning_rate, config.learning_rate_final),
            optimizer_kwargs={"weight_decay": config.weight_decay, "fused": True},
            max_grad_norm=config.max_grad_norm,
            loss=config.loss,
            soft_labels=config.labels == "soft",
            temperature=config.temperature,
            custom_logger=logger,
        )
        curve = MatchingCurve(
            trainer.policy,
            lambda: evaluator.on_curve(greedy(trainer.policy)),
            experiment.evaluation.every,
            target=evaluator.on_curve(trained.expert.labels) - _slack(config, evaluator),
            matches=config.stop_after_matches,
        )
        curve.visit(0)

        def watch(progress: DAggerProgress) -> bool:
            goes_on = curve(progress)
            trainer.logger.record("eval/return", curve.last)
            tick(progress.timesteps, {"return": curve.last, "loss": float(progress.losses.mean())})
            return goes_on

        trainer.train(config.total_timesteps, callback=watch)
        curve.finish(trainer.timesteps, config.keep)
    return TrainedStudents(
        curve.points,
        trainer.timesteps,
        time.perf_counter() - started,
        policy=trainer.policy,
        stopped_early=curve.matched,
    )


def _slack(config: DaggerConfig, evaluator: Evaluator) -> float:
    """How far below the expert's return still matches it."""
    return config.match_tolerance * evaluator.span() if config.match_tolerance else 0.0


def make_students(experiment: Experiment, venv: JointVecEnv) -> TeamPolicy:
    """The untrained students."""
    team, config = venv.team, experiment.students
    return TeamPolicy(
        team.observation_space,
        team.action_space,
        lambda _: experiment.dagger.learning_rate,
        team=team,
        network=config.network,
        hidden_sizes=config.hidden_sizes,
        activation_fn=activation_class(config.activation),
        share_parameters=config.share_parameters,
        tell_apart=config.tell_apart,
    )


def _beta_schedule(config: BetaConfig) -> BetaSchedule | None:
    if config.schedule == "linear":
        return LinearBetaSchedule(config.rounds)
    if config.schedule == "exponential":
        return ExponentialBetaSchedule(config.decay)
    return None


def _linear(start: float, final_fraction: float, progress_remaining: float) -> float:
    """From `start` down to a fraction of it as the remaining progress goes from 1 to 0."""
    return start * (final_fraction + (1.0 - final_fraction) * progress_remaining)
