"""The commands `export` and `push`: teams for use elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from cesma_sb3.cli.app import cesma
from cesma_sb3.cli.options import out_option, run_argument, trust_option


@cesma.command()
@run_argument
@click.option(
    "--format",
    type=click.Choice(["onnx", "torchscript", "sb3"]),
    default="onnx",
    show_default=True,
    help="Format of the files; sb3 is for feed-forward networks only.",
)
@out_option("The folder to write, new or empty.", "export/FORMAT in the run folder")
@trust_option
def export(run_dir: Path, **options: Any) -> None:
    """Write one file for each agent, which runs without this package, and a JSON file that describes it.

    RUN is a run folder, or the name of a pretrained team.
    """
    from cesma_sb3.deploy import export as exporting

    for path in sorted(exporting.export(run_dir, **options).iterdir()):
        click.echo(path)


@cesma.command()
@run_argument
@click.argument("repo_id", metavar="USER/NAME|FOLDER")
@click.option("--private", is_flag=True, help="Create the repository as private, if it is new.")
@click.option("--message", help="Message of the commit.")
@trust_option
def push(run_dir: Path, repo_id: str, trust: bool, **options: Any) -> None:
    """Publish the students of a run on the Hugging Face Hub, with a model card that has the run's report.

    With a path such as ./FOLDER in place of USER/NAME, the files are written there and nothing is uploaded.
    """
    from cesma_sb3.deploy import hub

    if repo_id.startswith((".", "/", "~")):
        click.echo(hub.write_published(run_dir, Path(repo_id).expanduser(), trust=trust))
    else:
        click.echo(hub.push_to_hub(run_dir, repo_id, trust=trust, **options))
