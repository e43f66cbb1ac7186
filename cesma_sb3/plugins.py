"""Names that other packages register by an entry point, each for a `module:name`.

| group | what the name stands for |
|---|---|
| `cesma_sb3.environments` | what makes an environment, or a `Scenario`: for `env.id` |
| `cesma_sb3.experts` | an algorithm of SB3's kind, or a controller: for `expert.algorithm` |
| `cesma_sb3.registry` | a folder of experiments (`cesma_sb3.registry`) |
"""

from __future__ import annotations

import importlib.util
import sys
import sysconfig
from collections.abc import Iterable
from importlib.metadata import entry_points

from cesma_sb3.errors import ConfigError, DuplicateNameError

ENVIRONMENTS, EXPERTS = "cesma_sb3.environments", "cesma_sb3.experts"


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


def refuse_pythons_own(name: str) -> None:
    """Keeps an experiment from calling `os:system`, say: nothing that it may name is in Python's own library.

    Args:
        name: `module:name`, or a module.

    Raises:
        ConfigError: It names a module of Python's own. A module of yours may be called the same.
    """
    top = name.partition(":")[0].partition(".")[0]
    if top not in sys.stdlib_module_names:
        return
    spec = importlib.util.find_spec(top)
    own = sysconfig.get_path("stdlib")
    if spec is None or not spec.has_location or str(spec.origin).startswith(own):
        raise ConfigError(f"{top!r} is of Python's own library; expected a module of a package or of yours")
