"""YAML files that are looked up by name: experiments, search spaces, figures."""

from __future__ import annotations

import dataclasses
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from cesma_sb3.config.yaml import read_mapping
from cesma_sb3.errors import ConfigError, DuplicateNameError, UnknownNameError, unknown_name
from cesma_sb3.utils.file_names import as_path

if sys.version_info >= (3, 11):
    from importlib.resources.abc import Traversable
else:
    from importlib.abc import Traversable

LARGEST = 2**18
"""Most bytes of a file: thousands of keys. YAML is slow to read."""
SUFFIXES = (".yaml", ".yml")
_PACKAGE = Path(__file__).resolve().parents[1]
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclasses.dataclass(frozen=True)
class Document:
    """One YAML file.

    Attributes:
        name: The file's name without its suffix.
        file: The file, which may lie in an archive.
        label: The file as error messages name it.
        registered: False for a file that was given by its path.
    """

    name: str
    file: Traversable
    label: str
    registered: bool = True

    @property
    def folder(self) -> Path | None:
        """The absolute path of the file's folder; None in an archive."""
        return self.file.absolute().parent if isinstance(self.file, Path) else None

    def read(self) -> dict[str, Any]:
        """Read the mapping that the file holds.

        Raises:
            ConfigError: The file cannot be read, is too large, or is not a mapping in YAML.
        """
        try:
            with self.file.open("rb") as file:
                content = file.read(LARGEST + 1)
            text = content.decode("utf-8-sig")
        except FileNotFoundError:
            raise ConfigError(f"{self.label}: no such file") from None
        except (OSError, ValueError) as error:  # ValueError: not UTF-8, or no name of a file
            reason = error.strerror if isinstance(error, OSError) else error
            raise ConfigError(f"{self.label}: cannot be read: {reason}") from None
        if len(content) > LARGEST:
            raise ConfigError(f"{self.label}: cannot be read: expected at most {LARGEST:,} bytes")
        return read_mapping(text, self.label)


def is_name(text: str) -> bool:
    """Whether a text can name files and folders: letters, digits and - _ . only."""
    return _NAME.fullmatch(text) is not None


def data_folder(name: str) -> Path:
    """Return a folder of this project's data: in the package of a wheel, at the top of a checkout."""
    installed, checkout = _PACKAGE / "_data" / name, _PACKAGE.parent / name
    return installed if installed.is_dir() else checkout


def find_document(
    name_or_path: str | Path, folders: Iterable[tuple[Traversable, str]], kind: str
) -> Document:
    """Find the YAML file of a name in one of the folders, or at a path.

    Args:
        name_or_path: A name, or a YAML file: a `Path`, or text that ends with `.yaml`.
        folders: The folders, each with its name in error messages.
        kind: What the file describes, for error messages: "experiment".

    Raises:
        UnknownNameError: There is no such name.
        DuplicateNameError: Two files have the same name.
    """
    if isinstance(name_or_path, Path) or name_or_path.endswith(SUFFIXES):
        path = as_path(name_or_path)
        return Document(path.stem, path, str(name_or_path), registered=False)
    documents = documents_in(folders, kind)
    if name_or_path not in documents:
        beside = [file for file in map(f"{name_or_path}{{}}".format, SUFFIXES) if Path(file).is_file()]
        hint = f"; there is a file {beside[0]}: did you mean that?" if beside else ""
        problem = unknown_name(kind, name_or_path, documents)
        raise UnknownNameError(f"{problem}, or a file that ends with .yaml{hint}")
    return documents[name_or_path]


def documents_in(folders: Iterable[tuple[Traversable, str]], kind: str) -> dict[str, Document]:
    """Return every YAML file of the folders by name; see `find_document` for the arguments.

    Raises:
        ConfigError: A file has a name with other characters than letters, digits and - _ .
        DuplicateNameError: Two files have the same name.
    """
    documents: dict[str, Document] = {}
    for folder, label in folders:
        for file in folder.iterdir():
            if not file.name.endswith(SUFFIXES) or file.name.startswith("."):
                continue
            name = file.name.rpartition(".")[0]
            if not is_name(name):
                raise ConfigError(f"{label}/{file.name}: a name has letters, digits and - _ . only")
            if name in documents:
                raise DuplicateNameError(
                    f"{kind} {name!r} is registered twice: by {documents[name].file} and {file}"
                )
            documents[name] = Document(name, file, f"{label}/{file.name}")
    return documents
