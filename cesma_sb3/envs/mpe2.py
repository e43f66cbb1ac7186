"""The modules of mpe2 by name."""

from __future__ import annotations

import pkgutil
from importlib import import_module
from types import ModuleType

from cesma_sb3.envs.pettingzoo import patch_agent_selector
from cesma_sb3.errors import UnknownNameError


def mpe2_module(name: str) -> ModuleType:
    """A module of mpe2, whichever PettingZoo is installed.

    Args:
        name: An environment, for instance "simple_spread_v3".

    Raises:
        UnknownNameError: mpe2 has no such module.
    """
    patch_agent_selector()
    names = [module.name for module in pkgutil.iter_modules(import_module("mpe2").__path__)]
    if name not in names:
        raise UnknownNameError.of("mpe2 environment", name, names)
    return import_module(f"mpe2.{name}")
