"""Folders in which one process works at a time."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from cesma_sb3.errors import ConfigError

if sys.platform != "win32":
    import fcntl


@contextlib.contextmanager
def alone(folder: Path, others: str) -> Iterator[None]:
    """Keeps others out of a folder for the time of the block; the system ends the lock with the process.

    The folder itself is locked, so that no file is left in it. Windows has no such lock: nobody is kept out.

    Args:
        folder: It is there.
        others: What to say if somebody is there already.

    Raises:
        ConfigError: Somebody is.
    """
    if sys.platform == "win32":
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(f"{folder}: {others}") from None
        yield
    finally:
        os.close(descriptor)
