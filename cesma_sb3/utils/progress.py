"""Progress on standard error: of a training stage in timesteps, and of a number of runs or trials.

On a terminal there is a bar with rate and remaining time, elsewhere a line now and then. Standard output
holds results alone.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column
from rich.text import Text

if TYPE_CHECKING:
    from typing_extensions import Self

Metric = float | Callable[[], float]
SECONDS_BETWEEN_LINES = 15.0
"""Where standard error is not a terminal."""


def announce(line: str, *, enabled: bool, console: Console | None = None) -> None:
    """Print a line between stages.

    Args:
        line: The text.
        enabled: False prints nothing.
        console: Where to print; None: standard error.
    """
    if enabled:
        _print(Console(stderr=True) if console is None else console, line)


class CountProgress:
    """A context manager that shows how many runs or trials have ended: lines, on a terminal above a bar.

    Args:
        name: What is counted, in the plural.
        total: How many there are; None: unknown.
        enabled: False shows nothing.
        console: Where to print; None: standard error.
    """

    def __init__(
        self, name: str, total: int | None, *, enabled: bool, console: Console | None = None
    ) -> None:
        self.total = total
        self.done = 0
        self.console = Console(stderr=True, quiet=not enabled) if console is None else console
        columns = (TextColumn(name), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        shown = enabled and total != 0 and self.console.is_terminal
        self.bar = Progress(
            *columns, TextColumn("{task.fields[note]}"), console=self.console, disable=not shown
        )
        self.task = self.bar.add_task(name, total=total, note="")

    def __enter__(self) -> Self:
        self.bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.stop()

    def advance(self, text: str | None, *, note: str = "") -> None:
        """Count one more.

        Args:
            text: A line about it; None: no line.
            note: Text beside the bar.
        """
        self.done += 1
        self.bar.update(self.task, completed=self.done, note=note)
        if text is not None:
            self.message(f"[{self.done}/{self.total or '?'}] {text}")

    def message(self, text: str) -> None:
        """Print a line."""
        _print(self.console, text)


class StageProgress:
    """A context manager that shows the progress of one training stage.

        with StageProgress("students", 100_000) as progress:
            trainer.train(100_000, callback=lambda state: progress.update(state.timesteps))

    Args:
        stage: The name of the stage, in a word.
        total: Its environment timesteps.
        unit: What is counted, if not timesteps.
        enabled: False shows nothing; neither does a stage of no timesteps.
        console: Where to print; None: standard error.
        clock: Returns seconds; for tests.
    """

    def __init__(
        self,
        stage: str,
        total: int,
        *,
        unit: str = "steps",
        enabled: bool = True,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.stage = stage
        self.total = total
        self.unit = unit
        self.completed = 0
        self.completed_before = 0
        """The timesteps that an earlier process did, in `completed` too."""
        self.metrics: dict[str, Metric] = {}
        console = Console(stderr=True) if console is None else console
        self._display: _Bar | _Lines | None = None
        if enabled and total > 0:
            self._display = _Bar(self, console) if console.is_terminal else _Lines(self, console, clock)

    def __enter__(self) -> Self:
        if self._display is not None:
            self._display.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._display is not None:
            self._display.stop(finished=kind is None)

    def update(
        self, completed: int, metrics: Mapping[str, Metric] | None = None, *, resumed: bool = False
    ) -> None:
        """Set how far the stage is. This is cheap enough to be called at every step.

        Args:
            completed: Environment timesteps so far in this stage.
            metrics: The last metrics by name, which are shown too: numbers, or functions that return them,
                which are called when they are shown.
            resumed: An earlier process did these timesteps: they do not count in the rate.
        """
        self.completed = completed
        if metrics:
            self.metrics.update(metrics)
        if resumed:
            self.completed_before = completed
        if self._display is not None:
            self._display.refresh(resumed=resumed)

    def metrics_text(self) -> str:
        """Return the last metrics as text."""
        values = ((name, value() if callable(value) else value) for name, value in self.metrics.items())
        return ", ".join(f"{name} {value:.4g}" for name, value in values if math.isfinite(value))


class _Bar:
    """A stage as a bar that is drawn again a few times a second."""

    def __init__(self, stage: StageProgress, console: Console) -> None:
        self.stage = stage
        self.progress = Progress(
            TextColumn("{task.description:<8}", table_column=_fixed()),
            BarColumn(bar_width=None),
            _Amount(table_column=_fixed()),
            TimeRemainingColumn(compact=True, elapsed_when_finished=True, table_column=_fixed()),
            _Metrics(stage, table_column=_fixed()),
            console=console,
            expand=True,
            speed_estimate_period=20.0,
        )
        self.task = self.progress.add_task(stage.stage, total=stage.total, start=False)

    def start(self) -> None:
        self.progress.start_task(self.task)
        self.progress.start()

    def refresh(self, *, resumed: bool) -> None:
        if resumed:
            self.progress.reset(self.task, completed=self.stage.completed)
        self.progress.update(self.task, completed=self.stage.completed)

    def stop(self, *, finished: bool) -> None:
        self.progress.stop()


def _fixed() -> Column:
    """A column that keeps its width where the terminal is narrow: the bar gives way."""
    return Column(no_wrap=True)


class _Amount(ProgressColumn):
    """The fraction of the timesteps that are done, and the rate."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        rate = f"{speed:,.0f}/s" if speed else "-/s"
        share = f"{task.percentage:>3.0f}% of {task.total or 0:,.0f}"
        return Text(f"{share} {rate:>9}", style="progress.download")


