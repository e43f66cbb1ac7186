"""StarCraft battles by name: `smax-MAP`, `smac-MAP`, `smac-like:module:attribute`."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping
from typing import Any

from cesma_sb3.envs.pettingzoo import find_builder
from cesma_sb3.envs.smac.battle import BattleEnv
from cesma_sb3.envs.smac.smax import SmaxBattle, SmaxBattles
from cesma_sb3.errors import ConfigError, MissingExtraError, UnknownNameError
from cesma_sb3.utils.installation import SMAC as INSTALL_SMAC

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
    return _smac(target.removeprefix(SMAC), unavailable=unavailable, **kwargs)


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


class SmacEnv(BattleEnv):
    """`StarCraft2Env` as a `ParallelEnv`: its own PettingZoo wrapper drops seeds, infos and truncation.

    A seed counts when the game starts: `reset(seed)` with another one starts the game anew, which takes
    seconds.
    """

    def _reset(self, seed: int | None) -> Any:
        if seed is not None and seed != self.battle._seed:  # it has no other way in
            if self.battle._episode_count:
                self.battle.close()
            self.battle._seed, self.battle._episode_count = seed, 0
        return self.battle.reset()


def _smac(map_name: str, *, unavailable: str = "refuse", **kwargs: Any) -> SmacEnv:
    """A map of SMAC.

    Args:
        map_name: `3s5z`, `8m`, ...
        unavailable: The treatment of unavailable actions: `refuse` or `replace`.
        kwargs: Arguments of `StarCraft2Env`: `difficulty`, `obs_last_action`, ...

    Raises:
        MissingExtraError: The package, or its game, is not installed; or it is the other package of that
            name.
        UnknownNameError: SMAC has no such map.
    """
    environments = _import("smac.env")
    maps = _import("smac.env.starcraft2.maps.smac_maps").map_param_registry
    if map_name not in maps:
        raise UnknownNameError.of("SMAC map", map_name, maps)
    battle = environments.StarCraft2Env(map_name=map_name, **kwargs)
    return SmacEnv(battle, name=f"smac-{map_name}", unavailable=unavailable)


def _import(module: str) -> Any:
    if importlib.util.find_spec("smac") is None:
        raise MissingExtraError(f"SMAC is not installed; try: {INSTALL_SMAC}")
    if importlib.util.find_spec("smac.env") is None:
        raise MissingExtraError(
            "the package 'smac' that is installed is another project of that name, a hyperparameter "
            f"optimiser; try: pip uninstall smac, {INSTALL_SMAC}"
        )
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(f"SMAC cannot be imported: {error}; try: {INSTALL_SMAC}") from error
