"""Base class of Forward Training, SMILe and SEARN: iterations that each train one more team."""

from __future__ import annotations

import copy
import dataclasses
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np

from cesma_sb3.errors import ConfigError
from cesma_sb3.imitation.base import LoopState, RunningMean, TeamTrainer
from cesma_sb3.imitation.dataset import Samples, make_dataset
from cesma_sb3.policies.ensembles import TeamEnsemble
from cesma_sb3.policies.team_policy import TeamPolicy
from cesma_sb3.spaces.communication import MessageChannel
from cesma_sb3.utils.torch_defaults import plain_torch


@dataclasses.dataclass(frozen=True)
class Iteration:
    """One iteration of a call of `train`."""

    number: int
    """Which one, from 0."""
    n_steps: int
    """Its vector steps."""
    step: int
    """The vector step within it, from 0."""

    @classmethod
    def at(cls, plan: Sequence[int], step: int) -> Iteration:
        """The iteration that a vector step of the call belongs to.

        Args:
            plan: Vector steps of each iteration.
            step: The vector step, from 0.
        """
        ends = np.cumsum(plan)
        number = int(np.searchsorted(ends, step, side="right"))
        return cls(number, plan[number], step - int(ends[number] - plan[number]))

    @property
    def ends(self) -> bool:
        """Whether this step is the last one of the iteration."""
        return self.step + 1 == self.n_steps


class IterativeTrainer(TeamTrainer):
    """Iterations that collect, train one team on what they collected, and add it to an ensemble.

    A call of `train` begins with the first iteration. Until that one ends the ensemble is the untrained team.
    Each iteration is a row of the log, and learns from the states that it visits itself: there are no
    demonstrations.

    Args:
        updates_per_iteration: Gradient steps of each iteration, after its samples are there. The learning
            rate goes through its schedule in each.
        warm_start: Each team begins as the one before it, which needs less data and fewer updates; False:
            each begins as the first did, as in the papers.
        **kwargs: Of `TeamTrainer`; the `buffer` is that of each iteration, whose `min_samples` is not used.

    Raises:
        ConfigError: The team communicates (an earlier team's messages are received by a later one, and
            nobody trains both together), the students are recurrent, or demonstrations are given.
        ValueError: A number is out of its range.
    """

    state_attributes: ClassVar[tuple[str, ...]] = (
        *TeamTrainer.state_attributes,
        *("iteration", "_plan", "_initial"),
    )

    @plain_torch()
    def __init__(
        self,
        *,
        updates_per_iteration: int = 100,
        warm_start: bool = True,
        **kwargs: Any,
    ) -> None:
        if "demonstrations" in kwargs:
            raise ConfigError(
                f"{type(self).__name__}: takes no demonstrations; expected dagger or bc to learn from them"
            )
        if updates_per_iteration < 1:
            raise ValueError(f"updates_per_iteration={updates_per_iteration}: expected at least 1")
        self.updates_per_iteration = updates_per_iteration
        self.warm_start = warm_start
        self.iteration = 0
        self._plan: list[int] = []  # vector steps of each iteration
        super().__init__(**kwargs)
        self._initial = copy.deepcopy((self.students.state_dict(), self.learner.optimizer.state_dict()))

    @property
    @abstractmethod
    def policy(self) -> TeamEnsemble:
        """The teams trained so far, as one."""

    @property
    def round_number(self) -> int:
        """The iteration of the latest timestep, from 0."""
        return self.iteration

    @abstractmethod
    def _make_plan(self, n_steps: int) -> Sequence[int]:
        """Vector steps of each iteration, where there are `n_steps` for all of them.

        Raises:
            ConfigError: They are too few.
        """

    @abstractmethod
    def _collect(self, iteration: Iteration) -> Samples | None:
        """Do a vector step, and return the samples to learn from, or None."""

    @abstractmethod
    def _add_component(self, component: TeamPolicy) -> None:
        """Add what this iteration trained to the ensemble."""

    def _check_students(self) -> None:
        if MessageChannel.of(self.students.team) is not None:
            raise ConfigError(
                f"{type(self).__name__}: its teams would not understand one another's messages; expected a "
                "team that does not communicate, or dagger or bc"
            )
        if self.students.is_recurrent:
            raise ConfigError(f"{type(self).__name__}: its students have no memory; expected dagger for them")

    def _new_loop(self, n_steps: int) -> LoopState:
        self._plan = list(self._make_plan(n_steps))
        return super()._new_loop(sum(self._plan))

    def _step(self, loop: LoopState) -> None:
        iteration = Iteration.at(self._plan, loop.step)
        self.iteration = iteration.number
        if iteration.step == 0:
            capacity = min(self.buffer.capacity, iteration.n_steps * self.venv.num_envs)
            self.dataset = make_dataset(
                dataclasses.replace(self.buffer, capacity=capacity), self.students, self.rng
            )
            self.dataset.expect(capacity)
        samples = self._collect(iteration)
        if samples is not None and len(samples.observations):
            self._add(samples)
        if iteration.ends:
            self._learn(loop)

    def _learn(self, loop: LoopState) -> None:
        """Train this iteration's team, and add it to the ensemble."""
        if not self.warm_start:
            weights, optimizer = self._initial
            self.students.load_state_dict(weights)
            self.learner.optimizer.load_state_dict(copy.deepcopy(optimizer))
        if len(self.dataset):  # else (no episode lasts that long) the team is the one before
            loop.losses = RunningMean(self.venv.team.n_agents)
            for update in range(self.updates_per_iteration):
                self.learner.set_progress(1.0 - update / self.updates_per_iteration)
                loop.losses.add(self.learner.update(self.dataset))
        component = copy.deepcopy(self.students)
        component.set_training_mode(False)
        self._add_component(component)

    def _is_logged(self, loop: LoopState, log_interval: int) -> bool:
        del log_interval  # each iteration is a row of the log
        return Iteration.at(self._plan, loop.step - 1).ends
