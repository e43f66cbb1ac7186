"""Forward Training: a team for each step of an episode."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np

from cesma_sb3.errors import ConfigError
from cesma_sb3.imitation.dataset import Samples
from cesma_sb3.imitation.iterative import Iteration, IterativeTrainer
from cesma_sb3.policies.ensembles import SequencePolicy
from cesma_sb3.policies.stateful_actor import MemoryActor
from cesma_sb3.policies.team_policy import TeamPolicy


class ForwardTrainer(IterativeTrainer):
    """Multi-agent Forward Training: team t learns step t, in the states that teams 0 to t - 1 lead to.

    Iteration t runs new episodes up to step t, by the teams before, and learns from step t alone; so each
    team is trained on the very states that it will meet. A state of step t costs t + 1 timesteps. All
    environments start together; one whose episode ended before step t is left out. Timesteps that are left
    over go to the first steps, which all later ones depend on.

    Args:
        horizon: Teams, one for each step from 0 (T); the last one acts in whatever comes after.
        **kwargs: Of `IterativeTrainer`, without `beta_schedule` and `beta_per_agent`.

    Raises:
        ConfigError: The team communicates.
        ValueError: A number is out of its range.

    Source: section 4.3; Ross & Bagnell (2010), "Efficient reductions for imitation learning", Algorithm 3.1.
    A team that begins as the one before (`warm_start`) is ours.
    """

    state_attributes = (*IterativeTrainer.state_attributes, "_sequence")

    def __init__(self, *, horizon: int, **kwargs: Any) -> None:
        if horizon < 1:
            raise ValueError(f"horizon={horizon}: expected at least 1")
        self.horizon = horizon
        super().__init__(**kwargs)
        self._sequence = SequencePolicy([copy.deepcopy(self.students)])

    @property
    def policy(self) -> SequencePolicy:
        """The teams of the steps so far."""
        return self._sequence

    def reset(self) -> None:
        """Begin new episodes at the next timestep; an unfinished pass through the episodes is repeated."""
        super().reset()
        loop = self._loop
        if loop.step < loop.n_steps:
            iteration = Iteration.at(self._plan, loop.step)
            loop.step -= iteration.step % (iteration.number + 1)

    def _students_actor(self, deterministic: bool) -> MemoryActor:
        self._actor = MemoryActor(
            lambda observations, state, starts, masks: self._sequence.predict(
                observations, state, starts, deterministic, masks
            )
        )
        return self._actor

    def _make_plan(self, n_steps: int) -> Sequence[int]:
        costs = np.arange(1, self.horizon + 1)
        passes = np.full(self.horizon, n_steps // costs.sum())
        if not passes[0]:
            raise ConfigError(
                f"forward-training: {n_steps} steps of {self.venv.num_envs} environments for {self.horizon} "
                f"teams; expected at least {costs.sum()} steps: more timesteps, or fewer environments"
            )
        left = n_steps - int((passes * costs).sum())
        passes[np.cumsum(costs) <= left] += 1
        return [int(n) for n in passes * costs]

    def _collect(self, iteration: Iteration) -> Samples | None:
        last = iteration.number  # the step of the episodes that this iteration learns
        if iteration.step % (last + 1) == 0:
            self.collector.reset()
        samples, _ = self.collector.step(last)
        if (iteration.step + 1) % (last + 1):
            return None
        assert self._actor.state is not None
        # An environment that began a new episode is behind the others until all are reset.
        there = self._actor.state[0] == last + 1
        # The fields that may be None stay so: which ones do, mypy cannot see in a loop.
        return Samples(*(None if field is None else field[there] for field in samples))  # type: ignore[arg-type]

    def _add_component(self, component: TeamPolicy) -> None:
        self._sequence.set(self.iteration, component)
