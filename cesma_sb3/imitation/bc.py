"""Behavioural cloning: the expert acts, the students learn from what it saw and did."""

from __future__ import annotations

from typing import Any

from cesma_sb3.imitation.base import LoopState
from cesma_sb3.imitation.dagger import MultiAgentDAggerTrainer


class BehaviouralCloningTrainer(MultiAgentDAggerTrainer):
    """Multi-agent behavioural cloning: DAgger in which the expert always acts.

    The students never act, so they never learn what to do in states that only their own mistakes lead to:
    what they lose may grow with the square of the episode's length (Ross & Bagnell, 2010, Theorem 2.1). They
    learn while the data comes, and once more when all of it is there. From experience alone
    (`add_experience`) it is DAgger without a timestep. Where the team communicates the students still send
    messages, since the expert has none.

    Args:
        final_updates: Gradient steps after the last timestep of a call of `train`, at the last learning rate.
        **kwargs: Of `MultiAgentDAggerTrainer`, without `beta_schedule` and `beta_per_agent`.

    Raises:
        ValueError: A number is out of its range.

    Source: section 4.3; Pomerleau (1989), "ALVINN: an autonomous land vehicle in a neural network".
    """

    def __init__(self, *, final_updates: int = 500, **kwargs: Any) -> None:
        if final_updates < 0:
            raise ValueError(f"final_updates={final_updates}: expected at least 0")
        self.final_updates = final_updates
        super().__init__(beta_schedule=_expert_acts, beta_per_agent=False, **kwargs)

    def _step(self, loop: LoopState) -> None:
        super()._step(loop)
        if loop.step + 1 == loop.n_steps and len(self.dataset):
            for _ in range(self.final_updates):
                self.update()


def _expert_acts(round_number: int) -> float:
    """A beta schedule: the expert always acts."""
    del round_number
    return 1.0
