"""Teams that leave the run folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from cesma_sb3.cli.app import cesma
from cesma_sb3.cli.options import trust_option


@cesma.command()
@click.argument("run_dir", type=click.Path(path_type=Path))
@click.option(
    "--format",
    type=click.Choice(["onnx", "torchscript", "sb3"]),
    default="onnx",
    show_default=True,
    help="Of the files; sb3 is of plain networks alone.",
)
@click.option(
    "--out", type=click.Path(path_type=Path), help="The folder, new or empty; else in the run folder."
)
@trust_option
def export(run_dir: Path, **options: Any) -> None:
    """Write one file for each agent, which runs without this package, and a JSON beside it that says how."""
    from cesma_sb3.deploy import export as exporting

    for path in sorted(exporting.export(run_dir, **options).iterdir()):
        click.echo(path)


@cesma.command()
@click.argument("run_dir", type=click.Path(path_type=Path))
@click.argument("repo_id", metavar="USER/NAME|FOLDER")
@click.option("--private", is_flag=True, help="If the repository is made.")
@click.option("--message", help="Of the commit.")
@trust_option
def push(run_dir: Path, repo_id: str, trust: bool, **options: Any) -> None:
    """Publish the students of a run on the Hugging Face Hub, with a card that holds its report.

    With a path such as ./FOLDER in place of USER/NAME, what would be uploaded is written there.
    """
    from cesma_sb3.deploy import hub

    if repo_id.startswith((".", "/", "~")):
        click.echo(hub.write_published(run_dir, Path(repo_id).expanduser(), trust=trust))
    else:
        click.echo(hub.push_to_hub(run_dir, repo_id, trust=trust, **options))
