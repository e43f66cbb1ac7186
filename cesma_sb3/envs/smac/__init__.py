"""StarCraft battles: SMAX, SMAC, and whatever has SMAC's interface, behind one adapter."""

from cesma_sb3.envs.smac.battle import BattleEnv
from cesma_sb3.envs.smac.battle_vec_env import BattleVecEnv, SmaxVecEnv
from cesma_sb3.envs.smac.feature_index import FeatureIndex
from cesma_sb3.envs.smac.registry import battle_env, battle_vec_env, is_battle
from cesma_sb3.envs.smac.smax import SmaxBattle, SmaxBattles

__all__ = [
    "BattleEnv",
    "BattleVecEnv",
    "FeatureIndex",
    "SmaxBattle",
    "SmaxBattles",
    "SmaxVecEnv",
    "battle_env",
    "battle_vec_env",
    "is_battle",
]
