"""How far a stage is: a bar with rate and remaining time on a terminal, now and then a line elsewhere.

Everything goes to standard error, so that standard output holds results alone.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Column
from rich.text import Text

Measured = float | Callable[[], float]
SECONDS_BETWEEN_LINES = 15.0
"""Where standard error is not a terminal."""


def announce(line: str, *, enabled: bool, console: Console | None = None) -> None:
    """Shows a line before the first stage.

    Args:
        line: What is said.
        enabled: False shows nothing.
        console: Where to; None: standard error.
    """
    if enabled:
        console = Console(stderr=True) if console is None else console
        console.print(line, highlight=False, markup=False, soft_wrap=True)


class StageProgress:
    """The progress of one stage: a context manager, told now and then how far it is.

        with StageProgress("students", 100_000) as progress:
            trainer.train(100_000, callback=lambda state: progress.update(state.timesteps))

    Args:
        stage: What is being done, in a word.
        total: Environment timesteps in all.
        enabled: False shows nothing; neither does a stage of no timesteps.
        console: Where to; None: standard error.
        clock: Seconds; for tests.
    """

    def __init__(
        self,
        stage: str,
        total: int,
        *,
        enabled: bool = True,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.stage = stage
        self.total = total
        self.completed = 0
        self.completed_before = 0
        """Of these, the timesteps that an earlier process did."""
        self.measured: dict[str, Measured] = {}
        console = Console(stderr=True) if console is None else console
        self._display: _Display = _Silent()
        if enabled and total > 0:  # a scripted expert takes no time
            self._display = _Bar(self, console) if console.is_terminal else _Lines(self, console, clock)

    def __enter__(self) -> StageProgress:
        self._display.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._display.stop(finished=kind is None)

    def update(
        self, completed: int, measured: Mapping[str, Measured] | None = None, *, resumed: bool = False
    ) -> None:
        """Tells how far the stage is; cheap enough to be called at every step.

        Args:
            completed: Environment timesteps so far in this stage.
            measured: What was measured last, by name, to be shown beside it: numbers, or functions that give
                them when they are shown.
            resumed: These timesteps were done before this stage was resumed: they do not count in its rate.
        """
        self.completed = completed
        if resumed:
            self.completed_before = completed
            self._display.resume()
        if measured:
            self.measured.update(measured)
        self._display.refresh()

    def numbers(self) -> str:
        """What was measured last, as text."""
        numbers = ((name, value() if callable(value) else value) for name, value in self.measured.items())
        shown = ((name, value) for name, value in numbers if math.isfinite(value))
        return ", ".join(f"{name} {value:.4g}" for name, value in shown)


class _Display:
    """A way to show a stage."""

    def start(self) -> None:
        """The stage begins."""

    def resume(self) -> None:
        """The stage begins where an earlier process has left it."""

    def refresh(self) -> None:
        """The stage got further."""

    def stop(self, *, finished: bool) -> None:
        """The stage ended: by itself or by an exception."""


class _Silent(_Display):
    """Shows nothing."""


class _Bar(_Display):
    """A bar, drawn anew a few times a second."""

    def __init__(self, stage: StageProgress, console: Console) -> None:
        self.stage = stage
        self.progress = Progress(
            TextColumn("{task.description:<8}", table_column=_fixed()),
            BarColumn(bar_width=None),
            _Amount(table_column=_fixed()),
            TimeRemainingColumn(compact=True, elapsed_when_finished=True, table_column=_fixed()),
            _Numbers(stage, table_column=_fixed()),
            console=console,
            expand=True,
            speed_estimate_period=20.0,
        )
        self.task: TaskID | None = None

    def start(self) -> None:
        self.task = self.progress.add_task(self.stage.stage, total=self.stage.total)
        self.progress.start()

    def resume(self) -> None:
        if self.task is not None:
            self.progress.reset(self.task, completed=self.stage.completed)

    def refresh(self) -> None:
        if self.task is not None:
            self.progress.update(self.task, completed=self.stage.completed)

    def stop(self, *, finished: bool) -> None:
        self.progress.stop()


def _fixed() -> Column:
    """A column that keeps its width where the terminal is narrow: the bar gives way."""
    return Column(no_wrap=True)


class _Amount(ProgressColumn):
    """How much of how many timesteps, and how many a second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        rate = f"{speed:,.0f}/s" if speed else "-/s"
        share = f"{task.percentage:>3.0f}% of {task.total or 0:,.0f}"
        return Text(f"{share} {rate:>9}", style="progress.download")


class _Numbers(ProgressColumn):
    """What was measured last."""

    def __init__(self, stage: StageProgress, table_column: Column) -> None:
        super().__init__(table_column)
        self.stage = stage

    def render(self, task: Task) -> Text:
        return Text(self.stage.numbers(), style="cyan")


class _Lines(_Display):
    """A line at the first step and the end, and every few seconds between.

    A stage that is refused before its first step says nothing: the error is all there is to say.
    """

    def __init__(self, stage: StageProgress, console: Console, clock: Callable[[], float]) -> None:
        self.stage = stage
        self.console = console
        self.clock = clock
        self.started = self.printed = clock()
        self.is_announced = False

    def start(self) -> None:
        self.started = self.printed = self.clock()

    def refresh(self) -> None:
        self._announce()
        now = self.clock()
        if now - self.printed < SECONDS_BETWEEN_LINES:
            return
        self.printed = now
        completed, total = self.stage.completed, self.stage.total
        rate = self._rate(now - self.started)
        left = duration((total - completed) / rate) if rate > 0 else "-"
        share = f"{completed:,}/{total:,} steps ({completed / max(total, 1):.0%})"
        self._print(f"{self.stage.stage}: {share}, {rate:,.0f}/s, {left} left{self._numbers()}")

    def stop(self, *, finished: bool) -> None:
        if not (finished or self.is_announced):
            return
        self._announce()
        completed, elapsed = self.stage.completed, self.clock() - self.started
        rate = f", {self._rate(elapsed):,.0f}/s" if elapsed > 0 else ""
        how = f"{'done' if finished else 'ended early'} after {completed:,} steps in {duration(elapsed)}"
        self._print(f"{self.stage.stage}: {how}{rate}{self._numbers()}")

    def _rate(self, elapsed: float) -> float:
        """Timesteps of this process in a second."""
        return (self.stage.completed - self.stage.completed_before) / elapsed

    def _announce(self) -> None:
        if not self.is_announced:
            self.is_announced = True
            self._print(f"{self.stage.stage}: {self.stage.total:,} steps")

    def _numbers(self) -> str:
        numbers = self.stage.numbers()
        return f", {numbers}" if numbers else ""

    def _print(self, line: str) -> None:
        self.console.print(line, highlight=False, markup=False, soft_wrap=True)


def duration(seconds: float) -> str:
    """A time as people write it: `0:42`, `12:05`, `1:02:03`."""
    minutes, second = divmod(max(0, round(seconds)), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"
