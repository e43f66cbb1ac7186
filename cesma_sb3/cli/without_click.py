"""What is left of the command `cesma` where click is missing: `cesma doctor`, which says so."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import NoReturn


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run `doctor`, with or without `--json`; other commands end with one line of error and exit status 2."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words not in (["doctor"], ["doctor", "--json"]):
        line = "error: click cannot be imported; `cesma doctor` says what is wrong"
        print(line, file=sys.stderr)  # noqa: T201  # click, which prints elsewhere, is missing
        sys.exit(2)
    from cesma_sb3.utils.doctor import diagnose

    found = diagnose()
    print(found.to_json() if "--json" in words else found.to_text())  # noqa: T201  # as above
    sys.exit(1 if found.wrong else 0)
