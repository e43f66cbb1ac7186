"""What the metadata of this package asks for, what is installed, and the commands that install the rest.

Only the standard library is imported here at once, so that a broken environment can be described.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from importlib import metadata
from typing import TYPE_CHECKING

from cesma_sb3.errors import MissingExtraError

if TYPE_CHECKING:
    from packaging.requirements import Requirement

NAME = "cesma-sb3"
"""This package as installers call it."""
_PINNED = {"gymnasium": "~=0.29", "stable-baselines3": "~=2.2.1"}
"""What the metadata of imitation 1.0.1 asks for. Set `modern` has newer releases of these."""
SMAC = (
    "pip install 'git+https://github.com/oxwhirl/smac', then StarCraft II 4.10 and SMAC's maps, and the "
    "game's folder in SC2PATH"
)
"""How SMAC is installed, which is no extra: it is in no package index."""


def version_of(name: str) -> str | None:
    """Return the installed version of a distribution; None if it is not installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def requirements_of(name: str, extra: str = "") -> Iterator[Requirement]:
    """Yield what an installed distribution needs on this machine.

    Args:
        name: The distribution; nothing is yielded if it is not installed.
        extra: What this extra needs, in place of what is needed without one.

    Raises:
        ImportError: The package `packaging`, which reads requirements, is missing.
    """
    from packaging.requirements import Requirement

    try:
        lines = metadata.requires(name) or []
    except metadata.PackageNotFoundError:
        return
    for need in map(Requirement, lines):
        always = _is_needed(need, "")
        if always if not extra else _is_needed(need, extra) and not always:
            yield need


def _is_needed(need: Requirement, extra: str) -> bool:
    return need.marker is None or need.marker.evaluate({"extra": extra})


def set_of_dependencies() -> str:
    """Return the set of dependencies that this environment is like: `pinned`, `modern` or `mixed`.

    Raises:
        ImportError: The package `packaging` is missing.
    """
    from packaging.specifiers import SpecifierSet

    there = {name: version for name in _PINNED if (version := version_of(name))}
    fits = {SpecifierSet(_PINNED[name]).contains(there[name], prereleases=True) for name in there}
    return "mixed" if len(fits) > 1 else "modern" if fits == {False} else "pinned"


def install_command(extra: str) -> str:
    """Return the command that adds an extra to this environment, and changes nothing else in it.

    `pip install 'cesma-sb3[onnx]'`. In set `modern` that would bring back the old releases that imitation's
    metadata asks for: the packages of the extra are named in place of it.
    """
    try:
        if set_of_dependencies() != "pinned" and (needs := list(requirements_of(NAME, extra))):
            return pip_install(*needs)
    except ImportError:
        pass
    return f"pip install '{NAME}[{extra}]'"


def pip_install(*needs: Requirement) -> str:
    """Return the command that installs requirements."""
    words = [f"{need.name}{_extras(need)}{need.specifier}" for need in needs]
    return f"pip install {shlex.join(words)}"


def _extras(need: Requirement) -> str:
    return f"[{','.join(sorted(need.extras))}]" if need.extras else ""


def missing_extra(what: str, extra: str, error: ImportError) -> MissingExtraError:
    """Return the error for something that needs an extra.

    Args:
        what: What needs it, such as "format onnx".
        extra: The name of the extra.
        error: What its import raised.
    """
    return MissingExtraError(f"{what} needs the extra [{extra}]: {error}; try: {install_command(extra)}")
