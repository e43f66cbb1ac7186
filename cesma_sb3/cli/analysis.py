"""What a finished run is worth."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cesma_sb3.cli.app import cesma
from cesma_sb3.cli.options import Whole, json_option, trust_option
from cesma_sb3.cli.output import print_json, print_table

if TYPE_CHECKING:
    from cesma_sb3.analysis.price.estimates import Estimate


@cesma.command()
@click.argument("run_dir", type=click.Path(path_type=Path))
@click.option("--episodes", type=Whole(min=1), help="Of each measurement; else the experiment's.")
@click.option("--seed", type=Whole(min=0), help="Of the initial states; else the run's.")
@click.option(
    "--timesteps",
    type=Whole(min=0),
    help="Of students that are trained to tell what partial observation costs; else as many as the run's "
    "had. 0: there are none.",
)
@trust_option
@json_option
def price(run_dir: Path, as_json: bool, **options: Any) -> None:
    """Measure what decentralization costs in a finished run, and to what it is lost.

    The numbers are written into the run folder; docs/price.md defines each.
    """
    from cesma_sb3.analysis.price import price as measure

    found = measure(run_dir, progress=True, **options)
    if as_json:
        print_json({"rows": [dataclasses.asdict(row) for row in found.rows], "settings": found.settings})
        return
    rows = [
        [row.agent or "team", row.name, _shown(row.value), _interval(row), row.unit] for row in found.rows
    ]
    print_table(["whose", "what", "value", "95%", "unit"], rows)
    click.echo(found.path)


def _interval(row: Estimate) -> str:
    return "-" if row.low is None else f"{_shown(row.low)} to {_shown(row.high)}"


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


@cesma.command()
@click.argument("run_dirs", nargs=-1, required=True, metavar="RUN_DIR...", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), help="The file; else report.html in the run folder.")
@click.option(
    "--episodes",
    type=Whole(min=0),
    default=3,
    show_default=True,
    help="Of each policy, to play.",
)
@trust_option
def report(run_dirs: tuple[Path, ...], **options: Any) -> None:
    """Write a page about a finished run that needs no network; of several runs, one that compares them."""
    from cesma_sb3.analysis.html_report import write_html_report

    click.echo(write_html_report(run_dirs, **options))


@cesma.command()
@click.argument("run_dir", type=click.Path(path_type=Path))
@click.option(
    "--out", type=click.Path(path_type=Path), help="A .gif or .mp4 file; else video.gif in the run folder."
)
@click.option(
    "--policy",
    "policies",
    type=click.Choice(["expert", "students"]),
    multiple=True,
    default=("expert", "students"),
    show_default=True,
    help="Whom to show; may be given again.",
)
@click.option("--episodes", type=Whole(min=1), default=3, show_default=True, help="In a row.")
@click.option("--seed", type=Whole(min=0), help="Of the initial states; else the run's.")
@click.option("--fps", type=float, default=8.0, show_default=True, help="Steps in a second.")
@trust_option
def video(run_dir: Path, **options: Any) -> None:
    """Draw episodes of a run, expert and students side by side, as an animated GIF or an MP4 file."""
    from cesma_sb3.analysis.video import write_video

    click.echo(write_video(run_dir, **options))
