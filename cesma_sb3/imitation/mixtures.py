"""SMILe and SEARN: a mixture of teams takes over from the expert step by step."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from cesma_sb3.errors import ConfigError
from cesma_sb3.imitation.dataset import Samples
from cesma_sb3.imitation.iterative import Iteration, IterativeTrainer
from cesma_sb3.policies.ensembles import MixturePolicy
from cesma_sb3.policies.team_policy import TeamPolicy
from cesma_sb3.spaces.types import Actor, Masks, Observations, Packed


def smile_weights(alpha: float, n: int) -> list[float]:
    """SMILe's weights of n teams, first to last, once the expert is taken out.

    alpha (1 - alpha)^(j - 1) for j = 1..n, over their sum 1 - (1 - alpha)^n: the first team weighs most.

    Source: Ross & Bagnell (2010), Algorithm 4.1.
    """
    return _normalised(alpha * (1.0 - alpha) ** np.arange(n))


def searn_weights(beta: float, n: int) -> list[float]:
    """SEARN's weights of n teams, first to last, once the expert is taken out.

    beta (1 - beta)^(n - j) for j = 1..n, over their sum 1 - (1 - beta)^n: the newest team weighs most.

    Source: Daumé et al. (2009): h <- beta h' + (1 - beta) h.
    """
    return smile_weights(beta, n)[::-1]


class MixtureTrainer(IterativeTrainer):
    """Iterations that act by a mixture of expert and teams so far, and train one more team on its states.

    With n teams trained the expert acts with probability (1 - share)^n, else a team drawn by its weight, anew
    at every step. The resulting policy is the mixture of the teams without the expert.

    Args:
        share: Share of the new team in the mixture, in (0, 1].
        n_iterations: Number of teams.
        per_agent: Each agent draws its own component, while data is collected and in the policy, so that
            agents act with nothing shared. False: one draw for the whole team; agents that act separately
            then need a shared seed (`MixturePolicy`).
        **kwargs: Of `IterativeTrainer`, without `beta_schedule` and `beta_per_agent`.

    Raises:
        ConfigError: The team communicates.
        ValueError: A number is out of its range.
    """

    state_attributes = (*IterativeTrainer.state_attributes, "_mixture")

    def __init__(
        self, *, share: float = 0.1, n_iterations: int = 20, per_agent: bool = True, **kwargs: Any
    ) -> None:
        if not 0.0 < share <= 1.0:
            raise ValueError(f"share={share}: expected more than 0 and at most 1")
        if n_iterations < 1:
            raise ValueError(f"n_iterations={n_iterations}: expected at least 1")
        self.share = share
        self.n_iterations = n_iterations
        super().__init__(
            beta_schedule=lambda iteration: (1.0 - share) ** iteration, beta_per_agent=per_agent, **kwargs
        )
        untrained = copy.deepcopy(self.students)  # the mixture's own: the team that is trained changes
        self._mixture = MixturePolicy([untrained], per_agent=per_agent, seed=int(self.rng.integers(2**31)))

    def _students_actor(self, deterministic: bool) -> Actor:
        def act(observations: Observations, masks: Masks | None) -> Packed:
            steps = np.zeros(len(observations), dtype=np.int64)  # unused: a mixture draws anew at every step
            return self._mixture.actions(
                observations, masks, steps=steps, rng=self.rng, deterministic=deterministic
            )

        return act

    @property
    def policy(self) -> MixturePolicy:
        """The teams so far, by their weights."""
        return self._mixture

    @abstractmethod
    def weights(self, n: int) -> list[float]:
        """Weights of n teams, first to last, with a sum of 1."""

    def _make_plan(self, n_steps: int) -> Sequence[int]:
        if n_steps < self.n_iterations:
            raise ConfigError(
                f"{type(self).__name__}: {n_steps} steps of {self.venv.num_envs} environments for "
                f"{self.n_iterations} iterations; expected one each: more timesteps, or fewer environments"
            )
        return [len(part) for part in np.array_split(np.arange(n_steps), self.n_iterations)]

    def _collect(self, iteration: Iteration) -> Samples:
        samples, _ = self.collector.step(iteration.number)
        return samples

    def _add_component(self, component: TeamPolicy) -> None:
        before = [self._mixture.component(index) for index in range(len(self._mixture))]
        teams = [*(before if self.iteration else []), component]
        self._mixture.set(teams, self.weights(len(teams)))


class SmileTrainer(MixtureTrainer):
    """Multi-agent SMILe: stochastic mixing iterative learning.

    Each team takes its share from the expert alone: pi^n = (1 - a)^n pi* + a sum_j (1 - a)^(j - 1) pi_j. So
    the first teams, which learned where the expert goes, weigh most.

    Source: section 4.3; Ross & Bagnell (2010), "Efficient reductions for imitation learning", Algorithm 4.1.
    Teams that begin as the one before (`warm_start`) are ours.
    """

    def weights(self, n: int) -> list[float]:
        """SMILe's weights of n teams, first to last: the first one weighs most."""
        return smile_weights(self.share, n)


class SearnTrainer(MixtureTrainer):
    """Multi-agent SEARN with costs of 0 for the expert's action and 1 for any other.

    Each team takes its share from the whole mixture: h <- b h' + (1 - b) h. So the newest teams weigh most:
    nothing else differs from `SmileTrainer`. With such costs, cost-sensitive classification is
    classification, and the imitation loss is its surrogate. SEARN's own costs are the returns of the mixture
    (or, as its optimal approximation, of the expert) after each action; they are not estimated.

    Source: section 4.3; Daumé, Langford & Marcu (2009), "Search-based structured prediction".
    """

    def weights(self, n: int) -> list[float]:
        """SEARN's weights of n teams, first to last: the newest one weighs most."""
        return searn_weights(self.share, n)


def _normalised(weights: npt.NDArray[np.floating[Any]]) -> list[float]:
    normalised: list[float] = (weights / weights.sum()).tolist()
    return normalised
