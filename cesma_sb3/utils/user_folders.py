"""The user's own folders on this machine, by the custom of its operating system."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def data_folder() -> Path:
    """Return the user's folder for this package's data. It need not exist.

    Raises:
        RuntimeError: The user has no home folder.
    """
    return _folder("XDG_DATA_HOME", mac="Library/Application Support", other=".local/share") / "cesma_sb3"


def cache_folder() -> Path:
    """Return the folder in which libraries keep what they can make again. It need not exist.

    Raises:
        RuntimeError: The user has no home folder.
    """
    return _folder("XDG_CACHE_HOME", mac="Library/Caches", other=".cache")


def _folder(variable: str, *, mac: str, other: str) -> Path:
    chosen = os.environ.get(variable, "")
    if Path(chosen).is_absolute():  # the specification says to ignore others
        return Path(chosen)
    home = Path.home()
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", home / "AppData" / "Local"))
    return home / (mac if sys.platform == "darwin" else other)
