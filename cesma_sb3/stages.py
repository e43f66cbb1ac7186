"""The stages of a run, from an experiment's values to the calls that they mean."""

from __future__ import annotations

import dataclasses
import inspect
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch as th
from imitation.algorithms.dagger import BetaSchedule, ExponentialBetaSchedule, LinearBetaSchedule
from imitation.util import logger as imitation_logger
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.logger import configure
from stable_baselines3.common.utils import set_random_seed

from cesma_sb3.algorithms import activation_class, algorithm_class, policy_class
from cesma_sb3.config import SCRIPTED, BetaConfig, Experiment
from cesma_sb3.decentralize import DAggerProgress, MultiAgentDAggerTrainer
from cesma_sb3.envs import make_vec_env, scripted_bodies
from cesma_sb3.errors import ExpertError
from cesma_sb3.evaluation import Act, Returns, evaluate, expert_act, greedy, random_act
from cesma_sb3.experts import Expert, SB3Expert, ScriptedNavigationExpert
from cesma_sb3.joint.actions import make_view
from cesma_sb3.joint.vec_env import JointVecEnv
from cesma_sb3.networks import TeamPolicy

LOG_FORMATS = ["csv", "tensorboard"]
Curve = list[tuple[int, float]]
"""Environment samples and the mean return measured there."""
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
    venv = joint_env(experiment, config.n_envs, evaluator.seeds.expert, config.action_view)
    try:
        model = make_model(experiment, venv, evaluator.seeds.expert)
        model.set_logger(configure(str(logs), LOG_FORMATS))
        expert = SB3Expert(model, venv.team, make_view(config.action_view, venv.team))
        watch = _ExpertWatch(expert, evaluator, tick)
        model.learn(config.total_timesteps, callback=watch)
        model.logger.close()
    finally:
        venv.close()
    return TrainedExpert(
        watch.curve, model.num_timesteps, time.perf_counter() - started, expert=expert, model=model
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
    """Measures the expert at fixed distances in environment samples and keeps the best weights."""

    def __init__(self, expert: SB3Expert, evaluator: Evaluator, tick: Tick) -> None:
        super().__init__()
        self.expert = expert
        self.evaluator = evaluator
        self.tick = tick
        self.curve: Curve = []
        self.best = _Best()

    def _on_training_start(self) -> None:
        self._measure()

    def _on_step(self) -> bool:
        if self.num_timesteps - self.curve[-1][0] >= self.evaluator.experiment.evaluation.every:
            self._measure()
        self.tick(self.num_timesteps, {"return": self.curve[-1][1]})
        return True

    def _on_training_end(self) -> None:
        if self.curve[-1][0] != self.num_timesteps:
            self._measure()
        if self.evaluator.experiment.expert.keep == "best":
            self.best.restore(self.expert.policy)

    def _measure(self) -> None:
        score = self.evaluator.on_curve(expert_act(self.expert))
        self.curve.append((self.num_timesteps, score))
        self.best.offer(self.expert.policy, score)
        self.logger.record("eval/return", score)


def decentralize(
    experiment: Experiment, trained: TrainedExpert, evaluator: Evaluator, logs: Path, tick: Tick
) -> TrainedStudents:
    """Turns the expert into one policy for each agent, by multi-agent DAgger."""
    config, seeds = experiment.dagger, evaluator.seeds
    started = time.perf_counter()
    set_random_seed(
        seeds.students
    )  # initial weights come from PyTorch's global generator, as everywhere in SB3
    venv = joint_env(experiment, config.n_envs, seeds.students)
    try:
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
            custom_logger=imitation_logger.configure(logs, LOG_FORMATS),
        )
        watch = _StudentWatch(trainer, trained, evaluator, tick)
        trainer.train(config.total_timesteps, callback=watch)
        watch.finish()
        trainer.logger.close()
    finally:
        venv.close()
    return TrainedStudents(
        watch.curve,
        trainer.timesteps,
        time.perf_counter() - started,
        policy=trainer.policy,
        stopped_early=watch.stopped_early,
    )


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


class _StudentWatch:
    """Measures the students at fixed distances, keeps the best weights, and stops when they match."""

    def __init__(
        self, trainer: MultiAgentDAggerTrainer, trained: TrainedExpert, evaluator: Evaluator, tick: Tick
    ) -> None:
        self.trainer = trainer
        self.evaluator = evaluator
        self.config = evaluator.experiment.dagger
        self.tick = tick
        self.best = _Best()
        self.curve: Curve = []
        self.matches = 0
        self.stopped_early = False
        slack = self.config.match_tolerance * evaluator.span() if self.config.match_tolerance else 0.0
        self.target = evaluator.on_curve(expert_act(trained.expert)) - slack
        self._measure(0)

    def __call__(self, progress: DAggerProgress) -> bool:
        if progress.timesteps - self.curve[-1][0] >= self.evaluator.experiment.evaluation.every:
            self._measure(progress.timesteps)
            needed = self.config.stop_after_matches
            self.stopped_early = needed is not None and self.matches >= needed
        self.tick(progress.timesteps, {"return": self.curve[-1][1], "loss": float(progress.losses.mean())})
        return not self.stopped_early

    def finish(self) -> None:
        """The last measurement, and the best weights back in place."""
        if self.curve[-1][0] != self.trainer.timesteps:
            self._measure(self.trainer.timesteps)
        if self.config.keep == "best":
            self.best.restore(self.trainer.policy)

    def _measure(self, timesteps: int) -> None:
        score = self.evaluator.on_curve(greedy(self.trainer.policy))
        self.curve.append((timesteps, score))
        self.best.offer(self.trainer.policy, score)
        self.matches = self.matches + 1 if score >= self.target else 0
        self.trainer.logger.record("eval/return", score)


class _Best:
    """The weights that were measured best."""

    def __init__(self) -> None:
        self.score = float("-inf")
        self._weights: dict[str, Any] = {}

    def offer(self, policy: Any, score: float) -> None:
        if score > self.score:
            self.score = score
            self._weights = {name: tensor.detach().clone() for name, tensor in policy.state_dict().items()}

    def restore(self, policy: Any) -> None:
        if self._weights:
            policy.load_state_dict(self._weights)


def _beta_schedule(config: BetaConfig) -> BetaSchedule | None:
    if config.schedule == "linear":
        return LinearBetaSchedule(config.rounds)
    if config.schedule == "exponential":
        return ExponentialBetaSchedule(config.decay)
    return None


def _linear(start: float, final_fraction: float, progress_remaining: float) -> float:
    """From `start` down to a fraction of it as the remaining progress goes from 1 to 0."""
    return start * (final_fraction + (1.0 - final_fraction) * progress_remaining)
