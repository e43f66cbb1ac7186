"""The commands `watch`, `price`, `report` and `video`, of finished runs and pretrained teams."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cesma_sb3.cli.app import cesma
from cesma_sb3.cli.options import (
    PATH,
    Whole,
    episode_seed_option,
    json_option,
    out_option,
    run_argument,
    trust_option,
)
from cesma_sb3.cli.output import print_json, print_table

if TYPE_CHECKING:
    from cesma_sb3.analysis.price.estimates import Estimate


@cesma.command()
@run_argument
@click.option(
    "--episodes", type=Whole(min=1), default=3, show_default=True, help="Episodes of each policy to show."
)
@episode_seed_option
@out_option("The HTML file to write.", "a new one in a temporary folder")
@click.option("--open/--no-open", "opens", default=True, show_default=True, help="Open it in the browser.")
@trust_option
def watch(run_dir: Path, opens: bool, **options: Any) -> None:
    """Watch a team at work, beside its expert: write a page that plays episodes, and open it.

    RUN is a run folder, or the name of a pretrained team, such as spread-6-hetero.
    """
    from cesma_sb3.training.run_folder import RunFolder

    RunFolder.open(run_dir)  # refuse a bad name before PyTorch is loaded

    from cesma_sb3.analysis.html_report import write_watch_page

    path = write_watch_page(run_dir, **options)
    click.echo(path)
    if opens:
        import webbrowser

        webbrowser.open(path.resolve().as_uri())


@cesma.command()
@run_argument
@click.option(
    "--episodes",
    type=Whole(min=1),
    help="Episodes of each estimate.",
    show_default="n_final_episodes of the run",
)
@episode_seed_option
@click.option(
    "--timesteps",
    type=Whole(min=0),
    help="Timesteps of training further students, which show what partial observation costs; 0: train none.",
    show_default="as many as the run's students had",
)
@trust_option
@json_option
def price(run_dir: Path, as_json: bool, **options: Any) -> None:
    """Measure what decentralization costs in a finished run, and why.

    RUN is a run folder, or the name of a pretrained team. The estimates are written into the run folder;
    docs/price.md defines each.
    """
    from cesma_sb3.analysis.price import price as measure

    result = measure(run_dir, progress=True, **options)
    if as_json:
        print_json({"rows": [dataclasses.asdict(row) for row in result.rows], "settings": result.settings})
        return
    rows = [
        [row.agent or "team", row.name, _shown(row.value), _interval(row), row.unit] for row in result.rows
    ]
    print_table(["agent", "estimate", "value", "95%", "unit"], rows)
    click.echo(result.path)


def _interval(row: Estimate) -> str:
    return "-" if row.low is None else f"{_shown(row.low)} to {_shown(row.high)}"


def _shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


@cesma.command()
@click.argument("run_dirs", nargs=-1, required=True, metavar="RUN...", type=PATH)
@out_option("The HTML file to write.", "report.html in the run folder")
@click.option(
    "--episodes",
    type=Whole(min=0),
    default=3,
    show_default=True,
    help="Episodes of each policy that the page plays; 0: none.",
)
@trust_option
def report(run_dirs: tuple[Path, ...], **options: Any) -> None:
    """Write an HTML page about a finished run, or one that compares several. It needs no network."""
    from cesma_sb3.analysis.html_report import write_html_report

    click.echo(write_html_report(run_dirs, **options))


@cesma.command()
@run_argument
@out_option("The .gif or .mp4 file to write.", "video.gif in the run folder")
@click.option(
    "--policy",
    "policies",
    type=click.Choice(["expert", "students"]),
    multiple=True,
    default=("expert", "students"),
    show_default=True,
    help="A policy to show; repeatable.",
)
@click.option(
    "--episodes",
    type=Whole(min=1),
    default=3,
    show_default=True,
    help="Number of episodes, one after another.",
)
@episode_seed_option
@click.option("--fps", type=float, default=8.0, show_default=True, help="Environment steps per second.")
@click.option("--width", type=Whole(min=100), help="Width of each policy's picture in pixels.")
@trust_option
def video(run_dir: Path, **options: Any) -> None:
    """Write episodes of a run, expert and students side by side, as an animated GIF or an MP4 file."""
    from cesma_sb3.analysis.video import write_video

    click.echo(write_video(run_dir, **options))
