"""Style of all plots: colours, number formats, frames and titles, and a canvas without pyplot."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLORS = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#1f2937", "#A0522D", "#9ca3af")
"""Colours of lines, in the order of their labels; distinct for colour-blind readers (Okabe and Ito)."""
MARKERS = ("s", "o", "^", "D", "v", "P", "X", "*", "h")
INK, GREY, FRAME, FAINT = "#1f2937", "#6b7280", "#9ca3af", "#d1d5db"


def new_figure(width: float, height: float) -> Figure:
    """Make a white figure of a size in inches, which can be saved in every format.

    pyplot is not used: it keeps each figure alive, and asks for a display.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    figure = Figure(figsize=(width, height), layout=ConstrainedLayoutEngine(w_pad=0.12), facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def add_title_and_note(figure: Figure, title: str, note: str) -> None:
    """Write a title above a figure and a note below it, which is wrapped to the figure's width."""
    figure.suptitle(title, x=0.01, ha="left", fontsize=13, fontweight="bold", color=INK)
    wrapped = textwrap.fill(note, int(15.5 * figure.get_figwidth()))  # 15.5 characters an inch
    figure.supxlabel(wrapped, x=0.01, ha="left", fontsize=8.5, color=GREY)


def frame(axes: Axes) -> None:
    """Keep only the left and the lower line of the axes' frame, in grey."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(FRAME)
    axes.tick_params(colors=INK, labelsize=9)


def thousands(value: float, _position: int | None = None) -> str:
    """Format a number as `0`, `500`, `150k` or `2.5M`."""
    for size, suffix in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{suffix}"
    return f"{value:g}"
