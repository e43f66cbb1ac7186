"""mpe2, also beside a PettingZoo that spells one of its names otherwise."""

from __future__ import annotations

import pkgutil
from importlib import import_module
from types import ModuleType

from cesma_sb3.errors import UnknownNameError


def mpe2_module(name: str) -> ModuleType:
    """A module of mpe2.

    mpe2 1.0 says that PettingZoo 1.24.3 is enough, but asks it for `AgentSelector`, a name that came with
    1.25; until then the same class was called `agent_selector`. Where only the old name exists, the new one
    is added.

    Args:
        name: An environment, for instance "simple_spread_v3".

    Raises:
        UnknownNameError: mpe2 has no such module.
    """
    selectors = import_module("pettingzoo.utils.agent_selector")
    if not hasattr(selectors, "AgentSelector"):
        vars(selectors)["AgentSelector"] = selectors.agent_selector
    names = [module.name for module in pkgutil.iter_modules(import_module("mpe2").__path__)]
    if name not in names:
        raise UnknownNameError.of("mpe2 environment", name, names)
    return import_module(f"mpe2.{name}")
