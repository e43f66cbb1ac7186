"""Names that other packages register by an entry point, each for a `module:name`.

| group | what the name stands for |
|---|---|
| `cesma_sb3.environments` | what makes an environment, or a `Scenario`: for `env.id` |
| `cesma_sb3.experts` | an algorithm of SB3's kind, or a controller: for `expert.algorithm` |
| `cesma_sb3.registry` | a folder of experiments (`cesma_sb3.config.registry`) |
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterable
from importlib import metadata

from cesma_sb3.errors import DuplicateNameError

ENVIRONMENTS, EXPERTS = "cesma_sb3.environments", "cesma_sb3.experts"


def entry_points(group: str) -> tuple[metadata.EntryPoint, ...]:
    """Find the entry points of a group. Installed packages are read once, and again if `sys.path` changes."""
    return _entry_points(group, tuple(sys.path))


@functools.lru_cache(maxsize=8)
def _entry_points(group: str, _path: tuple[str, ...]) -> tuple[metadata.EntryPoint, ...]:
    return tuple(metadata.entry_points(group=group))


def registered(group: str) -> dict[str, str]:
    """What the names of a group stand for; nothing of it is imported.

    Raises:
        DuplicateNameError: Two packages register one name.
    """
    found: dict[str, str] = {}
    for entry in entry_points(group=group):
        if found.setdefault(entry.name, entry.value) != entry.value:
            raise DuplicateNameError(
                f"{entry.name!r} is registered twice in {group}: for {found[entry.name]} and {entry.value}"
            )
    return found


def resolved(group: str, name: str, ours: Iterable[str]) -> str:
    """The `module:name` that a registered name stands for; any other name as it is.

    Args:
        group: Of the entry point.
        name: What an experiment says.
        ours: Names of this package's own.

    Raises:
        DuplicateNameError: A package registers a name of this one, or of another package.
    """
    if ":" in name:
        return name
    found = registered(group)
    if name in found and name in set(ours):
        raise DuplicateNameError(
            f"{name!r} is one of this package's own names: {group} has it for {found[name]}"
        )
    return found.get(name, name)
