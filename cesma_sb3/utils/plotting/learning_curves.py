"""Plot the learning curves of a run, as the paper does: the expert's, then the students' on one axis."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cesma_sb3.utils.plotting.style import BLUE, FAINT, GREY, INK, VERMILION, frame, new_figure, thousands

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Points = Sequence[tuple[float, float]]
"""Points (x, y) of a curve in the order of x, such as environment samples and the return measured there."""

_REFERENCE_STYLES = ("--", ":", "-.", (0, (1, 3)))


def draw_learning_curves(
    path: Path,
    *,
    expert: Points,
    students: Points,
    reference_returns: Mapping[str, float],
    title: str,
    reward: str,
) -> None:
    """Write the plot.

    Args:
        path: The file; its suffix says the format (png, svg, pdf).
        expert: The expert's curve; one point or none where the expert was not trained.
        students: The students' curve, whose samples count from where the expert's end.
        reference_returns: Mean returns that are drawn as horizontal lines, by name (`random`, `reference`).
        title: Text above the plot.
        reward: The reward's definition, below the plot: returns mean little without it.

    Source: Figure 5.
    """
    figure = new_figure(8.4, 4.6)
    axes = figure.add_subplot()
    labels = [
        *_draw_curve(axes, expert, "expert", BLUE, "o"),
        *_draw_curve(axes, students, "students", VERMILION, "s"),
        *_draw_reference_returns(axes, reference_returns),
    ]
    end = max((x for x, _ in (*expert, *students)), default=1.0)
    if expert and expert[-1][0] < end:  # what the students are to match
        axes.plot((expert[-1][0], end), (expert[-1][1],) * 2, color=BLUE, linewidth=1.0, alpha=0.45, zorder=2)
    if students and len(expert) > 1:
        _mark_decentralization(axes, students[0][0])
    _style(axes, title, reward)
    _label_lines(axes, labels)
    figure.savefig(path, dpi=160)


def _draw_curve(
    axes: Axes, curve: Points, name: str, color: str, marker: str
) -> list[tuple[float, str, str]]:
    """Draw a curve, and return the height, text and colour of its label."""
    if not curve:
        return []
    x, y = zip(*curve, strict=True)
    axes.plot(x, y, color=color, linewidth=2.0, zorder=3)
    axes.plot(
        x[-1], y[-1], marker, color=color, markersize=5.5, markeredgecolor="white", zorder=4, clip_on=False
    )
    return [(y[-1], _label(name, y[-1]), color)]


def _label(name: str, value: float) -> str:
    return f"{name}  " + f"{value:.1f}".replace("-", "\N{MINUS SIGN}")


def _draw_reference_returns(axes: Axes, returns: Mapping[str, float]) -> list[tuple[float, str, str]]:
    labels = []
    for (name, value), style in zip(returns.items(), _REFERENCE_STYLES, strict=False):
        axes.axhline(value, color=GREY, linewidth=1.1, linestyle=style, zorder=1)
        labels.append((value, _label(name, value), GREY))
    return labels


def _mark_decentralization(axes: Axes, x: float) -> None:
    axes.axvline(x, color=FAINT, linewidth=1.0, zorder=0)
    axes.annotate(
        "decentralization starts ",
        (x, 1.0),
        xycoords=("data", "axes fraction"),
        xytext=(0, 3),
        textcoords="offset points",
        ha="right",
        va="bottom",
        fontsize=8.5,
        color=GREY,
    )


def _style(axes: Axes, title: str, reward: str) -> None:
    from matplotlib.ticker import FuncFormatter

    axes.set_title(title, loc="left", fontsize=12, fontweight="bold", color=INK, pad=20)
    axes.set_xlabel("environment samples", color=INK)
    axes.set_ylabel("mean return of an episode", color=INK)
    axes.xaxis.set_major_formatter(FuncFormatter(thousands))
    axes.margins(x=0.0, y=0.08)
    axes.set_xlim(left=0)
    frame(axes)
    figure: Any = axes.figure
    figure.supxlabel(textwrap.fill(f"reward: {reward}", 125), fontsize=8.5, color=GREY, x=0.01, ha="left")


def _label_lines(axes: Axes, labels: list[tuple[float, str, str]]) -> None:
    """Label the lines at the right edge, in place of a legend, and move labels apart that would overlap."""
    low, high = axes.get_ylim()
    axes.set_ylim(low, high)
    ordered = sorted(labels)
    heights = _spread([(y - low) / (high - low) for y, _, _ in ordered], gap=0.058)
    for (y, text, color), height in zip(ordered, heights, strict=True):
        axes.annotate(
            text,
            (1.0, (y - low) / (high - low)),
            xycoords="axes fraction",
            xytext=(1.035, height),
            textcoords="axes fraction",
            va="center",
            fontsize=9.5,
            color=color,
            arrowprops={"arrowstyle": "-", "color": color, "linewidth": 0.6, "shrinkA": 0, "shrinkB": 0},
        )


def _spread(heights: Sequence[float], gap: float) -> list[float]:
    """Move sorted heights apart, as little as possible, until neighbours are at least `gap` from each other.

    Neighbours that would overlap form a block, which is centred on the mean of its members' heights.
    """
    blocks: list[list[float]] = []
    for height in heights:
        blocks.append([height])
        while len(blocks) > 1 and _start(blocks[-2], gap) + len(blocks[-2]) * gap > _start(blocks[-1], gap):
            merged = blocks.pop(-2) + blocks.pop(-1)
            blocks.append(merged)
    return [_start(block, gap) + index * gap for block in blocks for index in range(len(block))]


def _start(block: Sequence[float], gap: float) -> float:
    return sum(block) / len(block) - gap * (len(block) - 1) / 2
