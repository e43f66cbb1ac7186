"""File names for things that may have any name: an agent is called `team/0`, `CON`, or 300 letters."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

_LONGEST = 80
_DEVICES = {
    "con",
    "prn",
    "aux",
    "nul",
    *(f"{port}{number}" for port in ("com", "lpt") for number in range(10)),
}
"""Names that no file can have on Windows, whatever the suffix."""


def as_path(path: Path | str) -> Path:
    """Return a path with `~` expanded to the home folder, as a shell does."""
    path = Path(path)
    try:
        return path.expanduser()
    except RuntimeError:  # of a user who is not there: a name like any other
        return path


def file_names(names: Sequence[str]) -> dict[str, str]:
    """Return a file name for each name, without a suffix, that is valid on every file system.

    Plain names stay as they are. Other characters than ASCII letters, digits, `_`, `-` and `.` are written as
    in URLs (`team/0` is `team%2F0`), so that `urllib.parse.unquote` gives the name back. A name that would be
    too long ends in a part of its hash, and one that differs from an earlier one by letter case alone in a
    number, each after a `~`, which no other file name has.

    Args:
        names: All names whose files lie in one folder, each once.

    Returns:
        File names by name, distinct even where letter case does not count.
    """
    found: dict[str, str] = {}
    used: set[str] = set()
    for name in names:
        stem = _stem(name)
        number, unique = 1, stem
        while unique.casefold() in used:
            number += 1
            unique = f"{stem}~{number}"
        used.add(unique.casefold())
        found[name] = unique
    return found


def _stem(name: str) -> str:
    text = quote(name, safe="", errors="surrogatepass").replace("~", "%7E")
    if text.startswith(".") or text.partition(".")[0].casefold() in _DEVICES:
        text = f"%{ord(text[0]):02X}{text[1:]}"
    if text.endswith("."):
        text = f"{text[:-1]}%2E"
    if len(text) > _LONGEST:
        return f"{text[:_LONGEST]}~{hashlib.sha256(text.encode()).hexdigest()[:12]}"
    return text or "~"
