"""Options that several commands have, and what they mean."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import click

from cesma_sb3.errors import ConfigError, Interrupted

Command = TypeVar("Command", bound=Callable[..., Any])


class Whole(click.IntRange):
    """An integer, which may be written as YAML has numbers: `1000`, `1_000`, `1e3`."""

    name = "integer"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The integer; click's own message if it is none, or out of its range."""
        try:
            number = float(value)
            value = int(number) if number.is_integer() and not str(value).lstrip("+-").isdigit() else value
        except ValueError:  # told by click
            pass
        return super().convert(value, param, ctx)


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON for a program to read.")

trust_option = click.option(
    "--trust",
    is_flag=True,
    help="Code that the run folder names or holds may run, though it was made elsewhere (docs/trust.md).",
)


def settings_option(text: str) -> Callable[[Command], Command]:
    """`--set KEY=VALUE`, any number of them: the argument `settings`, for `overrides_of`."""
    return click.option("--set", "settings", metavar="KEY=VALUE", multiple=True, help=text)


def overrides_of(settings: tuple[str, ...]) -> dict[str, Any]:
    """Dotted keys and their values, from `key.path=value`."""
    from cesma_sb3.config.yaml import read_value

    overrides: dict[str, Any] = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or not all(part.strip() for part in key.split(".")):
            raise ConfigError(f"--set {setting}: expected KEY=VALUE, such as expert.n_envs=8")
        overrides[key] = read_value(value, f"--set {setting}")
    return overrides


@contextmanager
def told_how_to_resume() -> Iterator[None]:
    """After an interrupt of a run, what to type."""
    try:
        yield
    except Interrupted as error:
        from cesma_sb3.training.run_folder import command_line

        program = " ".join(command_line().split()[: 3 if command_line().startswith("python -m ") else 1])
        click.echo(f"to go on: {program} run --resume {shlex.quote(str(error.run_dir))}", err=True)
        raise


@contextmanager
def told_how_to_go_on() -> Iterator[None]:
    """After an interrupt, what to type."""
    try:
        yield
    except KeyboardInterrupt:
        from cesma_sb3.training.run_folder import command_line

        click.echo(f"to go on: {command_line()}", err=True)
        raise
