"""The base class of the trainers: students, an expert that labels, and one training loop."""

from __future__ import annotations

import dataclasses
import time
from abc import abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch as th
from imitation.algorithms.base import BaseImitationAlgorithm
from imitation.util.logger import HierarchicalLogger

from cesma_sb3.envs.joint_vec_env import JointVecEnv
from cesma_sb3.errors import SpaceError
from cesma_sb3.experts import SamplingExpert, adapt_expert
from cesma_sb3.imitation.collector import Collector, students_actor
from cesma_sb3.imitation.dataset import Dataset, Samples, make_dataset
from cesma_sb3.imitation.learner import Learner, LearningRate
from cesma_sb3.imitation.losses import ClassWeighting, ImitationLoss, LossName
from cesma_sb3.imitation.settings import BufferConfig, LabelConfig, MessageConfig, OptimizerConfig
from cesma_sb3.policies import TeamEnsemble, TeamPolicy, save_team
from cesma_sb3.spaces.types import Actor
from cesma_sb3.utils.stateful import Stateful
from cesma_sb3.utils.torch_defaults import plain_torch


@dataclasses.dataclass
class DAggerProgress:
    """The progress of a call of `train`, for its callback."""

    timesteps: int
    """Environment timesteps collected in this call, over all environments."""
    total_timesteps: int
    """The budget of this call."""
    round_number: int
    """Rounds (or iterations) begun, over all calls."""
    n_updates: int
    """Gradient steps, over all calls."""
    mean_losses: th.Tensor
    """Mean loss of each agent, [n_agents], on the device of the students."""
    is_pretraining: bool = False
    """Whether the dataset is as it was before the call: nothing has been collected in it yet."""

    @property
    def losses(self) -> npt.NDArray[np.float64]:
        """Mean loss of each agent since the last log, [n_agents]; NaN before the first update."""
        losses: npt.NDArray[np.float64] = self.mean_losses.double().cpu().numpy()
        return losses


Callback = Callable[[DAggerProgress], bool | None]


class RunningMean(Stateful):
    """Mean of some tensors of one size, on their device; NaN while there are none."""

    state_attributes = ("_sum", "_count")

    def __init__(self, size: int) -> None:
        self._sum = th.zeros(size)
        self._count = 0

    def add(self, values: th.Tensor) -> None:
        """Add one tensor, [size]."""
        self._sum = self._sum.to(values.device) + values
        self._count += 1

    def mean(self) -> th.Tensor:
        """The mean, [size]."""
        return self._sum / self._count if self._count else th.full_like(self._sum, th.nan)


@dataclasses.dataclass
class LoopState(Stateful):
    """The state of a call of `train`, from which `resume` continues."""

    state_attributes = ("n_steps", "losses", "step", "n_pretraining", "pretrained")

    n_steps: int
    """Vector steps of the call."""
    losses: RunningMean
    """Mean loss of each agent since the last log."""
    step: int = 0
    """Vector steps done."""
    n_pretraining: int = 0
    """Gradient steps before the first vector step."""
    pretrained: int = 0
    """Gradient steps done before the first vector step."""


