"""Plot learning curves of one run or of several, as the paper does: a centre between minimum and maximum."""

from __future__ import annotations

import dataclasses
import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from cesma_sb3.utils.plotting.style import (
    COLORS,
    GREY,
    INK,
    MARKERS,
    add_title_and_note,
    frame,
    new_figure,
    thousands,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Points = Sequence[tuple[float, float]]
"""Points (x, y) of a curve in the order of x, such as environment samples and the return measured there."""
Center = Literal["mean", "median"]
Values = npt.NDArray[np.float64]
_COLUMNS = 4
_TITLE_CHARACTERS = 9.0  # that fit into an inch
_TITLE_LINE = 0.25  # inches
_LEGEND_CHARACTERS = 12.0  # that fit into an inch
_LEVELS = ("--", "-.", (0, (6, 2, 1, 2, 1, 2)), ":")


class _Style(NamedTuple):
    """Colour, marker and line style of one label."""

    color: str
    marker: str
    level: Any
    """Line style of a horizontal line: several may lie on top of each other."""


@dataclasses.dataclass(frozen=True)
class Envelope:
    """Centre, minimum and maximum of several runs at common points, [P] float64 each; `x` rises."""

    x: Values
    center: Values
    low: Values
    high: Values


def interpolate(curves: Sequence[Points]) -> tuple[Values, Values]:
    """Interpolate curves of several seeds at all points where one of them was measured.

    After its end a curve keeps its last value, as students do that stopped when they matched the expert. Of
    several points at one x, as of students that learn without a new sample, the last one counts.

    Args:
        curves: At least one; each has at least one point, in the order of x.

    Returns:
        The points [P], and the values of all R curves there [R, P].
    """
    x = np.unique([at for curve in curves for at, _ in curve])
    lasts = [np.asarray([*dict(curve).items()], dtype=np.float64).T for curve in curves]
    return x, np.stack([np.interp(x, *last) for last in lasts])


def envelope(curves: Sequence[Points], center: Center = "mean") -> Envelope:
    """Summarize curves of several seeds (see `interpolate`).

    Args:
        curves: At least one; each has at least one point, in the order of x.
        center: What the line between minimum and maximum is.
    """
    x, values = interpolate(curves)
    middle = np.median(values, axis=0) if center == "median" else values.mean(axis=0)
    return Envelope(x, middle, values.min(axis=0), values.max(axis=0))


@dataclasses.dataclass(frozen=True)
class PlotLine:
    """One line of a panel, in one of several forms; lines of one label look alike in all panels."""

    label: str
    curves: tuple[Envelope, ...] = ()
    """Curves one after the other: an expert's, then its students'."""
    level: float | None = None
    """Height of a dashed horizontal line."""
    extends: bool = False
    """Whether the last curve continues, dotted, to the panel's right edge."""
    points: tuple[tuple[float, float], ...] = ()
    """Single measurements behind a `path`."""
    path: tuple[tuple[float, float], ...] = ()
    """A curve that need not go from left to right."""


@dataclasses.dataclass(frozen=True)
class PlotPanel:
    """One subplot."""

    title: str
    x_label: str
    y_label: str
    lines: tuple[PlotLine, ...]


def draw_panels(path: Path, *, panels: Sequence[PlotPanel], title: str, note: str) -> None:
    """Write the plot.

    Args:
        path: The file; its suffix says the format (png, svg, pdf).
        panels: At least one; they are drawn in rows of up to four.
        title: Text above the plot.
        note: Text below it: what lines and areas are.

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
    add_title_and_note(figure, title + "\n" * legend_lines, note)  # the legend stands in these empty lines
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


def draw_learning_curves(
    path: Path,
    *,
    expert: Points,
    students: Points,
    reference_returns: Mapping[str, float],
    title: str,
    reward: str,
) -> None:
    """Write the plot of one run: the expert's curve, then the students' on the same axis.

    Args:
        path: The file; its suffix says the format (png, svg, pdf).
        expert: The expert's curve; one point or none where the expert was not trained.
        students: The students' curve, whose samples count from where the expert's end.
        reference_returns: Mean returns that are drawn as horizontal lines, by name (`random`, `reference`).
        title: Text above the plot.
        reward: The reward's definition, below the plot: returns mean little without it.

    Source: Figure 5.
    """

    def label(name: str, value: float) -> str:
        return f"{name}  {value:.1f}".replace("-", "\N{MINUS SIGN}")

    lines = [
        PlotLine(label(name, curve[-1][1]), (envelope([curve]),), extends=name == "expert")
        for name, curve in (("expert", expert), ("students", students))
        if curve
    ]
    lines += [PlotLine(label(name, value), level=value) for name, value in reference_returns.items()]
    panel = PlotPanel("", "environment samples", "mean return of an episode", tuple(lines))
    draw_panels(path, panels=[panel], title=title, note=f"reward: {reward}")


def _style(index: int) -> _Style:
    """Return the style of the label with this index; where colours repeat, markers differ."""
    marker = MARKERS[(index + index // len(COLORS)) % len(MARKERS)]
    return _Style(COLORS[index % len(COLORS)], marker, _LEVELS[index % len(_LEVELS)])


def _legend_columns(labels: Sequence[str], width: float) -> int:
    """Return how many entries the legend has on a line: all if they fit, else as many as fit in columns."""
    widths = [0.65 + len(label) / _LEGEND_CHARACTERS for label in labels]
    if sum(widths) <= width:
        return max(len(labels), 1)
    return max(int(width / max(widths)), 1)


def _draw_panel(axes: Axes, panel: PlotPanel, styles: dict[str, _Style], handles: dict[str, Any]) -> None:
    from matplotlib.ticker import FuncFormatter

    end = max((e.x[-1] for line in panel.lines for e in line.curves), default=1.0)
    for line in panel.lines:
        for handle in _draw_line(axes, line, styles[line.label], end):
            handles.setdefault(line.label, handle)
    axes.set_title(textwrap.fill(panel.title, 42), loc="left", fontsize=10.5, color=INK)
    axes.set_xlabel(panel.x_label, color=INK)
    axes.set_ylabel(panel.y_label, color=INK)
    axes.xaxis.set_major_formatter(FuncFormatter(thousands))
    axes.margins(x=0.02)
    if end == 0:  # nobody had samples: students that learn from experience alone
        axes.set_xticks([0])
    low, high = _heights(panel)
    margin = 0.08 * (high - low) or 1.0
    axes.set_ylim(low - margin, high + margin)
    if not panel.lines:
        axes.text(0.5, 0.5, "no run yet", transform=axes.transAxes, ha="center", color=GREY)
        axes.set_xticks([])
        axes.set_yticks([])
    frame(axes)


def _heights(panel: PlotPanel) -> tuple[float, float]:
    """Return the lowest and the highest value that a panel shows.

    A curve's first point is left out: it is that of untrained networks, and may be far below everything that
    is to be compared. Such a curve enters the panel from outside.
    """
    shown: list[float] = []
    for line in panel.lines:
        for curve in line.curves:
            shown += [*curve.low[min(1, len(curve.low) - 1) :], *curve.high[min(1, len(curve.high) - 1) :]]
        shown += [y for _, y in (*line.points, *line.path)]
        shown += [] if line.level is None else [line.level]
    return (min(shown), max(shown)) if shown else (0.0, 1.0)


def _draw_line(axes: Axes, line: PlotLine, style: _Style, end: float) -> list[Any]:
    """Draw a line, and return the artists that may stand for it in the legend."""
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
