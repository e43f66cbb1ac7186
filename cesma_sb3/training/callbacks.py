"""Learning curves: a policy is evaluated in training, keeps its best weights, and may end the training."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Literal

from stable_baselines3.common.callbacks import BaseCallback
from torch import nn

from cesma_sb3.evaluation import Score
from cesma_sb3.imitation import DAggerProgress
from cesma_sb3.utils.stateful import Stateful


@dataclasses.dataclass(frozen=True)
class CurvePoint:
    """An evaluation of a policy in training."""

    timesteps: int
    """Environment timesteps of the training before it."""
    score: Score
    n_updates: int | None = None
    """Gradient steps of imitation before it; None of other trainings."""


Curve = list[CurvePoint]
NOT_MEASURED: Curve = [CurvePoint(0, Score(0.0))]
"""Stands for the learning curve of a policy in a dry run."""
Keep = Literal["best", "last"]
Seen = Callable[[CurvePoint], None]
"""Called after an evaluation with the newest point of the curve."""


class LearningCurve(BaseCallback, Stateful):
    """Evaluates a policy in training, and keeps its best weights, as SB3's `EvalCallback` does.

    It is a callback of SB3's `learn` and of `MultiAgentDAggerTrainer.train`, where it may end the training
    once the policy matches its expert several times in a row.

    Args:
        policy: The policy that is trained.
        evaluate: Returns its score as it is now.
        eval_freq: Environment timesteps between two evaluations.
        keep: The weights that the policy ends with: those of the best evaluation, or the last ones.
        target: Mean return of a match: the expert's, less what may be missing; NaN: nothing matches.
        updates_freq: Gradient steps between two evaluations before the first timestep of DAgger.
        n_matches: Evaluations in a row with at least `target` that end the training; None never ends it.
        on_eval: Called after each evaluation; an exception that it raises ends the training.

    Source: E.3: "we stopped training of the decentralization once the multi-agents reached the same reward as
    the expert".
    """

    state_attributes = ("best_mean_return", "kept_mean_return", "n_matched", "_best_weights")

    def __init__(
        self,
        policy: nn.Module,
        evaluate: Callable[[], Score],
        eval_freq: int,
        keep: Keep,
        *,
        updates_freq: int = 1,
        target: float = float("inf"),
        n_matches: int | None = None,
        on_eval: Seen | None = None,
    ) -> None:
        super().__init__()
        self.policy = policy
        self.evaluate = evaluate
        self.eval_freq = eval_freq
        self.keep = keep
        self.updates_freq = updates_freq
        self.target = target
        self.n_matches = n_matches
        self.on_eval = on_eval
        self.points: Curve = []
        self.best_mean_return = float("-inf")
        self.kept_mean_return = float("nan")
        """Mean return of the weights that `finish` kept; NaN before."""
        self.n_matched = 0
        """Evaluations that have matched the target, up to the newest one and in a row."""
        self._best_weights: dict[str, Any] = {}

    def state_dict(self) -> dict[str, Any]:
        """The points of the curve, and the best weights."""
        points = [
            (point.timesteps, point.n_updates, *dataclasses.astuple(point.score)) for point in self.points
        ]
        return {**super().state_dict(), "points": points}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Takes over what `state_dict` returned."""
        super().load_state_dict(state_dict)
        self.points = [
            CurvePoint(timesteps, Score(*score), n_updates)
            for timesteps, n_updates, *score in state_dict["points"]
        ]

    @property
    def last_mean_return(self) -> float:
        """Mean return of the newest evaluation."""
        return self.points[-1].score.mean

    @property
    def matched(self) -> bool:
        """Whether the newest evaluations have matched the target, as many as end the training."""
        return self.n_matches is not None and self.n_matched >= self.n_matches

    def evaluate_if_due(self, timesteps: int, n_updates: int | None = None) -> bool:
        """Evaluates the policy if `eval_freq` timesteps have passed; the first call always does.

        Args:
            timesteps: Environment timesteps of the training so far.
            n_updates: Gradient steps of imitation so far.

        Returns:
            Whether the policy was evaluated.
        """
        if self.points and timesteps - self.points[-1].timesteps < self.eval_freq:
            return False
        self._evaluate(timesteps, n_updates)
        return True

    def finish(self, timesteps: int, n_updates: int | None = None) -> None:
        """Evaluates the trained policy, and gives it the best weights so far if `keep` says so.

        Args:
            timesteps: Environment timesteps of the training.
            n_updates: Gradient steps of imitation.
        """
        if not self.points or (self.points[-1].timesteps, self.points[-1].n_updates) != (
            timesteps,
            n_updates,
        ):
            self._evaluate(timesteps, n_updates)
        self.kept_mean_return = self.last_mean_return
        if self.keep == "best" and self._best_weights:
            self.policy.load_state_dict(self._best_weights)
            self.kept_mean_return = self.best_mean_return

    def _evaluate(self, timesteps: int, n_updates: int | None) -> None:
        score = self.evaluate()
        self.points.append(CurvePoint(timesteps, score, n_updates))
        self.n_matched = self.n_matched + 1 if score.mean >= self.target else 0
        if score.mean > self.best_mean_return:
            self.best_mean_return = score.mean
            self._best_weights = {name: t.detach().clone() for name, t in self.policy.state_dict().items()}
        if self.on_eval is not None:
            self.on_eval(self.points[-1])

    def __call__(self, progress: DAggerProgress) -> bool:
        """Evaluates after a step of DAgger if it is due; False ends the training."""
        if not progress.is_pretraining:
            self.evaluate_if_due(progress.timesteps, progress.n_updates)
        elif progress.n_updates % self.updates_freq == 0:
            self._evaluate(progress.timesteps, progress.n_updates)
        return not self.matched

    def _on_training_start(self) -> None:
        self._on_step()

    def _on_step(self) -> bool:
        if self.evaluate_if_due(self.num_timesteps):
            self.logger.record("eval/return", self.last_mean_return)
        return not self.matched

    def _on_training_end(self) -> None:
        self.finish(self.num_timesteps)
