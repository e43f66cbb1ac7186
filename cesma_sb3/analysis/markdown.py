"""Tables as rows, and as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

TableRow = dict[str, Any]
"""The cells of one row, by column."""


def markdown_table(rows: Sequence[TableRow]) -> str:
    """Format rows as a table in Markdown; columns that a row lacks are left empty."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    lines = [columns, ["---"] * len(columns)]
    lines += [[_format(row.get(column)) for column in columns] for row in rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def _format(value: Any) -> str:
    """Format a number as a table shows it: `12,345`, `-17.35`, `0.0123`."""
    if not isinstance(value, float):
        return "" if value is None else str(value)
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.2f}" if abs(value) >= 1 else f"{value:.4g}"
