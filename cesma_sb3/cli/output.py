"""Tables and JSON on standard output."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from cesma_sb3.multirun.plan import Failure


def print_result(name: str, report: Mapping[str, Any]) -> None:
    """Print return and normalised score of each policy of a report."""
    from cesma_sb3.training.report import report_rows

    header, rows = report_rows(report)
    header[0] = name
    print_table(header, rows, numbers=True)
    if samples := report.get("env_samples"):
        click.echo(
            f"environment samples, without evaluations: {_samples(samples, report.get('updates', {}))}"
        )
    for policy, counts in report.get("parameters", {}).items():
        parts = ", ".join(f"{part} {count:,}" for part, count in counts.items())
        click.echo(f"parameters, {policy}: {parts}")
    for note in report.get("notes", ()):
        click.echo(f"note: {note}")


def _samples(samples: Mapping[str, int], updates: Mapping[str, int]) -> str:
    """Format the environment samples of each stage, with the gradient steps where these are counted."""
    counted = {stage: f" ({n:,} updates)" for stage, n in updates.items()}
    return ", ".join(f"{stage} {n:,}{counted.get(stage, '')}" for stage, n in samples.items())


def cell(value: Any) -> str:
    """Format a value of any kind for a table."""
    if value is None:
        return "-"
    return f"{value:,.2f}" if isinstance(value, float) else str(value)


def print_table(header: list[str], rows: list[list[str]], *, numbers: bool = False) -> None:
    """Print a table, as wide as the terminal; 200 columns wide where there is none.

    Args:
        header: Titles of the columns.
        rows: Cells as text.
        numbers: All columns but the first are numbers.
    """
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for index, title in enumerate(header):
        right = numbers and index > 0
        table.add_column(title, justify="right" if right else "left", no_wrap=index == 0 or right)
    for row in rows:
        table.add_row(*map(Text, row))
    console = Console()
    if not console.is_terminal:
        console = Console(width=200)
    console.print(table)


def print_json(value: Any) -> None:
    """Print a value as JSON."""
    from cesma_sb3.training.run_files import to_json

    click.echo(json.dumps(to_json(value), indent=2, allow_nan=False))


def print_failures(failures: Sequence[Failure]) -> int:
    """Print the runs that failed on standard error, and return the exit status."""
    for failure in failures:
        click.echo(f"failed: {failure.run}: {failure.cause} (log: {failure.log})", err=True)
    return 1 if failures else 0
