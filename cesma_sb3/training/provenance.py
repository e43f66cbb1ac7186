"""What `run.json` says of how a run was made: its command line, the installed versions and the machine."""

from __future__ import annotations

import os
import platform
import sys
from functools import cache
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

from cesma_sb3.utils.secrets import masked_command


def command_line() -> str:
    """Returns this process's command line, without the passwords in URLs."""
    program = Path(sys.argv[0]) if sys.argv and sys.argv[0] else Path("python")
    as_module = program.name == "__main__.py"
    words = ["python", "-m", program.parent.name] if as_module else [program.name]
    return masked_command([*words, *sys.argv[1:]])


@cache
def versions() -> dict[str, str]:
    """Returns the versions of Python and of every installed distribution, by name."""
    found = {d.metadata["Name"]: d.version for d in distributions() if d.metadata["Name"]}
    return {
        "python": platform.python_version(),
        **dict(sorted(found.items(), key=lambda item: item[0].casefold())),
    }


def machine() -> dict[str, Any]:
    """Describes this machine, without its name."""
    return {"platform": platform.platform(), "processor": platform.machine(), "cores": os.cpu_count()}
