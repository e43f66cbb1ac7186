"""Batched particle worlds: one definition of a scenario, an SB3 `VecEnv` and a PettingZoo `ParallelEnv`."""

from cesma_sb3.envs.particle.catalog import SCENARIOS, make_scenario
from cesma_sb3.envs.particle.parallel_env import ParticleParallelEnv, parallel_env
from cesma_sb3.envs.particle.scenario import Scenario
from cesma_sb3.envs.particle.spread import Spread
from cesma_sb3.envs.particle.vec_env import ParticleVecEnv
from cesma_sb3.envs.particle.world import Body, World

__all__ = [
    "SCENARIOS",
    "Body",
    "ParticleParallelEnv",
    "ParticleVecEnv",
    "Scenario",
    "Spread",
    "World",
    "make_scenario",
    "parallel_env",
]
