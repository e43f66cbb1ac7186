"""Files of a run folder: written whole or not at all, and signed where they can run code or name it."""

from __future__ import annotations

import contextlib
import csv
import hashlib
import io
import json
import math
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from cesma_sb3.errors import StorageError
from cesma_sb3.training import trust
from cesma_sb3.utils import atomic

BEGINNING = ("config.yaml", "run.json")
"""The files that a run folder has from the start. A folder without the second is no run folder."""


class RunFiles:
    """The files of a run folder.

    Attributes:
        path: The folder.
        digests: Digests of the signed files of the user's own folder; None of another, or not yet read.
        inputs: Names of files that are written before the run begins.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.digests: trust.Digests | None = None
        self.inputs = {*BEGINNING, trust.SIGNATURE}

    @property
    def is_own(self) -> bool:
        """Whether the user made the run, and nobody has changed its files since."""
        if self.digests is None:
            self.digests = trust.signed(self.path)
        return self.digests is not None

    def file(self, name: str) -> Path:
        """Returns the path of a file or folder of this run.

        Args:
            name: Relative, with `/` between folders.

        Raises:
            StorageError: It would lie outside of the run folder.
        """
        parts = PurePosixPath(name).parts
        if not parts or any(part in ("..", "/") or "\\" in part or ":" in part for part in parts):
            raise StorageError(f"{name!r}: expected a name inside the run folder")
        path = self.path.joinpath(*parts)
        if not path.resolve().is_relative_to(self.path.resolve()):
            raise StorageError(f"{name!r}: leads out of the run folder")
        return path

    def write_with(self, name: str, writer: Callable[[Path], object]) -> Path:
        """Writes a file whole or not at all, by a function that writes the path given (`model.save`).

        Raises:
            StorageError: The disk is full, say, or the run folder is gone.
        """
        signs = trust.is_code(name) and self.is_own

        def write(path: Path) -> None:
            writer(path)
            if signs:  # before the file is there: a run that is killed in between is still the user's own
                self._sign({name: trust.digest(path)})

        with self._writing(name) as path:
            atomic.write(path, write)
        return path

    def keep(self, name: str, source: Path | Callable[[Path], object]) -> Path:
        """Writes an input file of the run, whole or not at all.

        Args:
            name: Relative, with `/` between folders.
            source: A file that is copied (arrays of another run folder: linked, where the file system can),
                or a function that writes the path given.

        Raises:
            StorageError: There is no such file, or it cannot be written.
        """
        if isinstance(source, Path) and not source.is_file():
            raise StorageError(f"{source}: no such file")
        self.inputs.add(name)
        return self.write_with(name, partial(_copy, source) if isinstance(source, Path) else source)

    def _sign(self, digests: Mapping[str, str]) -> None:
        """Signs further contents of files. Their earlier contents stay signed: they were the user's own."""
        assert self.digests is not None
        for name, digest in digests.items():
            self.digests.setdefault(name, []).append(digest)
        trust.sign(self.path, self.digests)

    @contextmanager
    def _writing(self, name: str) -> Iterator[Path]:
        path = self.file(name)
        # Without this a folder that was deleted under a run would be there again, with a part of its files.
        if not (self.path / BEGINNING[-1]).is_file() and name not in BEGINNING:
            raise StorageError(f"{self.path}: is no run folder any more: its {BEGINNING[-1]} was removed")
        try:
            yield path
        except OSError as error:
            raise StorageError(f"{path}: cannot be written: {error.strerror or error}") from None

    def write_bytes(self, name: str, content: bytes) -> Path:
        """Writes a file whole or not at all."""
        return self.write_with(name, lambda path: path.write_bytes(content))

    def write_text(self, name: str, content: str) -> Path:
        """Writes a file whole or not at all, in UTF-8."""
        return self.write_bytes(name, content.encode())

    def write_json(self, name: str, content: Any) -> Path:
        """Writes JSON: NumPy's values as Python's, numbers that are not finite as null."""
        return self.write_text(name, json_text(content))

    def write_csv(self, name: str, rows: Sequence[Mapping[str, Any]]) -> Path:
        """Writes a table; its columns are the keys of the rows in the order in which they appear."""
        return self.write_text(name, csv_text(rows))

    def write_folder(self, name: str, files: Mapping[str, bytes]) -> Path:
        """Writes a folder of files, such as the students, whole or not at all."""
        code = {
            f"{name}/{inner}": content for inner, content in files.items() if trust.is_code(f"{name}/{inner}")
        }
        with self._writing(name) as path:
            if code and self.is_own:
                self._sign({inner: hashlib.sha256(content).hexdigest() for inner, content in code.items()})
            atomic.write_folder(path, files)
        return path


def _copy(source: Path, path: Path) -> None:
    """Copies a file. Arrays of a run folder are on the disk once, however many runs begin with them.

    They are never changed in place. What the user keeps elsewhere may be, and so may a configuration.
    """
    source = source.resolve()  # a symbolic link would be linked itself
    if source.suffix == ".safetensors" and (source.parent.parent / BEGINNING[-1]).is_file():
        with contextlib.suppress(OSError):  # on another disk, or one without links
            os.link(source, path)
            return
    shutil.copyfile(source, path)


def json_text(content: Any) -> str:
    """Formats a value as JSON (`to_json`)."""
    return json.dumps(to_json(content), indent=2, allow_nan=False) + "\n"


def csv_text(rows: Sequence[Mapping[str, Any]]) -> str:
    """Formats a table as CSV; its columns are the keys of the rows in the order in which they appear."""
    columns = dict.fromkeys(column for row in rows for column in row)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(columns), restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(to_json(row) for row in rows)
    return text.getvalue()


def to_json(value: Any) -> Any:
    """Converts a value for JSON: NumPy's to Python's, paths to text, non-finite numbers to null."""
    if isinstance(value, Mapping):
        return {str(key): to_json(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return to_json(value.tolist())
    if isinstance(value, list | tuple):
        return [to_json(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value
