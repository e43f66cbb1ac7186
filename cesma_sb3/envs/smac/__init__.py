"""StarCraft battles: SMAX, SMAC, and whatever has SMAC's interface, behind one adapter."""

from cesma_sb3.envs.smac.battle import BattleEnv
from cesma_sb3.envs.smac.feature_index import FeatureIndex
from cesma_sb3.envs.smac.registry import SMAX, battle_env, is_battle
from cesma_sb3.envs.smac.smax import SmaxBattle, SmaxBattles
from cesma_sb3.envs.smac.smax_vec_env import SmaxVecEnv

__all__ = [
    "SMAX",
    "BattleEnv",
    "FeatureIndex",
    "SmaxBattle",
    "SmaxBattles",
    "SmaxVecEnv",
    "battle_env",
    "is_battle",
]
