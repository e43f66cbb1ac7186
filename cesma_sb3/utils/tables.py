"""Numbers as text, and HTML of what a notebook shows: tables, text and pictures."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Sequence
from pathlib import Path


def number(value: float | None) -> str:
    """Format a number with two decimals; `-` for None and NaN."""
    return "-" if value is None or value != value else f"{value:.2f}"  # noqa: PLR0124  # NaN


def interval(low: float | None, high: float | None) -> str:
    """Format an interval; `-` where an end is None."""
    return "-" if low is None or high is None else f"{number(low)} to {number(high)}"


def html_table(title: str, header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table with a title above it.

    Args:
        title: One line.
        header: Titles of the columns.
        rows: Cells as text.
    """
    head = "".join(f"<th>{html.escape(each)}</th>" for each in header)
    body = "".join(f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f"<p><b>{html.escape(title)}</b></p>{table}"


def html_text(title: str, text: str) -> str:
    """Text as it is, with its lines, below a title of one line."""
    return f"<p><b>{html.escape(title)}</b></p><pre>{html.escape(text)}</pre>"


def html_picture(path: Path, description: str) -> str:
    """A PNG file inside of the page; nothing if there is none.

    Args:
        path: The file.
        description: What it shows, for those who cannot see it.
    """
    if not path.is_file():
        return ""
    content = base64.b64encode(path.read_bytes()).decode("ascii")
    source = f"data:image/png;base64,{content}"
    return f'<img alt="{html.escape(description)}" src="{source}" style="max-width: 100%">'
