"""What a robot's team loses where its agents see less: a table, and a figure, of finished run folders.

for k in 0 1 2 null; do
cesma decentralize sac.zip mujoco-halfcheetah-6x1 --algorithm SAC --trust --set env.kwargs.obsk=$k --out k-$k
done
python -m benchmarks.robots k-* --out docs/images/robots.png
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import click
import numpy as np

from cesma_sb3.training.run_folder import RunFolder
from cesma_sb3.utils.plotting.style import COLORS, MARKERS, add_title_and_note, frame, new_figure


class Outcome(NamedTuple):
    """What a run says of its team."""

    robot: str
    distance: int | None
    """Up to which joints are observed; None: everything."""
    message_size: int
    share: float
    """The students' return between a random team's, 0, and the expert's, 1."""
    error: float
    """Standard error of `share` over the students' episodes."""
    expert: float
    students: float
    samples: int
    seconds: float
    """Processor seconds of the imitation."""


def outcome(run_dir: Path) -> Outcome:
    """Reads a run folder of a robot.

    Raises:
        StorageError: It is none, or incomplete.
    """
    run = RunFolder.open(run_dir)
    env, report = run.experiment.env, run.report()
    returns, errors = report["return"], report["standard_error"]
    span = returns["expert"] - returns["random"]
    return Outcome(
        env.id.removeprefix("mujoco-"),
        env.kwargs.get("obsk", 1),
        env.message_size,
        (returns["students"] - returns["random"]) / span,
        errors["students"] / span,
        returns["expert"],
        returns["students"],
        report["env_samples"]["decentralize"],
        report["processor_seconds"]["decentralize"],
    )


def table(outcomes: Sequence[Outcome]) -> str:
    """The outcomes in Markdown."""
    lines = [
        "| robot | k | in a message | expert | students | of the expert | samples | processor seconds |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for each in outcomes:
        cells = (
            f"`{each.robot}`",
            "all" if each.distance is None else str(each.distance),
            str(each.message_size or "nothing"),
            f"{each.expert:,.0f}",
            f"{each.students:,.0f}",
            f"{each.share:.2f} ± {each.error:.2f}",
            f"{each.samples:,}",
            f"{each.seconds:.0f}",
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def draw(outcomes: Sequence[Outcome], file: Path) -> None:
    """Draws the share of the expert's return against k, a line for each robot with or without messages."""
    places = sorted({each.distance for each in outcomes}, key=lambda k: np.inf if k is None else k)
    figure = new_figure(6.4, 3.6)
    axes = figure.add_subplot()
    kinds = list(dict.fromkeys((each.robot, each.message_size) for each in outcomes))
    for color, marker, (robot, size) in zip(COLORS, MARKERS, kinds, strict=False):
        own = [each for each in outcomes if (each.robot, each.message_size) == (robot, size)]
        own.sort(key=lambda each: places.index(each.distance))
        said = f"{robot}, messages of {size} numbers" if size else robot
        axes.errorbar(
            [places.index(each.distance) for each in own],
            [each.share for each in own],
            yerr=[each.error for each in own],
            color=color,
            marker=marker,
            capsize=3,
            label=said,
        )
    axes.axhline(1.0, color="#9ca3af", linewidth=1, linestyle="--")
    axes.set_xticks(range(len(places)), ["all" if k is None else str(k) for k in places])
    axes.set_xlabel("joints that an agent sees: its own and those up to k joints away")
    axes.set_ylabel("return, of the expert's")
    axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
    axes.legend(frameon=False, fontsize=9, loc="lower right")
    frame(axes)
    note = "0: a random team; 1, dashed: the SB3 controller of the whole robot. Bars: one standard error."
    add_title_and_note(figure, "What it costs to see less", note)
    figure.savefig(file, dpi=150)


@click.command(help=__doc__)
@click.argument("run_dirs", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@click.option("--out", type=click.Path(path_type=Path), help="Where the figure is written.")
def main(run_dirs: tuple[Path, ...], out: Path | None) -> None:
    """Prints the table, and draws the figure."""
    outcomes = [outcome(each) for each in run_dirs]
    click.echo(table(outcomes))
    if out is not None:
        draw(outcomes, out)


if __name__ == "__main__":
    main()
