"""Behavioural cloning: the expert acts, the students learn from what it saw and did."""

from __future__ import annotations

from typing import Any

from cesma_sb3.imitation.dagger import Callback, DAggerProgress, MultiAgentDAggerTrainer
from cesma_sb3.utils.torch_defaults import plain_torch


class BehaviouralCloningTrainer(MultiAgentDAggerTrainer):
    """Multi-agent behavioural cloning: DAgger in which the expert always acts.

    The students never act, so they never learn what to do in states that only their own mistakes lead to:
    what they lose may grow with the square of the episode's length (Ross & Bagnell, 2010, Theorem 2.1). They
    learn while the data comes, and once more when all of it is there. Where the team communicates the
    students still talk, since the expert has nothing to say.

    Args:
        final_updates: Gradient steps after the last sample of a call of `train`, at the last learning rate.
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

    @plain_torch()
    def go_on(self, *, callback: Callback | None = None, log_interval: int = 100) -> None:
        """As `MultiAgentDAggerTrainer.go_on`; the callback's last call comes after the final updates."""

        def watch(progress: DAggerProgress) -> bool | None:
            if progress.timesteps == progress.total_timesteps:
                for _ in range(self.final_updates if len(self.dataset) else 0):
                    self.update()
                progress.n_updates = self.n_updates
            return None if callback is None else callback(progress)

        super().go_on(callback=watch, log_interval=log_interval)


def _expert_acts(round_number: int) -> float:
    del round_number  # a schedule is given it
    return 1.0
