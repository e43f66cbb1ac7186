"""What Forward Training, SMILe and SEARN share: iterations, each of which trains one more team."""

from __future__ import annotations

import copy
import time
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch as th
from imitation.algorithms.base import AnyTransitions

from cesma_sb3.envs.joint_vec_env import JointVecEnv
from cesma_sb3.errors import ConfigError
from cesma_sb3.imitation.dagger import Callback, DAggerProgress, MultiAgentDAggerTrainer
from cesma_sb3.imitation.dataset import AggregatedDataset, Samples
from cesma_sb3.policies.ensembles import TeamEnsemble
from cesma_sb3.policies.team_policy import TeamPolicy
from cesma_sb3.spaces.communication import MessageChannel
from cesma_sb3.spaces.row_arrays import compact_dtype
from cesma_sb3.utils.torch_defaults import plain_torch


class IterativeTrainer(MultiAgentDAggerTrainer):
    """Iterations that collect, train one team on what they collected, and add it to an ensemble.

    A call of `train` begins with the first iteration. Until that one ends the ensemble is the untrained team.

    Args:
        venv: Batched joint environment in the `joint` action view.
        updates_per_iteration: Gradient steps of each iteration, after its samples are there. The learning
            rate goes through its schedule in each.
        warm_start: Each team begins as the one before it, which needs less data and fewer updates; False:
            each begins as the first did, as in the papers.
        shared_dataset: As in `MultiAgentDAggerTrainer`, in each iteration.
        **kwargs: Of `MultiAgentDAggerTrainer`, without `demonstrations`, `round_timesteps` and what says when
            to update (`samples_per_update`, `min_samples`).

    Raises:
        ConfigError: The team communicates (what an earlier team says is heard by a later one, and nobody
            learns both together), or demonstrations are given.
        ValueError: A number is out of its range.
    """

    state_attributes: ClassVar[tuple[str, ...]] = (
        *MultiAgentDAggerTrainer.state_attributes,
        *("iteration", "_plan_now", "_done", "_mean_losses", "_initial"),
    )

    @plain_torch()
    def __init__(
        self,
        *,
        venv: JointVecEnv,
        updates_per_iteration: int = 100,
        warm_start: bool = True,
        shared_dataset: bool = True,
        **kwargs: Any,
    ) -> None:
        if updates_per_iteration < 1:
            raise ValueError(f"updates_per_iteration={updates_per_iteration}: expected at least 1")
        if MessageChannel.of(venv.team) is not None:
            raise ConfigError(
                f"{type(self).__name__}: its teams would not understand one another's messages; expected a "
                "team that does not communicate, or dagger or bc"
            )
        self.updates_per_iteration = updates_per_iteration
        self.warm_start = warm_start
        self.iteration = 0
        self._plan_now: list[int] = []  # vector steps of each iteration
        self._done = 0  # of these, done in this iteration
        self._mean_losses = np.full(venv.team.n_agents, np.nan)
        self._separate = None if shared_dataset else venv.team
        super().__init__(venv=venv, shared_dataset=shared_dataset, **kwargs)
        if not isinstance(self.dataset, AggregatedDataset):
            raise ConfigError(f"{type(self).__name__}: its students have no memory; expected dagger for them")
        self._capacity, self._when_full = self.dataset.capacity, self.dataset.when_full
        self._initial = copy.deepcopy((self._policy.state_dict(), self.optimizer.state_dict()))

    def set_demonstrations(self, demonstrations: AnyTransitions) -> None:
        """Refused: each iteration learns from the states that it comes to itself."""
        raise ConfigError(
            f"{type(self).__name__}: takes no demonstrations; expected dagger or bc to learn from them"
        )

    @property
    @abstractmethod
    def policy(self) -> TeamEnsemble:  # type: ignore[override]  # acts as a team, and is not one network
        """The teams trained so far, as one."""

    @property
    def round_number(self) -> int:
        """The iteration that the next timestep belongs to, from 0."""
        return self.iteration

    @abstractmethod
    def _plan(self, n_steps: int) -> Sequence[int]:
        """Vector steps of each iteration, where there are `n_steps` for all of them.

        Raises:
            ConfigError: They are too few.
        """

    @abstractmethod
    def _collect(self, step: int) -> Samples | None:
        """Does a vector step, the `step`-th of this iteration; what is to be learned from, or None."""

    @abstractmethod
    def _add_component(self, component: TeamPolicy) -> None:
        """Adds what this iteration trained to the ensemble."""

    @plain_torch()
    def train(
        self, total_timesteps: int, *, callback: Callback | None = None, log_interval: int = 100
    ) -> None:
        """Collects at most `total_timesteps` environment timesteps and learns after each iteration.

        Args:
            total_timesteps: Budget over all environments. Begins with new episodes.
            callback: Called after every vector step; returning False ends the training (as in SB3). An
                iteration's last call comes when its team is there.
            log_interval: Unused: each iteration is a row of the log.

        Raises:
            ConfigError: The budget is too small for one vector step in each iteration.
        """
        self._plan_now = list(self._plan(-(-total_timesteps // self.venv.num_envs)))
        self.iteration = 0
        self._mean_losses = np.full(self.venv.team.n_agents, np.nan)
        self.restart()
        self._begin_iteration()
        self.go_on(callback=callback, log_interval=log_interval)

    @plain_torch()
    def go_on(self, *, callback: Callback | None = None, log_interval: int = 100) -> None:
        """See `MultiAgentDAggerTrainer.go_on`."""
        del log_interval
        plan, n_envs, started = self._plan_now, self.venv.num_envs, time.perf_counter()
        done = before = sum(plan[: self.iteration]) + self._done
        while done < sum(plan):
            if self._done == plan[self.iteration]:
                self.iteration += 1
                self._begin_iteration()
            samples = self._collect(self._done)
            if samples is not None and len(samples.observations):
                self._add(samples)
            self.timesteps += n_envs
            self._done, done = self._done + 1, done + 1
            is_last = self._done == plan[self.iteration]
            if is_last:
                self._mean_losses = self._learn(self._mean_losses)
            progress = DAggerProgress(
                done * n_envs, sum(plan) * n_envs, self.iteration, self.n_updates, self._mean_losses
            )
            if is_last:
                self._log(progress, (done - before) * n_envs / (time.perf_counter() - started))
            if callback is not None and callback(progress) is False:
                return

    def _begin_iteration(self) -> None:
        """With nothing to learn from yet."""
        self._done = 0
        self.dataset = AggregatedDataset(
            min(self._capacity, self._plan_now[self.iteration] * self.venv.num_envs),
            when_full=self._when_full,
            rng=self.rng,
            separate=self._separate,
            observation_dtype=compact_dtype(self.venv.team),
        )
        self.dataset.expect(self.dataset.capacity)

    def _learn(self, before: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Trains this iteration's team and adds it; the mean loss of each agent, or `before` without data."""
        if not self.warm_start:
            weights, optimizer = self._initial
            self._policy.load_state_dict(weights)
            self.optimizer.load_state_dict(copy.deepcopy(optimizer))
        losses: list[th.Tensor] = []
        # Without data (no episode lasts that long) the team is the one before.
        for update in range(self.updates_per_iteration if len(self.dataset) else 0):
            self._set_learning_rate(1.0 - update / self.updates_per_iteration)
            losses.append(self.update())
        component = copy.deepcopy(self._policy)
        component.set_training_mode(False)
        self._add_component(component)
        return th.stack(losses).mean(dim=0).double().cpu().numpy() if losses else before