class TeamTrainer(BaseImitationAlgorithm, Stateful):
    """Base class of the trainers: collect labelled steps, learn from them, stop and resume.

    Its arguments are those of `MultiAgentDAggerTrainer` of the same names, and any others are passed to
    imitation's base class.
    """

    state_attributes: ClassVar[tuple[str, ...]] = (
        *("venv", "rng", "students", "learner", "collector", "dataset", "timesteps", "_loop"),
    )

    @plain_torch()
    def __init__(
        self,
        *,
        venv: JointVecEnv,
        expert_policy: Any,
        rng: np.random.Generator,
        policy: TeamPolicy | None = None,
        beta_schedule: Callable[[int], float] | None = None,
        beta_per_agent: bool = False,
        batch_size: int = 256,
        learning_rate: LearningRate = 3e-3,
        loss: LossName | ImitationLoss = "auto",
        class_weights: ClassWeighting = "none",
        deterministic: bool = True,
        buffer: BufferConfig | None = None,
        labels: LabelConfig | None = None,
        messages: MessageConfig | None = None,
        optimizer: OptimizerConfig | None = None,
        use_symmetries: bool = False,
        custom_logger: HierarchicalLogger | None = None,
        **kwargs: Any,
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size={batch_size}: expected more than 0")
        self.venv = venv
        self.rng = rng
        self.expert = adapt_expert(expert_policy, venv.team)
        self.students = _default_policy(venv) if policy is None else policy
        if self.students.team != venv.team:
            raise SpaceError(f"{type(self).__name__}: policy and venv are of different teams")
        self._check_students()
        self.buffer = buffer or BufferConfig()
        self.dataset: Dataset = make_dataset(self.buffer, self.students, rng)
        self.learner = Learner(
            self.students,
            rng=rng,
            batch_size=batch_size,
            learning_rate=learning_rate,
            loss=loss,
            class_weights=class_weights,
            messages=messages or MessageConfig(),
            optimizer=optimizer or OptimizerConfig(),
            use_symmetries=use_symmetries,
        )
        self.collector = Collector(
            venv,
            self._students_actor(deterministic),
            self.expert,
            beta=beta_schedule if beta_schedule is not None else _students_act,
            beta_per_agent=beta_per_agent,
            labels=labels or LabelConfig(),
            rng=rng,
            label_rng=self._label_rng(),
        )
        self.timesteps = 0
        """Environment timesteps, over all calls of `train`."""
        self._loop = LoopState(0, RunningMean(venv.team.n_agents))
        # Last: it may open files, which nobody would close after an error.
        super().__init__(custom_logger=custom_logger, allow_variable_horizon=False, **kwargs)

    @property
    @abstractmethod
    def policy(self) -> TeamPolicy | TeamEnsemble:
        """The decentralized team so far."""

    @property
    def n_updates(self) -> int:
        """Gradient steps so far."""
        return self.learner.n_updates

    @property
    def pretraining_updates(self) -> int:
        """Gradient steps so far that the latest call of `train` made before its first timestep."""
        return self._loop.pretrained

    @property
    @abstractmethod
    def round_number(self) -> int:
        """The round or iteration of the latest timestep, from 0."""

    @plain_torch()
    def train(
        self,
        total_timesteps: int,
        *,
        pretraining_updates: int = 0,
        callback: Callback | None = None,
        log_interval: int = 100,
    ) -> None:
        """Learn from what the dataset holds already; then collect environment timesteps, and learn from them.

        Args:
            total_timesteps: Budget over all environments, rounded up to whole vector steps. It begins with
                new episodes.
            pretraining_updates: Gradient steps before the first timestep, on demonstrations or experience.
            callback: Called after every vector step, and after every gradient step before the first of them;
                returning False stops the training (as in SB3).
            log_interval: Vector steps, or gradient steps before the first, between two rows of the log.

        Raises:
            ConfigError: The budget is too small for this algorithm.
            ValueError: There are gradient steps to make, and nothing in the dataset to learn from.
        """
        if pretraining_updates and not len(self.dataset):
            raise ValueError(f"pretraining_updates={pretraining_updates}: the dataset is empty")
        self._loop = self._new_loop(-(-total_timesteps // self.venv.num_envs))
        self._loop.n_pretraining = pretraining_updates
        self.reset()
        self.resume(callback=callback, log_interval=log_interval)

    @plain_torch()
    def resume(self, *, callback: Callback | None = None, log_interval: int = 100) -> None:
        """Finish the call of `train` that its callback stopped.

        Args:
            callback: As in `train`; returning False stops the training again.
            log_interval: As in `train`.
        """
        loop, n_envs = self._loop, self.venv.num_envs
        while loop.pretrained < loop.n_pretraining:
            self._set_progress(loop)
            loop.losses.add(self.learner.update(self.dataset))
            loop.pretrained += 1
            if loop.pretrained % log_interval == 0 or loop.pretrained == loop.n_pretraining:
                self._log(self._progress(loop), 0.0)
            progress = dataclasses.replace(self._progress(loop), is_pretraining=True)
            if callback is not None and callback(progress) is False:
                return
        started, before = time.perf_counter(), loop.step
        while loop.step < loop.n_steps:
            self._step(loop)
            loop.step += 1
            self.timesteps += n_envs
            progress = self._progress(loop)
            if self._is_logged(loop, log_interval):
                self._log(progress, (loop.step - before) * n_envs / (time.perf_counter() - started))
            if callback is not None and callback(progress) is False:
                return

    def _progress(self, loop: LoopState) -> DAggerProgress:
        """What the callback is called with."""
        return DAggerProgress(
            loop.step * self.venv.num_envs,
            loop.n_steps * self.venv.num_envs,
            self.round_number,
            self.n_updates,
            loop.losses.mean(),
        )

    def _set_progress(self, loop: LoopState) -> None:
        """Set the learning rate by the share of the gradient steps of the call that is left."""
        self.learner.set_progress(1.0 - loop.pretrained / loop.n_pretraining)

    def reset(self) -> None:
        """Begin new episodes at the next timestep, and drop unfinished ones."""
        self.collector.reset()

    def save_policy(self, path: Path | str) -> None:
        """Save the decentralized team into a folder, for `load_team`.

        Args:
            path: The folder.
        """
        save_team(self.policy, path)

    def _label_rng(self) -> np.random.Generator | None:
        """A generator for an expert that samples: students and batches are drawn as with any other expert."""
        return self.rng.spawn(1)[0] if isinstance(self.expert, SamplingExpert) else None

    def _students_actor(self, deterministic: bool) -> Actor:
        """The actor of the students while data is collected."""
        return students_actor(self.students, deterministic=deterministic)

    def _new_loop(self, n_steps: int) -> LoopState:
        """The state of a call of `train` before its first vector step, of `n_steps`."""
        return LoopState(n_steps, RunningMean(self.venv.team.n_agents))

    def _check_students(self) -> None:
        """Raise a `ConfigError` if this algorithm cannot train these students."""

    @abstractmethod
    def _step(self, loop: LoopState) -> None:
        """Do a vector step, and learn if it is time to."""

    @abstractmethod
    def _is_logged(self, loop: LoopState, log_interval: int) -> bool:
        """Whether the log gets a row after the step that was just done."""

    def _add(self, samples: Samples, ended: npt.NDArray[np.bool_] | None = None) -> None:
        self.dataset.add(samples, ended)
        self.learner.observe(samples)

    def _log(self, progress: DAggerProgress, rate: float) -> None:
        self.logger.record("dagger/timesteps", self.timesteps)
        self.logger.record("dagger/round", progress.round_number)
        self.logger.record("dagger/beta", self.collector.beta(progress.round_number))
        self.logger.record("dagger/n_updates", self.n_updates)
        self.logger.record("dagger/dataset_size", len(self.dataset))
        self.logger.record("dagger/learning_rate", self.learner.optimizer.param_groups[0]["lr"])
        self.logger.record("dagger/steps_per_second", rate)
        for agent, loss in zip(self.venv.team.agents, progress.losses, strict=True):
            self.logger.record(f"dagger/loss/{agent}", float(loss))
        self.logger.dump(self.timesteps)


def _students_act(round_number: int) -> float:
    """The paper's beta schedule: the expert never acts."""
    del round_number
    return 0.0


def _default_policy(venv: JointVecEnv) -> TeamPolicy:
    team = venv.team
    return TeamPolicy(team.observation_space, team.action_space, lambda _: 1e-3, team=team)
