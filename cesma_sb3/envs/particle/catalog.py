"""The scenarios by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from cesma_sb3.envs.particle.navigation_comm import NavigationComm
from cesma_sb3.envs.particle.scenario import Scenario
from cesma_sb3.envs.particle.speaker_listener import SpeakerListener
from cesma_sb3.envs.particle.spread import Spread
from cesma_sb3.errors import UnknownNameError

SCENARIOS: dict[str, Callable[..., Scenario]] = {
    "spread": Spread,
    "speaker-listener": SpeakerListener,
    "navigation-comm": NavigationComm,
}


def make_scenario(name: str, **kwargs: Any) -> Scenario:
    """The scenario of that name.

    Args:
        name: A key of `SCENARIOS`.
        **kwargs: Arguments of the scenario's constructor.

    Raises:
        UnknownNameError: No such scenario, or no such argument; the nearest names are given.
        ConfigError: An argument has a value that the scenario refuses.
    """
    if name not in SCENARIOS:
        raise UnknownNameError.of("particle scenario", name, SCENARIOS)
    accepted = inspect.signature(SCENARIOS[name]).parameters
    for key in kwargs:
        if key not in accepted:
            raise UnknownNameError.of(f"argument of {name}", key, accepted)
    return SCENARIOS[name](**kwargs)
