"""StarCraft battles by name: `smax-MAP`, `smac-MAP`, `smac-like:module:attribute`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cesma_sb3.envs.pettingzoo import find_builder
from cesma_sb3.envs.smac.battle import BattleEnv
from cesma_sb3.envs.smac.smac import smac_env
from cesma_sb3.envs.smac.smax import SmaxBattle, SmaxBattles
from cesma_sb3.errors import ConfigError

SMAX, SMAC = "smax-", "smac-"
LIKE = SMAC + "like:"


def is_battle(target: str) -> bool:
    """Whether a name is one of a battle."""
    return target.startswith((SMAX, SMAC))


def battle_env(target: str, *, unavailable: str = "refuse", **kwargs: Any) -> BattleEnv:
    """A battle as a PettingZoo `ParallelEnv`.

    Args:
        target: `smax-3m`: SMAX, of JaxMARL. `smac-3s5z`: StarCraft II by SMAC. `smac-like:module:attribute`:
            what this function or class gives, an object with SMAC's interface.
        unavailable: The treatment of unavailable actions: `refuse` or `replace`.
        kwargs: The battle's arguments; of an object without a time limit of its own, also `episode_limit`.

    Raises:
        MissingExtraError: A package is not installed; the message says how to install it.
        ConfigError: An unknown map (the nearest is given), module, attribute or argument.
    """
    if target.startswith(LIKE):
        return _like(target, unavailable, kwargs)
    if target.startswith(SMAX):
        battles = SmaxBattles(target.removeprefix(SMAX), **kwargs)
        return BattleEnv(SmaxBattle(battles), name=battles.name, unavailable=unavailable)
    return smac_env(target.removeprefix(SMAC), unavailable=unavailable, **kwargs)


def _like(target: str, unavailable: str, kwargs: Mapping[str, Any]) -> BattleEnv:
    path = target.removeprefix(LIKE)
    module, _, attribute = path.partition(":")
    if not module or not attribute:
        raise ConfigError(f"{target!r}: expected smac-like:module:attribute")
    make = find_builder(path)
    given = dict(kwargs)
    limit = given.pop("episode_limit", None)
    try:
        battle = make(**given)
    except TypeError as error:
        raise ConfigError(f"{target!r}: {error}") from error
    return BattleEnv(battle, name=attribute, episode_limit=limit, unavailable=unavailable)
