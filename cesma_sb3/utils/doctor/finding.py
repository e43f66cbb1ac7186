"""One thing that was looked at, and what was found."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass

OK, NOTE, WRONG = "ok", "note", "wrong"
"""What a finding may be: all is well; worth knowing, such as an extra that is not installed; to be mended."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        topic: What it belongs to, such as "packages".
        name: What was looked at, such as "numpy".
        text: What was found, such as "2.4.6", and what was expected if that is something else.
        status: `ok`, `note` or `wrong`.
        fix: The command that mends or adds it; None where there is nothing to do.
    """

    topic: str
    name: str
    text: str
    status: str = OK
    fix: str | None = None


def set_variable(name: str, value: str) -> str:
    """Return the command that sets an environment variable."""
    return f"set {name}={value}" if os.name == "nt" else f"export {name}={shlex.quote(value)}"
