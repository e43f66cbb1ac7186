"""Folders in which one process works at a time."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from cesma_sb3.errors import ConfigError, StorageError

LOCK = ".lock"
"""The file in a folder that is locked; it is empty, and removed afterwards."""


@contextlib.contextmanager
def exclusive_lock(folder: Path, message: str) -> Iterator[None]:
    """Lock a folder for the time of the block. The operating system ends the lock with the process.

    Args:
        folder: The folder, which is made if need be.
        message: The error's text if another process holds the lock.

    Raises:
        ConfigError: Another process holds the lock.
        StorageError: The folder cannot be written.
    """
    lock = FileLock(folder / LOCK)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(blocking=False)
    except Timeout:
        raise ConfigError(f"{folder}: {message}") from None
    except OSError as error:
        raise StorageError(f"{folder}: cannot be written: {error.strerror}") from None
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # Windows removes no open file, and does it on release
            (folder / LOCK).unlink()
        lock.release()
