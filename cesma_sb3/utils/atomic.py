"""Atomic writes: a process that is killed leaves the old file, the new one, or none."""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path

PREFIX = ".unfinished-"
"""Prefix of the names of files and folders that are being written."""


def write(path: Path, writer: Callable[[Path], object]) -> None:
    """Write a file under a temporary name, then move it to `path`.

    Args:
        path: The file; its folder is made if need be.
        writer: Writes the file whose path it is called with, which has the suffix of `path`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary(path)
    try:
        writer(temporary)
        _flush(temporary)
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    _flush(path.parent)


def write_folder(path: Path, files: Mapping[str, bytes]) -> None:
    """Replace the folder `path` by one with exactly these files.

    A reader finds the old folder, the new one, or (for the moment between two renames) none; never a mixture.

    Args:
        path: The folder.
        files: Contents by path below the folder.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary, old = _temporary(path), _temporary(path)
    try:
        temporary.mkdir()
        for name, content in files.items():
            (temporary / name).parent.mkdir(parents=True, exist_ok=True)
            (temporary / name).write_bytes(content)
            _flush(temporary / name)
        for folder in {parent for name in files for parent in (temporary / name).parents}:
            if folder.is_relative_to(temporary):
                _flush(folder)
        if path.exists():
            path.rename(old)
        temporary.rename(path)
    except BaseException:
        if old.exists() and not path.exists():
            old.rename(path)
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    shutil.rmtree(old, ignore_errors=True)
    _flush(path.parent)


def leftovers(folder: Path) -> list[Path]:
    """List what a killed process left unfinished anywhere below `folder`, outermost paths only."""
    found: list[Path] = []
    for path in sorted(folder.rglob(f"{PREFIX}*")):
        if not any(part.startswith(PREFIX) for part in path.relative_to(folder).parts[:-1]):
            found.append(path)
    return found


def clean(folder: Path) -> list[Path]:
    """Remove the leftovers below `folder`, in which no process may be writing.

    Returns:
        The removed paths.
    """
    found = leftovers(folder)
    for path in found:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    return found


def _temporary(path: Path) -> Path:
    """Return a new name beside `path`: on the same file system, so that renaming is atomic."""
    return path.with_name(f"{PREFIX}{uuid.uuid4().hex[:12]}-{path.name}")


def _flush(path: Path) -> None:
    """Flush a file, or a folder's entries, to the disk: a rename may reach it before the content."""
    if path.is_dir() and os.name == "nt":  # Windows opens no folders
        return
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
