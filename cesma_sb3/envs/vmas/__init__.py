"""Scenarios of VMAS, a simulator in PyTorch that steps many worlds at once: `vmas-SCENARIO`."""

from cesma_sb3.envs.vmas.parallel_env import VmasParallelEnv, parallel_env
from cesma_sb3.envs.vmas.registry import PREFIX, is_vmas
from cesma_sb3.envs.vmas.vec_env import VmasVecEnv
from cesma_sb3.envs.vmas.worlds import Worlds

__all__ = ["PREFIX", "VmasParallelEnv", "VmasVecEnv", "Worlds", "is_vmas", "parallel_env"]
