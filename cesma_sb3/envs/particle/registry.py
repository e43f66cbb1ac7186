"""Particle scenarios by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from cesma_sb3.envs.particle.navigation_comm import NavigationComm
from cesma_sb3.envs.particle.scenario import Scenario
from cesma_sb3.envs.particle.speaker_listener import SpeakerListener
from cesma_sb3.envs.particle.spread import Spread
from cesma_sb3.envs.pettingzoo import find_builder
from cesma_sb3.errors import ConfigError, UnknownNameError
from cesma_sb3.utils.signatures import arguments_of, with_integers, wrong_argument

SCENARIOS: dict[str, Callable[..., Scenario]] = {
    "spread": Spread,
    "speaker-listener": SpeakerListener,
    "navigation-comm": NavigationComm,
}


def find_scenario(name: str) -> Callable[..., Scenario] | None:
    """The class or function of the scenario of that name; None if another environment has the name.

    Args:
        name: A key of `SCENARIOS`, or `module:Class` of a `Scenario`.

    Raises:
        ConfigError: There is no such module or class.
    """
    if name in SCENARIOS:
        return SCENARIOS[name]
    found = find_builder(name) if ":" in name else None
    return found if isinstance(found, type) and issubclass(found, Scenario) else None


def make_scenario(name: str, **kwargs: Any) -> Scenario:
    """The scenario of that name.

    Args:
        name: A key of `SCENARIOS`, or `module:Class` of a `Scenario`.
        **kwargs: Arguments of the scenario's constructor.

    Raises:
        UnknownNameError: No such scenario, or no such argument; the nearest names are given.
        ConfigError: An argument is of another type, or has a value that the scenario refuses.
    """
    make = find_scenario(name)
    if make is None:
        raise UnknownNameError.of("particle scenario", name, SCENARIOS)
    accepted = list(arguments_of(make))
    for key in kwargs:
        if key not in accepted:
            raise UnknownNameError.of(f"argument of {name}", key, accepted)
    if (problem := wrong_argument(make, kwargs)) is not None:
        raise ConfigError(f"{name}: {': '.join(problem)}")
    if inspect.isabstract(make):
        lacks = ", ".join(sorted(getattr(make, "__abstractmethods__", ())))
        raise ConfigError(f"{name}: expected a scenario that can be made; this one lacks {lacks}")
    return make(**with_integers(make, kwargs))
