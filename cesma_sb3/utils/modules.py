"""Import modules that an experiment names, and find the name of a class or function.

Beside installed packages, the user's own modules are found in the folder of the YAML file that names them and
in the current folder. These folders join the end of `sys.path`, and only when such a module is named: reading
an experiment imports nothing from them.
"""

from __future__ import annotations

import importlib
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

INSTALLED = (
    *("cesma_sb3", "pettingzoo", "mpe2", "supersuit", "gymnasium", "gymnasium_robotics"),
    *("stable_baselines3", "sb3_contrib", "imitation"),
)
"""Packages that are never imported from the user's folders, whatever lies there."""
NAME = re.compile(r"([^\W\d]\w*\.)*[^\W\d]\w*:[^\W\d]\w*")
"""`module:name`. Any other text is a path, also one with a colon: of a drive, or of a time of day."""
PATH = "CESMA_SB3_PATH"
"""Environment variable that hands `search_path()` to child processes."""

_folders: list[str] = [folder for folder in os.environ.get(PATH, "").split(os.pathsep) if folder]
"""Folders of the user's modules, the newest first."""
_importing: list[str] = []


def look_in(folder: Path | str) -> None:
    """Find modules in a folder, that of a YAML file, from now on."""
    path = str(Path(folder).resolve())
    if path in _folders:
        _folders.remove(path)
    _folders.insert(0, path)


def looked_in() -> list[str]:
    """Return the folders of YAML files in which modules are found, the newest first."""
    return list(_folders)


def search_path() -> str:
    """Return the folders in which modules are found, as the value of `PATH` for a child process."""
    return os.pathsep.join(dict.fromkeys((*_folders, *(str(Path(path).resolve()) for path in sys.path))))


def reach(name: str | None = None) -> None:
    """Append the user's folders to `sys.path`.

    Args:
        name: `module:name`, or a module; nothing is done for one of a package in `INSTALLED`. None: any.
    """
    if name is not None and _top(name) in INSTALLED:
        return
    for folder in _searched():
        if folder not in sys.path:
            sys.path.append(folder)
            importlib.invalidate_caches()


def import_named(module: str) -> ModuleType:
    """Import a module that an experiment names. The main script is not run again.

    Raises:
        ImportError: There is no such module, or another one of this name was imported before.
        Exception: The module raised it.
    """
    if module == main_name():
        _check_origin(module, sys.modules["__main__"])
        return sys.modules["__main__"]
    reach(module)
    _importing.append(module)
    try:
        found = importlib.import_module(module)
    finally:
        _importing.pop()
    _check_origin(_top(module), sys.modules.get(_top(module)))
    return found


def being_imported() -> str | None:
    """Return the module that `import_named` is importing now, or None."""
    return _importing[-1] if _importing else None


def name_of(thing: Any) -> str | None:
    """Return the `module:name` by which a function or class can be imported, or None.

    In a notebook or an interactive session it is `__main__:name`, which only this process can import.
    """
    module, name = getattr(thing, "__module__", None), getattr(thing, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(name, str) or "." in name:
        return None
    if module in {"__main__", "__mp_main__"}:
        module = main_name() or "__main__"
    try:
        found = getattr(import_named(module), name, None)
    except ImportError:
        return None
    return f"{module}:{name}" if found is thing else None


def main_name() -> str | None:
    """Return the module name of the main script; None of commands and interactive sessions."""
    main = sys.modules.get("__main__")
    spec, file = getattr(main, "__spec__", None), getattr(main, "__file__", None)
    if spec is not None:
        return None if spec.name.endswith("__main__") else str(spec.name)
    return Path(file).stem if file is not None and file.endswith(".py") else None


def where(name: str) -> str:
    """Return advice about a module that cannot be found, for the end of an error message.

    Args:
        name: The missing module.
    """
    top = _top(name)
    if top == "__main__":
        return "it was defined in an interactive session; expected a module that holds it"
    for folder in _nearby():
        if _files(folder, top):
            return f"it lies in {folder}: type the command there, or add that folder to PYTHONPATH"
    return f"try: pip install '{top}', or type the command in the folder that holds {top}.py"


def _top(name: str) -> str:
    return name.partition(":")[0].partition(".")[0]


def _searched() -> list[str]:
    return list(dict.fromkeys((*_folders, str(Path.cwd()))))


def _nearby() -> Iterator[Path]:
    """Yield folders near the searched ones: three parents of each, and its direct subfolders."""
    for folder in _searched():
        yield from list(Path(folder).parents)[:3]
        try:
            yield from sorted(path for path in Path(folder).iterdir() if path.is_dir())
        except OSError:
            continue


def _files(folder: Path | str, top: str) -> list[Path]:
    """Return the files of a folder that a module of this name is read from."""
    if not re.fullmatch(r"[\w-]+", top):
        return []
    tried = (Path(folder, f"{top}.py"), Path(folder, top, "__init__.py"))
    return [path for path in tried if path.is_file()]


def _check_origin(top: str, found: ModuleType | None) -> None:
    """Check that the imported module is the user's, and no other of that name.

    Raises:
        ImportError: It is another.
    """
    origin = getattr(found, "__file__", None)
    if origin is None or top in INSTALLED:
        return
    for folder in _searched():
        if own := _files(folder, top):
            if Path(origin).exists() and not any(path.samefile(origin) for path in own):
                raise ImportError(f"{own[0]} is hidden by {origin}: expected another name for one of them")
            return
