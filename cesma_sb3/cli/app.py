"""The command group, and the exit status of the program."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Sequence
from typing import Any, NoReturn

import click

from cesma_sb3.errors import CesmaError, CesmaWarning, unknown_name
from cesma_sb3.utils.secrets import masked

_SHOW_WARNING = warnings.showwarning

_LONGEST = 4_000
"""Most letters of an error's line: the content of a hostile file is not printed whole."""


class _Commands(click.Group):
    """A group whose error for an unknown command has the nearest name."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if name in self.commands or name.startswith("-"):
            return super().resolve_command(ctx, args)
        visible = [each for each, command in self.commands.items() if not command.hidden]
        raise click.UsageError(unknown_name("command", name, visible))


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    invoke_without_command=True,
)
@click.pass_context
def cesma(context: click.Context) -> None:
    """Train one centralized controller for a team, then decentralize it into one policy per agent."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line, and exit.

    The exit status is 0; 1 if a run of a sweep, a figure or a comparison failed, or if `doctor` found
    something wrong; 2, with one line of error, for bad input or a package that cannot be imported; 130 after
    Ctrl-C. A bug keeps its traceback.

    Args:
        arguments: The words after `cesma`; None: those of this process.
    """
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning
            code = cesma.main(arguments, standalone_mode=False) or 0
        sys.stdout.flush()
    except click.exceptions.Exit as error:
        code = error.exit_code
    except click.ClickException as error:
        code = _fail(error.format_message(), 2)
    except CesmaError as error:
        code = _fail(str(error), 2)
    except ImportError as error:
        if (error.name or "cesma_sb3").partition(".")[0] == "cesma_sb3":
            raise
        code = _fail(f"{error}; `cesma doctor` says what is wrong with this installation", 2)
    except MemoryError as error:
        code = _fail(f"not enough memory: {error}", 2)
    except (click.Abort, KeyboardInterrupt):
        code = _fail("interrupted", 130)
    except BrokenPipeError:  # the reader has gone, as in `cesma list | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    sys.exit(code)


def _show_warning(message: Warning | str, category: type[Warning], *args: Any, **kwargs: Any) -> None:
    """Print this package's warnings as one line, for a user; others as Python does, for a developer."""
    if issubclass(category, CesmaWarning):
        click.echo(f"warning: {message}", err=True)
    else:
        _SHOW_WARNING(message, category, *args, **kwargs)


def _fail(message: str, code: int) -> int:
    line = "".join(
        each if each.isprintable() else repr(each)[1:-1] for each in " ".join(masked(message).split())
    )
    short = line if len(line) <= _LONGEST else f"{line[: _LONGEST - 3]}..."
    click.echo(f"error: {short}", err=True)
    return code
