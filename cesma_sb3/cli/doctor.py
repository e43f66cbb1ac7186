"""The command `doctor`: what is wrong with this installation."""

from __future__ import annotations

import click

from cesma_sb3.cli.app import cesma
from cesma_sb3.cli.options import json_option


@cesma.command()
@json_option
def doctor(as_json: bool) -> int:
    """Check this installation, and print the commands that mend it.

    Versions, extras, threads, GPUs, folders and StarCraft. Nothing is asked of the network. The exit status
    is 1 if something is wrong. Please put what this prints into the report of a bug.
    """
    from cesma_sb3.utils.doctor import diagnose

    found = diagnose()
    click.echo(found.to_json() if as_json else found.to_text())
    return 1 if found.wrong else 0
