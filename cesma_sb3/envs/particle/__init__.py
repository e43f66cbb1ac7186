"""Particle environments: each scenario is an SB3 `VecEnv` and a PettingZoo `ParallelEnv`."""

from cesma_sb3.envs.particle.navigation_comm import NavigationComm
from cesma_sb3.envs.particle.parallel_env import ParticleParallelEnv, parallel_env
from cesma_sb3.envs.particle.registry import SCENARIOS, find_scenario, make_scenario
from cesma_sb3.envs.particle.scenario import Scenario
from cesma_sb3.envs.particle.speaker_listener import SpeakerListener
from cesma_sb3.envs.particle.spread import Spread
from cesma_sb3.envs.particle.vec_env import ParticleVecEnv
from cesma_sb3.envs.particle.world import Body, World

__all__ = [
    "SCENARIOS",
    "Body",
    "NavigationComm",
    "ParticleParallelEnv",
    "ParticleVecEnv",
    "Scenario",
    "SpeakerListener",
    "Spread",
    "World",
    "find_scenario",
    "make_scenario",
    "parallel_env",
]
