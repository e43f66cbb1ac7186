"""The game behind `StarCraft2Env` of SMAC and SMACv2: when it is started, with which seed."""

from __future__ import annotations

import warnings
from typing import Any

from cesma_sb3.envs.smac.interface import BattleInterface, inside
from cesma_sb3.errors import CesmaWarning

_GAME = ("_seed", "_episode_count", "_sc2_proc", "max_reward")


class StarCraft2Interface(BattleInterface):
    """`StarCraft2Env`, which starts its game in the first `reset` and seeds it there alone.

    A seed other than the game's starts the game anew, which takes seconds. Under SMACv2's
    `StarCraftCapabilityEnvWrapper` seeds have no effect: it draws teams and places from generators that it
    does not let anybody seed.
    """

    def __init__(self, battle: Any, name: str) -> None:
        super().__init__(battle, name)
        self._game = _game_of(battle)
        self._max_reward = self._game.max_reward

    @staticmethod
    def fits(battle: Any) -> bool:
        """Whether an object is one with such a game."""
        return all(hasattr(_game_of(battle), attribute) for attribute in _GAME)

    def _reset(self, seed: int | None) -> Any:
        game = self._game
        if seed is not None and game is not self.battle:
            warnings.warn(
                f"{self.name}: cannot be seeded: SMACv2 draws its teams and places without a seed",
                CesmaWarning,
                stacklevel=4,
            )
        elif seed is not None and seed != game._seed:
            if game._sc2_proc is not None:
                game.close()
            # A first episode starts the game, and adds the enemies' health to the scale of rewards.
            game._seed, game._episode_count, game.max_reward = seed, 0, self._max_reward
            return game.reset()
        if game._sc2_proc is not None:
            # Until the first battle has ended, a reset would start another game beside the one that runs.
            game._episode_count = max(game._episode_count, 1)
        return self.battle.reset()


def _game_of(battle: Any) -> Any:
    """`StarCraft2Env` in SMACv2's wrapper, which passes attributes on when they are read, not when set."""
    battle = inside(battle)
    return getattr(battle, "__dict__", {}).get("env", battle)
