"""Plot estimates with their intervals, one below the other, in several panels."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cesma_sb3.utils.plotting.style import COLORS, FAINT, INK, add_title_and_note, frame, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_COLUMNS = 4


@dataclasses.dataclass(frozen=True)
class Interval:
    """A number and its interval, drawn as a mark on a bar."""

    label: str
    system: str
    """Whose number it is: what belongs to one system has one colour in all panels."""
    value: float
    low: float | None
    """None: there is no interval."""
    high: float | None


@dataclasses.dataclass(frozen=True)
class IntervalPanel:
    """One subplot."""

    title: str
    x_label: str
    intervals: tuple[Interval, ...]
    """From top to bottom."""
    level: float | None = None
    """Where a vertical line stands."""
    limits: tuple[float, float] | None = None
    """Limits of the x axis; None: as wide as what is drawn."""


def draw_intervals(
    path: Path, *, panels: Sequence[IntervalPanel], title: str, note: str, systems: Sequence[str]
) -> None:
    """Write the plot.

    Args:
        path: The file; its suffix says the format (png, svg, pdf).
        panels: At least one; they are drawn in rows of up to four.
        title: Text above the plot.
        note: Text below it: what marks and bars are.
        systems: All systems, in the order of their colours.

    Source: Agarwal et al. 2021, figure 9.
    """
    columns = min(len(panels), _COLUMNS)
    rows = math.ceil(len(panels) / columns)
    most = max(len(panel.intervals) for panel in panels)
    figure = new_figure(max(3.4 * columns + 1.0, 6.4), rows * (0.3 * most + 1.25) + 0.8)
    colors = {system: COLORS[index % len(COLORS)] for index, system in enumerate(systems)}
    for index, panel in enumerate(panels):
        axes = figure.add_subplot(rows, columns, index + 1)
        # Labels are long, and often the same in panels side by side.
        has_labels = index % columns == 0 or _labels(panel) != _labels(panels[index - 1])
        _draw_panel(axes, panel, colors, has_labels=has_labels)
    add_title_and_note(figure, title, note)
    figure.savefig(path, dpi=130)


def _labels(panel: IntervalPanel) -> list[str]:
    return [interval.label for interval in panel.intervals]


def _draw_panel(axes: Axes, panel: IntervalPanel, colors: dict[str, str], *, has_labels: bool) -> None:
    n_rows = len(panel.intervals)
    for row, each in enumerate(panel.intervals):
        color = colors[each.system]
        if each.low is not None and each.high is not None:
            ends = (each.low, each.high)
            axes.plot(ends, (row, row), color=color, linewidth=7, alpha=0.3, solid_capstyle="butt")
        axes.plot(each.value, row, "|", color=color, markersize=13, markeredgewidth=2.4)
    if panel.level is not None:
        axes.axvline(panel.level, color=FAINT, linewidth=1.0, zorder=0)
    axes.set_yticks(range(n_rows), _labels(panel) if has_labels else [""] * n_rows)
    axes.set_ylim(n_rows - 0.5, -0.5)
    if panel.limits is not None:
        axes.set_xlim(*panel.limits)
    axes.locator_params(axis="x", nbins=4)
    axes.set_title(panel.title, loc="left", fontsize=10.5, color=INK)
    axes.set_xlabel(panel.x_label, color=INK)
    axes.grid(axis="x", color=FAINT, linewidth=0.5)
    axes.set_axisbelow(True)
    frame(axes)
    axes.tick_params(axis="y", length=0)
