"""Scenarios of VMAS by name: `vmas-balance`, `vmas-navigation`, and every other file of `vmas.scenarios`."""

from __future__ import annotations

import importlib.util
import inspect
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cesma_sb3.envs.vmas.generators import Generators
from cesma_sb3.errors import ConfigError, UnknownNameError, error_line
from cesma_sb3.utils.installation import missing_extra

PREFIX = "vmas-"
_CHOSEN = ("continuous_actions", "multidiscrete_actions")
"""Arguments of VMAS's environment that an experiment may set."""
_INSTEAD = {"max_steps": "max_cycles, or env.max_steps", "num_envs": "n_envs of the stage", "seed": "seed"}
"""What an experiment has in place of arguments of VMAS's environment."""


def is_vmas(target: str) -> bool:
    """Whether a name is one of a scenario of VMAS."""
    return target.startswith(PREFIX)


def scenario_files() -> dict[str, Path]:
    """The files of VMAS's scenarios by their names, those in folders (`mpe`, `debug`) too.

    Raises:
        MissingExtraError: VMAS is not installed.
    """
    try:
        # Found, not imported: VMAS imports PyTorch and gym.
        spec = importlib.util.find_spec("vmas")
        if spec is None or not spec.submodule_search_locations:
            raise ImportError("no module named 'vmas'")
    except ImportError as error:
        raise missing_extra("VMAS", "vmas", error) from error
    files = Path(next(iter(spec.submodule_search_locations)), "scenarios").rglob("*.py")
    return {file.stem: file for file in sorted(files) if file.stem != "__init__"}


def make_vmas(name: str, n_worlds: int, kwargs: Mapping[str, Any], generators: Generators) -> Any:
    """VMAS's `Environment`, whose episodes have no time limit.

    Args:
        name: The scenario: `balance`, `navigation`, ...
        n_worlds: B, the number of worlds.
        kwargs: Arguments of the scenario; `continuous_actions` (true), `multidiscrete_actions` (false).
        generators: What it draws from while it is made.

    Raises:
        MissingExtraError: VMAS is not installed.
        UnknownNameError: There is no such scenario, or it has no such argument.
        ConfigError: The scenario refuses a value.
    """
    files = scenario_files()
    if name not in files:
        raise UnknownNameError.of("VMAS scenario", name, files)
    try:
        from vmas import make_env
        from vmas.simulator.environment import Environment
    except ImportError as error:
        raise missing_extra("VMAS", "vmas", error) from error
    # A scenario takes any keyword, and takes out of them what it knows.
    known = re.findall(r"kwargs\.(?:pop|get)\(\s*[\"'](\w+)", files[name].read_text(encoding="utf-8"))
    for key in kwargs:
        if key in _CHOSEN:
            continue
        if key in inspect.signature(Environment.__init__).parameters:
            instead = f"; {_INSTEAD[key]} says it" if key in _INSTEAD else ""
            raise ConfigError(f"env.kwargs.{key}: expected an argument of the scenario {name}{instead}")
        if known and key not in known:
            raise UnknownNameError.of(f"argument of {PREFIX}{name}", key, (*known, *_CHOSEN))
    try:
        with generators.used():
            return make_env(files[name].name, n_worlds, terminated_truncated=True, **kwargs)
    except Exception as error:  # assertions, for most
        raise ConfigError(f"env.kwargs: {PREFIX}{name}: {error_line(error)}") from error
