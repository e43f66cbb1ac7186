"""Lines in several panels as the paper draws them: mean or median over seeds, between minimum and maximum."""

from __future__ import annotations

import dataclasses
import math
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from cesma_sb3.utils.plotting.learning_curves import Curve
from cesma_sb3.utils.plotting.style import (
    COLORS,
    GREY,
    INK,
    MARKERS,
    frame,
    new_figure,
    thousands,
    wrapped_note,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Center = Literal["mean", "median"]
Values = npt.NDArray[np.float64]
_COLUMNS = 4
_TITLE_CHARACTERS = 9.0  # that fit into an inch
_TITLE_LINE = 0.25  # inches
_LEGEND_CHARACTERS = 12.0  # that fit into an inch
_LEVELS = ("--", "-.", (0, (6, 2, 1, 2, 1, 2)), ":")


class _Style(NamedTuple):
    """How the lines of one label look."""

    color: str
    marker: str
    level: Any
    """Line style of a horizontal line: several may lie on each other."""


@dataclasses.dataclass(frozen=True)
class Envelope:
    """Centre, minimum and maximum of several runs at common points.

    Attributes:
        x, center, low, high: [P] float64, `x` rising.
    """

    x: Values
    center: Values
    low: Values
    high: Values


def envelope(curves: Sequence[Curve], center: Center = "mean") -> Envelope:
    """Curves of several seeds as one.

    Points are all those at which a curve was measured; between its own, a curve is interpolated. A run that
    ended earlier than another counts on with its last value, as students do that stopped when they matched.

    Args:
        curves: At least one; each has at least one point, in order of x.
        center: The line between minimum and maximum.
    """
    x = np.unique([at for curve in curves for at, _ in curve])
    values = np.stack([np.interp(x, *np.asarray(curve, dtype=np.float64).T) for curve in curves])
    middle = np.median(values, axis=0) if center == "median" else values.mean(axis=0)
    return Envelope(x, middle, values.min(axis=0), values.max(axis=0))


@dataclasses.dataclass(frozen=True)
class DrawnLine:
    """What one line of a panel is drawn from."""

    label: str
    """Lines of one label look alike in all panels."""
    curves: tuple[Envelope, ...] = ()
    """One after the other: an expert's, then its students'."""
    level: float | None = None
    """A dashed horizontal line."""
    extends: bool = False
    """Go on, dashed, from the last curve's end to the panel's right edge."""
    points: tuple[tuple[float, float], ...] = ()
    """Single measurements behind a curve that has no envelope."""
    path: tuple[tuple[float, float], ...] = ()
    """A curve that need not go from left to right."""


@dataclasses.dataclass(frozen=True)
class DrawnPanel:
    """One subplot."""

    title: str
    x: str
    y: str
    lines: tuple[DrawnLine, ...]


def draw_comparison(path: Path, *, panels: Sequence[DrawnPanel], title: str, note: str) -> None:
    """Writes the figure.

    Args:
        path: Where to; the suffix says the format (png, svg, pdf).
        panels: At least one; rows of up to four.
        title: Above the figure.
        note: Below it: what lines and areas are.

    Source: Figures 5 to 9; section 6: three runs, with the minimum and maximum reward envelopes.
    """
    columns = min(len(panels), _COLUMNS)
    rows = math.ceil(len(panels) / columns)
    width = max(4.1 * columns, 6.4)
    title = textwrap.fill(title, int(_TITLE_CHARACTERS * width))
    title_height = _TITLE_LINE * (title.count("\n") + 1)
    labels = list(dict.fromkeys(line.label for panel in panels for line in panel.lines))
    entries = _legend_columns(labels, width)
    legend_lines = math.ceil(len(labels) / entries)
    figure = new_figure(width, 3.3 * rows + 0.95 + title_height + _TITLE_LINE * (legend_lines - 1))
    styles = {label: _style(index) for index, label in enumerate(labels)}
    handles: dict[str, Any] = {}
    for index, panel in enumerate(panels):
        axes = figure.add_subplot(rows, columns, index + 1)
        _draw_panel(axes, panel, styles, handles)
    # With lines below it, in which the legend stands.
    figure.suptitle(title + "\n" * legend_lines, x=0.01, ha="left", fontsize=13, fontweight="bold", color=INK)
    figure.supxlabel(wrapped_note(note, width), x=0.01, ha="left", fontsize=8.5, color=GREY)
    if handles:
        below = 1.0 - title_height / float(figure.get_figheight())
        figure.legend(
            handles.values(),
            handles.keys(),
            loc="upper left",
            bbox_to_anchor=(0.0, below),
            ncols=entries,
            frameon=False,
        )
    figure.savefig(path, dpi=130)


def _style(index: int) -> _Style:
    """Of the lines of a label; where colours begin again, they have other markers."""
    marker = MARKERS[(index + index // len(COLORS)) % len(MARKERS)]
    return _Style(COLORS[index % len(COLORS)], marker, _LEVELS[index % len(_LEVELS)])


def _legend_columns(labels: Sequence[str], width: float) -> int:
    """All entries on one line if that is as wide as the figure, else as many as fit below each other."""
    widths = [0.65 + len(label) / _LEGEND_CHARACTERS for label in labels]
    if sum(widths) <= width:
        return max(len(labels), 1)
    return max(int(width / max(widths)), 1)


def _draw_panel(axes: Axes, panel: DrawnPanel, styles: dict[str, _Style], handles: dict[str, Any]) -> None:
    from matplotlib.ticker import FuncFormatter

    end = max((e.x[-1] for line in panel.lines for e in line.curves), default=1.0)
    for line in panel.lines:
        for handle in _draw_line(axes, line, styles[line.label], end):
            handles.setdefault(line.label, handle)
    axes.set_title(textwrap.fill(panel.title, 42), loc="left", fontsize=10.5, color=INK)
    axes.set_xlabel(panel.x, color=INK)
    axes.set_ylabel(panel.y, color=INK)
    axes.xaxis.set_major_formatter(FuncFormatter(thousands))
    axes.margins(x=0.02)
    low, high = _heights(panel)
    margin = 0.08 * (high - low) or 1.0
    axes.set_ylim(low - margin, high + margin)
    if not panel.lines:
        axes.text(0.5, 0.5, "no run yet", transform=axes.transAxes, ha="center", color=GREY)
        axes.set_xticks([])
        axes.set_yticks([])
    frame(axes)


def _heights(panel: DrawnPanel) -> tuple[float, float]:
    """The least and the most that a panel shows: all but what untrained networks begin with.

    They may be far below everything that is to be compared; such a curve comes in from outside.
    """
    shown: list[float] = []
    for line in panel.lines:
        for curve in line.curves:
            shown += [*curve.low[min(1, len(curve.low) - 1) :], *curve.high[min(1, len(curve.high) - 1) :]]
        shown += [y for _, y in (*line.points, *line.path)]
        shown += [] if line.level is None else [line.level]
    return (min(shown), max(shown)) if shown else (0.0, 1.0)


def _draw_line(axes: Axes, line: DrawnLine, style: _Style, end: float) -> list[Any]:
    """Draws a line; returns what may stand for it in the legend."""
    drawn: list[Any] = []
    color, marker = style.color, style.marker
    for curve in line.curves:
        drawn += axes.plot(
            curve.x, curve.center, color=color, linewidth=1.8, marker=marker, markersize=4, markevery=[-1]
        )
        axes.fill_between(curve.x, curve.low, curve.high, color=color, alpha=0.2, linewidth=0)
    if line.extends and line.curves and line.curves[-1].x[-1] < end:
        last = line.curves[-1]
        axes.plot((last.x[-1], end), (last.center[-1],) * 2, color=color, linewidth=1.2, linestyle=":")
    if line.level is not None:
        drawn.append(axes.axhline(line.level, color=color, linewidth=1.5, linestyle=style.level))
    if line.points:
        axes.plot(*zip(*line.points, strict=True), marker, color=color, markersize=3, alpha=0.3, linewidth=0)
    if line.path:
        drawn += axes.plot(*zip(*line.path, strict=True), color=color, linewidth=1.5)
    return drawn
