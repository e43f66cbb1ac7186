"""StarCraft battles by name: `smax-MAP`, `smac-MAP`, `smac-like:module:attribute`."""

from __future__ import annotations

import copy
import importlib
import importlib.util
from collections.abc import Callable, Mapping
from typing import Any

from cesma_sb3.envs.pettingzoo import find_builder
from cesma_sb3.envs.smac.battle import BattleEnv
from cesma_sb3.envs.smac.battle_vec_env import BattleVecEnv, SmaxVecEnv
from cesma_sb3.envs.smac.battles import SmacBattles
from cesma_sb3.envs.smac.smax import SmaxBattle, SmaxBattles
from cesma_sb3.errors import (
    CesmaError,
    ConfigError,
    MissingExtraError,
    UnknownNameError,
    error_line,
    integer,
    message_of,
)
from cesma_sb3.spaces.action_views import ActionView
from cesma_sb3.utils.installation import SMAC as INSTALL_SMAC
from cesma_sb3.utils.signatures import arguments_of

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
        limit = kwargs.pop("episode_limit", None)
        battle, name = _made(target, _builder(target), kwargs)
        return BattleEnv(battle, name=name, episode_limit=limit, unavailable=unavailable)
    if target.startswith(SMAX):
        battles = SmaxBattles(target.removeprefix(SMAX), **kwargs)
        return BattleEnv(SmaxBattle(battles), name=battles.name, unavailable=unavailable)
    return _smac(target.removeprefix(SMAC), unavailable=unavailable, **kwargs)


def battle_vec_env(
    target: str,
    n_envs: int,
    kwargs: Mapping[str, Any],
    *,
    seed: int | None = None,
    view: str | ActionView = "joint",
    max_steps: int | None = None,
) -> BattleVecEnv | None:
    """Battles that one call steps together; None where battles of that name are fought one by one.

    Those of SMAX are stepped together, and those of a class or function of `smac-like` that has an argument
    `n_envs`, of the object that it then makes (`ManyInterface`).

    Args:
        target: The name, as in `battle_env`.
        n_envs: How many battles.
        kwargs: The battle's arguments, and `unavailable`, as in `battle_env`.
        seed: Battle i is seeded with seed + i.
        view: The action view, or its name.
        max_steps: The most timesteps of a battle; None: its own limit.

    Raises:
        MissingExtraError: A package is not installed; the message says how to install it.
        ConfigError: An unknown map, module, attribute or argument; or the object does not run as many.
    """
    given = dict(kwargs)
    if target.startswith(SMAX):
        name = target.removeprefix(SMAX)
        return SmaxVecEnv(name, n_envs, seed=seed, view=view, episode_limit=max_steps, **given)
    if not target.startswith(LIKE) or "n_envs" not in set(arguments_of(build := _builder(target))):
        return None
    if "n_envs" in given:
        raise ConfigError("env.kwargs.n_envs: expected none, for a run says how many battles it needs")
    n_envs = integer("n_envs", n_envs, 1)
    limits = [limit for limit in (given.pop("episode_limit", None), max_steps) if limit is not None]
    unavailable = given.pop("unavailable", "refuse")
    battle, name = _made(target, build, {**given, "n_envs": n_envs})
    battles = SmacBattles(battle, name, n_envs, min(limits, default=None))
    one = BattleEnv(battle, name=name, episode_limit=battles.episode_limit)
    return BattleVecEnv(battles, one, seed=seed, view=view, unavailable=unavailable)


def _builder(target: str) -> Callable[..., Any]:
    path = target.removeprefix(LIKE)
    module, _, attribute = path.partition(":")
    if not module or not attribute:
        raise ConfigError(f"{target!r}: expected smac-like:module:attribute")
    return find_builder(path)


def _made(target: str, build: Callable[..., Any], kwargs: Mapping[str, Any]) -> tuple[Any, str]:
    """An object with SMAC's interface, and its name in messages."""
    try:
        battle = build(**copy.deepcopy(dict(kwargs)))  # SMACv2 writes into its `capability_config`
    except CesmaError:
        raise
    except ImportError as error:  # Gymnasium imports a package when it makes an environment of it
        raise MissingExtraError(f"{target!r}: {message_of(error)}") from error
    except Exception as error:  # whatever somebody else's function raises
        raise ConfigError(f"{target!r}: {error_line(error)}") from error
    spec = getattr(battle, "spec", None)  # Gymnasium's
    return battle, getattr(spec, "id", None) or target.rpartition(":")[2]


def _smac(map_name: str, *, unavailable: str = "refuse", **kwargs: Any) -> BattleEnv:
    """A map of SMAC.

    Args:
        map_name: `3s5z`, `8m`, ...
        unavailable: The treatment of unavailable actions: `refuse` or `replace`.
        kwargs: Arguments of `StarCraft2Env`: `difficulty`, `obs_last_action`, ...

    Raises:
        MissingExtraError: The package, or its game, is not installed; or it is the other package of that
            name.
        UnknownNameError: SMAC has no such map.
        ConfigError: `StarCraft2Env` has no such argument.
    """
    environments = _import("smac.env")
    maps = _import("smac.env.starcraft2.maps.smac_maps").map_param_registry
    if map_name not in maps:
        raise UnknownNameError.of("SMAC map", map_name, maps)
    name = SMAC + map_name
    battle, _ = _made(name, environments.StarCraft2Env, {"map_name": map_name, **kwargs})
    return BattleEnv(battle, name=name, unavailable=unavailable)


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
