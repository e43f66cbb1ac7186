"""Learning curves: a policy measured on the way, its best weights kept, a training ended in time."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Literal

from torch import nn

from cesma_sb3.evaluation import Score
from cesma_sb3.imitation import DAggerProgress
from cesma_sb3.utils.stateful import Stateful


@dataclasses.dataclass(frozen=True)
class CurvePoint:
    """A measurement of a policy in training."""

    timesteps: int
    """Environment samples before it."""
    score: Score


Curve = list[CurvePoint]
NOT_MEASURED: Curve = [CurvePoint(0, Score(0.0))]
"""Stands for the learning curve of a policy in a dry run."""
Keep = Literal["best", "last"]
Seen = Callable[[int, float], None]
"""Told of a measurement: environment timesteps so far, and the mean return."""


class LearningCurve(Stateful):
    """Measures a policy at fixed distances in environment samples, and remembers its best weights.

    Args:
        policy: What is trained.
        measure: Its mean return now.
        every: Environment timesteps between two measurements.
        seen: Told of each measurement, with its timesteps; what it raises ends the training.
    """

    state_attributes: ClassVar[tuple[str, ...]] = ("kept", "_best_score", "_best_weights")

    def __init__(
        self,
        policy: nn.Module,
        measure: Callable[[], Score],
        every: int,
        *,
        seen: Seen | None = None,
    ) -> None:
        self.policy = policy
        self.measure = measure
        self.every = every
        self.seen = seen
        self.points: Curve = []
        self.kept = float("nan")
        """The return that was measured with the weights that `finish` kept; NaN before."""
        self._best_score = float("-inf")
        self._best_weights: dict[str, Any] = {}

    def state_dict(self) -> dict[str, Any]:
        """What was measured, and the best weights."""
        points = [(point.timesteps, *dataclasses.astuple(point.score)) for point in self.points]
        return {**super().state_dict(), "points": points}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Takes over what `state_dict` returned."""
        super().load_state_dict(state_dict)
        self.points = [CurvePoint(timesteps, Score(*score)) for timesteps, *score in state_dict["points"]]

    @property
    def last(self) -> float:
        """The mean return measured last."""
        return self.points[-1].score.mean

    def visit(self, timesteps: int) -> bool:
        """Measures if it is time to, and says whether it did; the first visit always measures."""
        if self.points and timesteps - self.points[-1].timesteps < self.every:
            return False
        self._measure(timesteps)
        return True

    def finish(self, timesteps: int, keep: Keep) -> None:
        """The last measurement, and the best weights (so far) back in place if they are what is kept."""
        if not self.points or self.points[-1].timesteps != timesteps:
            self._measure(timesteps)
        self.kept = self.last
        if keep == "best" and self._best_weights:
            self.policy.load_state_dict(self._best_weights)
            self.kept = self._best_score

    def _measure(self, timesteps: int) -> None:
        score = self.measure()
        self.points.append(CurvePoint(timesteps, score))
        if score.mean > self._best_score:
            self._best_score = score.mean
            self._best_weights = {name: t.detach().clone() for name, t in self.policy.state_dict().items()}
        if self.seen is not None:
            self.seen(timesteps, score.mean)


class MatchingCurve(LearningCurve):
    """A learning curve that ends a training once it has matched a target several times in a row.

    It is a callback of `MultiAgentDAggerTrainer.train`.

    Args:
        policy: What is trained.
        measure: Its mean return now.
        every: Environment timesteps between two measurements.
        target: The return to match: the expert's, less what may be missing.
        matches: Measurements in a row at or above the target that end the training; None never ends it.
        seen: See `LearningCurve`.

    Source: E.3: "we stopped training of the decentralization once the multi-agents reached the same reward as
    the expert".
    """

    state_attributes = (*LearningCurve.state_attributes, "in_a_row")

    def __init__(
        self,
        policy: nn.Module,
        measure: Callable[[], Score],
        every: int,
        *,
        target: float,
        matches: int | None = None,
        seen: Seen | None = None,
    ) -> None:
        super().__init__(policy, measure, every, seen=seen)
        self.target = target
        self.matches = matches
        self.in_a_row = 0

    @property
    def matched(self) -> bool:
        """Whether the last measurements have matched, as many as were asked for."""
        return self.matches is not None and self.in_a_row >= self.matches

    def __call__(self, progress: DAggerProgress) -> bool:
        """False ends the training."""
        self.visit(progress.timesteps)
        return not self.matched

    def _measure(self, timesteps: int) -> None:
        super()._measure(timesteps)
        self.in_a_row = self.in_a_row + 1 if self.last >= self.target else 0