class _Metrics(ProgressColumn):
    """The last metrics."""

    def __init__(self, stage: StageProgress, table_column: Column) -> None:
        super().__init__(table_column)
        self.stage = stage

    def render(self, task: Task) -> Text:
        return Text(self.stage.metrics_text(), style="cyan")


class _Lines:
    """A stage as lines: at the first step, at the end, and every few seconds between.

    A stage that is refused before its first step prints nothing: the error says it all.
    """

    def __init__(self, stage: StageProgress, console: Console, clock: Callable[[], float]) -> None:
        self.stage = stage
        self.console = console
        self.clock = clock
        self.started = self.printed = clock()
        self.is_announced = False

    def start(self) -> None:
        self.started = self.printed = self.clock()

    def refresh(self, *, resumed: bool) -> None:
        self._announce()
        now = self.clock()
        if now - self.printed < SECONDS_BETWEEN_LINES:
            return
        self.printed = now
        completed, total = self.stage.completed, self.stage.total
        rate = self._rate(now - self.started)
        left = duration((total - completed) / rate) if rate > 0 else "-"
        self._print(
            f"{completed:,}/{total:,} {self.stage.unit} ({completed / total:.0%}), {rate:,.0f}/s, {left} left"
        )

    def stop(self, *, finished: bool) -> None:
        if not (finished or self.is_announced):
            return
        self._announce()
        completed, elapsed = self.stage.completed, self.clock() - self.started
        rate = f", {self._rate(elapsed):,.0f}/s" if elapsed > 0 else ""
        how = "done" if finished else "ended early"
        self._print(f"{how} after {completed:,} {self.stage.unit} in {duration(elapsed)}{rate}")

    def _rate(self, elapsed: float) -> float:
        """Timesteps of this process per second."""
        return (self.stage.completed - self.stage.completed_before) / elapsed

    def _announce(self) -> None:
        if not self.is_announced:
            self.is_announced = True
            _print(self.console, f"{self.stage.stage}: {self.stage.total:,} {self.stage.unit}")

    def _print(self, line: str) -> None:
        metrics = self.stage.metrics_text()
        _print(self.console, f"{self.stage.stage}: {line}" + (f", {metrics}" if metrics else ""))


def duration(seconds: float) -> str:
    """Format a time: `0:42`, `12:05`, `1:02:03`."""
    minutes, second = divmod(max(0, round(seconds)), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def _print(console: Console, line: str) -> None:
    console.print(line, highlight=False, markup=False, soft_wrap=True)
