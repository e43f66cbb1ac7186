"""Files written whole or not at all: a process that is killed leaves the old file, the new one, or none."""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path

PREFIX = ".unfinished-"
"""What the names of files and folders begin with while they are being written."""


def write(path: Path, writer: Callable[[Path], object]) -> None:
    """Has `writer` write a file under a temporary name, then puts it in the place of `path`.

    Args:
        path: The file; its folder is made if need be.
        writer: Writes the file that it is given, whose name ends as `path` does: a suffix keeps its meaning.
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
    """Puts a folder that holds exactly these files in the place of `path`.

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
    """What a killed process left half-written anywhere below `folder`, outermost only."""
    found: list[Path] = []
    for path in sorted(folder.rglob(f"{PREFIX}*")):
        if not any(part.startswith(PREFIX) for part in path.relative_to(folder).parts[:-1]):
            found.append(path)
    return found


def clean(folder: Path) -> list[Path]:
    """Removes the leftovers below `folder`. To be called when nobody writes there.

    Returns:
        What was removed.
    """
    found = leftovers(folder)
    for path in found:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    return found


def _temporary(path: Path) -> Path:
    """A new name beside `path`: on the same file system, so that renaming is one step."""
    return path.with_name(f"{PREFIX}{uuid.uuid4().hex[:12]}-{path.name}")


def _flush(path: Path) -> None:
    """Has the system put a file, or a folder's entries, on the disk: a rename may outlive its content."""
    if path.is_dir() and os.name == "nt":  # Windows opens no folders
        return
    descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
