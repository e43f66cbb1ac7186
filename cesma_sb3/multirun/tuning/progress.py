"""The progress of a study on standard error: trials that have ended, and the best so far."""

from __future__ import annotations

from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial


class StudyProgress:
    """A bar on a terminal, above it a line for each trial; elsewhere the lines alone.

    Args:
        wanted: Trials in the end; None: as many as there is time for.
        enabled: False shows nothing.
        console: Where to; None: standard error.
    """

    def __init__(self, wanted: int | None, *, enabled: bool, console: Console | None = None) -> None:
        self.wanted = wanted
        self.console = Console(stderr=True, quiet=not enabled) if console is None else console
        columns = (TextColumn("trials"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        best = TextColumn("{task.fields[best]}")
        disabled = not (enabled and self.console.is_terminal)
        self.bar = Progress(*columns, best, console=self.console, disable=disabled)
        self.task = self.bar.add_task("trials", total=wanted, best="")
        self._known: set[int] = set()
        self._began = False

    def __enter__(self) -> StudyProgress:
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.stop()

    def update(self, study: optuna.Study, ended: Sequence[FrozenTrial]) -> None:
        """Show the trials that have ended since the last call; the first call prints no lines."""
        new = [trial for trial in ended if trial.number not in self._known]
        self._known |= {trial.number for trial in ended}
        scored = [trial for trial in ended if trial.state.name == "COMPLETE"]
        best = max(scored, key=lambda trial: trial.values[0], default=None)
        best_so_far = "" if best is None else f"best {best.values[0]:.4g} (trial {best.number})"
        self.bar.update(self.task, completed=len(ended), best=best_so_far)
        for trial in new if self._began else ():
            self.message(
                f"[{len(ended)}/{self.wanted or '?'}] trial {trial.number}: {_outcome(trial)}; {best_so_far}"
            )
        self._began = True

    def message(self, text: str) -> None:
        """Print a line."""
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)


def _outcome(trial: FrozenTrial) -> str:
    if trial.state.name == "COMPLETE":
        return f"{trial.values[0]:.4g}"
    if trial.state.name == "PRUNED":
        return "pruned"
    return f"failed: {trial.user_attrs.get('cause', 'interrupted')}"
