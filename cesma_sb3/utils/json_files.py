"""Read JSON objects of bounded size from files that are not trusted."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from cesma_sb3.errors import StorageError

LARGEST = 256 * 2**20
"""Most bytes of a file; the returns of a hundred million episodes take less."""


def read_object(path: Path) -> dict[str, Any]:
    """Read the JSON object that a file holds.

    Raises:
        StorageError: The file is missing, torn, too large, or holds no JSON object.
    """
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
        if len(content) > LARGEST:
            raise StorageError(f"{path}: cannot be read: expected at most {LARGEST:,} bytes")
        found = json.loads(content.decode())
    except (OSError, ValueError) as error:  # not there, not UTF-8, not JSON
        reason = error.strerror if isinstance(error, OSError) else error
        raise StorageError(f"{path}: cannot be read: {reason}") from None
    except RecursionError:
        raise StorageError(f"{path}: cannot be read: nested too deeply") from None
    if not isinstance(found, dict):
        raise StorageError(f"{path}: expected a JSON object, got a {type(found).__name__}")
    return found
