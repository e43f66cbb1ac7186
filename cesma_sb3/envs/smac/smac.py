"""StarCraft II itself, through oxwhirl/smac: the game and the package are installed apart."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

from cesma_sb3.envs.smac.battle import BattleEnv
from cesma_sb3.errors import MissingExtraError, UnknownNameError

_INSTALL = (
    "pip install 'git+https://github.com/oxwhirl/smac', then StarCraft II 4.10 and SMAC's maps, and the "
    "game's folder in SC2PATH"
)


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


def smac_env(map_name: str, *, unavailable: str = "refuse", **kwargs: Any) -> SmacEnv:
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
        raise MissingExtraError(f"SMAC is not installed; try: {_INSTALL}")
    if importlib.util.find_spec("smac.env") is None:
        raise MissingExtraError(
            "the package 'smac' that is installed is another project of that name, a hyperparameter "
            f"optimiser; try: pip uninstall smac, {_INSTALL}"
        )
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(f"SMAC cannot be imported: {error}; try: {_INSTALL}") from error
