"""Names that other packages register by entry points, each for a `module:name`.

| group | what the name stands for |
|---|---|
| `cesma_sb3.environments` | a function that makes an environment, or a `Scenario`: a value of `env.id` |
| `cesma_sb3.experts` | an SB3 algorithm or a controller: a value of `expert.algorithm` |
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
    """Return the `module:name` of each name of a group. Nothing is imported.

    Raises:
        DuplicateNameError: Two packages register the same name.
    """
    found: dict[str, str] = {}
    for entry in entry_points(group=group):
        if found.setdefault(entry.name, entry.value) != entry.value:
            raise DuplicateNameError(
                f"{entry.name!r} is registered twice in {group}: for {found[entry.name]} and {entry.value}"
            )
    return found


def resolved(group: str, name: str, ours: Iterable[str]) -> str:
    """Return the `module:name` of a registered name; any other name unchanged.

    Args:
        group: The group of entry points.
        name: A name from an experiment.
        ours: This package's own names.

    Raises:
        DuplicateNameError: A package registers a name of this or of another package.
    """
    if ":" in name:
        return name
    found = registered(group)
    if name in found and name in set(ours):
        raise DuplicateNameError(
            f"{name!r} is one of this package's own names: {group} has it for {found[name]}"
        )
    return found.get(name, name)
