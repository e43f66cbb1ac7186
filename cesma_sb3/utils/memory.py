"""The memory that this process can use, by the machine, its container and its resource limits."""

from __future__ import annotations

import contextlib
import os
import sys
from pathlib import Path

_CONTAINER = Path("/sys/fs/cgroup/memory.max")


def memory() -> int | None:
    """Return the smallest known limit in bytes; None where none is known (Windows).

    This is not the memory that is free now, which changes with other processes.
    """
    limits: list[int] = []
    with contextlib.suppress(OSError, ValueError):  # there is none, or it says "max"
        limits.append(int(_CONTAINER.read_text(encoding="utf-8")))
    if sys.platform != "win32":
        import resource

        with contextlib.suppress(ValueError, OSError):
            limits.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        limits += [] if limit == resource.RLIM_INFINITY else [limit]
    return min((limit for limit in limits if limit > 0), default=None)


def in_words(n_bytes: int) -> str:
    """Format a size: `532 bytes`, `41.2 GiB`."""
    size, units = float(n_bytes), ["bytes", "KiB", "MiB", "GiB", "TiB", "PiB"]
    while size >= 1024 and len(units) > 1:
        size, units = size / 1024, units[1:]
    return f"{size:.0f} {units[0]}" if units[0] == "bytes" else f"{size:.1f} {units[0]}"
