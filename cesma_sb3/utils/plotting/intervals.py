"""Numbers with their intervals, one below the other: what several runs come to, side by side."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cesma_sb3.utils.plotting.style import COLORS, FAINT, GREY, INK, frame, new_figure, wrapped_note

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLUMNS = 4


@dataclasses.dataclass(frozen=True)
class Bar:
    """A number and its interval."""

    label: str
    color: str
    """What it is drawn like: bars of one `color` look alike in all panels."""
    value: float
    low: float | None
    """None: there is no interval."""
    high: float | None


@dataclasses.dataclass(frozen=True)
class BarPanel:
    """One subplot."""

    title: str
    x: str
    bars: tuple[Bar, ...]
    """From top to bottom."""
    level: float | None = None
    """A vertical line."""
    limits: tuple[float, float] | None = None
    """Of the axis; None: as wide as what is drawn."""


def draw_intervals(
    path: Path, *, panels: Sequence[BarPanel], title: str, note: str, colors: Sequence[str]
) -> None:
    """Writes the figure.

    Args:
        path: Where to; the suffix says the format (png, svg, pdf).
        panels: At least one; rows of up to four.
        title: Above the figure.
        note: Below it: what points and lines are.
        colors: What bars are drawn like, in the order of their colours.

    Source: Agarwal et al. 2021, figure 9.
    """
    columns = min(len(panels), _COLUMNS)
    rows = math.ceil(len(panels) / columns)
    most = max(len(panel.bars) for panel in panels)
    width = max(3.4 * columns + 1.0, 6.4)
    figure = new_figure(width, rows * (0.3 * most + 1.25) + 0.8)
    paint = {color: COLORS[index % len(COLORS)] for index, color in enumerate(colors)}
    for index, panel in enumerate(panels):
        axes = figure.add_subplot(rows, columns, index + 1)
        # Labels are long, and alike where panels stand side by side.
        named = index % columns == 0 or _labels(panel) != _labels(panels[index - 1])
        _draw_panel(axes, panel, paint, named)
    figure.suptitle(title, x=0.01, ha="left", fontsize=13, fontweight="bold", color=INK)
    figure.supxlabel(wrapped_note(note, width), x=0.01, ha="left", fontsize=8.5, color=GREY)
    figure.savefig(path, dpi=130)


def _labels(panel: BarPanel) -> list[str]:
    return [bar.label for bar in panel.bars]


def _draw_panel(axes: Axes, panel: BarPanel, paint: dict[str, str], named: bool) -> None:
    for row, bar in enumerate(panel.bars):
        color = paint[bar.color]
        if bar.low is not None and bar.high is not None:
            axes.plot(
                (bar.low, bar.high), (row, row), color=color, linewidth=7, alpha=0.3, solid_capstyle="butt"
            )
        axes.plot(bar.value, row, "|", color=color, markersize=13, markeredgewidth=2.4)
    if panel.level is not None:
        axes.axvline(panel.level, color=FAINT, linewidth=1.0, zorder=0)
    axes.set_yticks(range(len(panel.bars)), _labels(panel) if named else [""] * len(panel.bars))
    axes.set_ylim(len(panel.bars) - 0.5, -0.5)
    if panel.limits is not None:
        axes.set_xlim(*panel.limits)
    axes.locator_params(axis="x", nbins=4)
    axes.set_title(panel.title, loc="left", fontsize=10.5, color=INK)
    axes.set_xlabel(panel.x, color=INK)
    axes.grid(axis="x", color=FAINT, linewidth=0.5)
    axes.set_axisbelow(True)
    frame(axes)
    axes.tick_params(axis="y", length=0)
