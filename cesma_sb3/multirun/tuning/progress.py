"""The progress of a study on standard error: trials that have ended, and the best so far."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from cesma_sb3.utils.progress import CountProgress

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial


class StudyProgress(CountProgress):
    """The trials of a study: `CountProgress`, with the best trial beside the bar.

    Args:
        wanted: Trials in the end; None: as many as there is time for.
        enabled: False shows nothing.
    """

    def __init__(self, wanted: int | None, *, enabled: bool) -> None:
        super().__init__("trials", wanted, enabled=enabled)
        self._known: set[int] | None = None

    def update(self, ended: Sequence[FrozenTrial]) -> None:
        """Count the trials that have ended since the last call; the first call prints no lines."""
        scored = [trial for trial in ended if trial.state.name == "COMPLETE"]
        best = max(scored, key=lambda trial: trial.values[0], default=None)
        note = "" if best is None else f"best {best.values[0]:.4g} (trial {best.number})"
        for trial in ended:
            if self._known is None or trial.number not in self._known:
                line = f"trial {trial.number}: {_outcome(trial)}; {note}"
                self.advance(None if self._known is None else line, note=note)
        self._known = {trial.number for trial in ended}


def _outcome(trial: FrozenTrial) -> str:
    if trial.state.name == "COMPLETE":
        return f"{trial.values[0]:.4g}"
    if trial.state.name == "PRUNED":
        return "pruned"
    return f"failed: {trial.user_attrs.get('cause', 'interrupted')}"
