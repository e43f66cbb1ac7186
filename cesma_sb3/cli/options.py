"""Options that several commands have, and what they mean."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from cesma_sb3.errors import ConfigError, Interrupted

if TYPE_CHECKING:
    from cesma_sb3.training.evaluator import Spectator

PATH = click.Path(path_type=Path)
Command = TypeVar("Command", bound=Callable[..., Any])


class Whole(click.IntRange):
    """An integer, written as in YAML: `1000`, `1_000`, `1e3`."""

    name = "integer"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Convert a number or its text; click's own error if it is no integer or out of range."""
        try:
            number = float(value)
            value = int(number) if number.is_integer() and not str(value).lstrip("+-").isdigit() else value
        except ValueError:  # click reports it
            pass
        return super().convert(value, param, ctx)


run_argument = click.argument("run_dir", metavar="RUN", type=PATH)
"""A run folder, or the name of a pretrained team."""

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON in place of a table.")

trust_option = click.option(
    "--trust",
    is_flag=True,
    help="Allow a run folder from another machine to run the code that it names or holds (docs/trust.md).",
)


seeds_option = click.option(
    "--seeds",
    type=Whole(1, 10_000),
    default=3,
    show_default=True,
    help="Runs of each experiment: seeds 0, 1, ...",
)
episode_seed_option = click.option(
    "--seed", type=Whole(min=0), help="Seed of the episodes' initial states.", show_default="the run's"
)
baselines_option = click.option(
    "--baselines", is_flag=True, help="Add the registered baselines of these experiments."
)
workers_option = click.option(
    "--workers", type=Whole(1, 1_024), help="Runs in parallel.", show_default="one for each core"
)
ray_option = click.option(
    "--ray",
    "address",
    metavar="ADDRESS",
    help="Address of a Ray cluster to run on: auto, HOST:PORT or ray://HOST:PORT.",
)

watch_option = click.option(
    "--watch",
    "watched",
    is_flag=True,
    help="Open a page in the browser that shows how training goes, and the team at work.",
)
"""For `training_page`."""


def out_option(text: str, default: str) -> Callable[[Command], Command]:
    """Add `--out`, the file or folder to write; `default` describes the one without it."""
    return click.option("--out", type=PATH, help=text, show_default=default)


def settings_option(example: str) -> Callable[[Command], Command]:
    """Add `--set KEY=VALUE`, which may be repeated, as the argument `settings` for `overrides_of`."""
    text = f"Override a value of the experiment, such as {example}; repeatable."
    return click.option("--set", "settings", metavar="KEY=VALUE", multiple=True, help=text)


def overrides_of(settings: tuple[str, ...]) -> dict[str, Any]:
    """Parse `key.path=value` words into values by dotted key."""
    from cesma_sb3.config.yaml import read_value

    overrides: dict[str, Any] = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or not all(part.strip() for part in key.split(".")):
            raise ConfigError(f"--set {setting}: expected KEY=VALUE, such as expert.n_envs=8")
        overrides[key] = read_value(value, f"--set {setting}")
    return overrides


@contextmanager
def training_page(title: str, watched: bool) -> Iterator[Spectator | None]:
    """Open a page in the browser that shows a run while it trains, and yield the run's spectator.

    Args:
        title: The page's title.
        watched: Whether the user wants one; False yields None.
    """
    if not watched:
        yield None
        return
    import webbrowser

    from cesma_sb3.analysis.training_page import TrainingPage

    with TrainingPage(title) as page:
        click.echo(f"training shows at {page.url}", err=True)
        webbrowser.open(page.url)
        yield page


@contextmanager
def print_resume_hint(interrupt: type[KeyboardInterrupt] = KeyboardInterrupt) -> Iterator[None]:
    """Print the command that resumes the work, if the block is interrupted.

    Args:
        interrupt: The exception; `Interrupted` if there is nothing to resume before a run has begun.
    """
    try:
        yield
    except interrupt as error:
        from cesma_sb3.training.provenance import command_line

        command = command_line()
        if isinstance(error, Interrupted):  # one run, which is resumed by its folder
            program = " ".join(command.split()[: 3 if command.startswith("python -m ") else 1])
            command = f"{program} run --resume {shlex.quote(str(error.run_dir))}"
        click.echo(f"to resume: {command}", err=True)
        raise
