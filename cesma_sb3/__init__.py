"""One centralized Stable-Baselines3 controller into one policy per agent, by multi-agent DAgger (CESMA).

The public names are loaded when they are first used, so that `import cesma_sb3` alone imports neither PyTorch
nor anything else that is slow.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cesma_sb3.algorithms import GumbelSoftmaxDDPG
    from cesma_sb3.analysis.comparison.compare import compare
    from cesma_sb3.config.registry import list_experiments, load_experiment
    from cesma_sb3.config.schema import Experiment
    from cesma_sb3.deploy.hub import load_from_hub, push_to_hub
    from cesma_sb3.envs.joint_env import JointEnv
    from cesma_sb3.envs.particle import ParticleVecEnv
    from cesma_sb3.errors import CesmaError
    from cesma_sb3.evaluation import evaluate
    from cesma_sb3.experts import SB3Expert, ScriptedNavigationExpert
    from cesma_sb3.imitation import MultiAgentDAggerTrainer
    from cesma_sb3.policies import AgentPolicy, TeamPolicy, load_team, save_team
    from cesma_sb3.spaces.team_spaces import TeamSpaces
    from cesma_sb3.training.decentralize import decentralize
    from cesma_sb3.training.run import RunResult, run
    from cesma_sb3.training.run_folder import RunFolder

__all__ = [
    "AgentPolicy",
    "CesmaError",
    "Experiment",
    "GumbelSoftmaxDDPG",
    "JointEnv",
    "MultiAgentDAggerTrainer",
    "ParticleVecEnv",
    "RunFolder",
    "RunResult",
    "SB3Expert",
    "ScriptedNavigationExpert",
    "TeamPolicy",
    "TeamSpaces",
    "compare",
    "decentralize",
    "evaluate",
    "list_experiments",
    "load_experiment",
    "load_from_hub",
    "load_team",
    "push_to_hub",
    "run",
    "save_team",
]

_HOMES = {
    "cesma_sb3.training.decentralize": ["decentralize"],
    "cesma_sb3.analysis.comparison.compare": ["compare"],
    "cesma_sb3.config.schema": ["Experiment"],
    "cesma_sb3.deploy.hub": ["load_from_hub", "push_to_hub"],
    "cesma_sb3.imitation": ["MultiAgentDAggerTrainer"],
    "cesma_sb3.envs.particle": ["ParticleVecEnv"],
    "cesma_sb3.errors": ["CesmaError"],
    "cesma_sb3.evaluation": ["evaluate"],
    "cesma_sb3.algorithms.gumbel_softmax_ddpg.gumbel_softmax_ddpg": ["GumbelSoftmaxDDPG"],
    "cesma_sb3.experts": ["SB3Expert", "ScriptedNavigationExpert"],
    "cesma_sb3.envs.joint_env": ["JointEnv"],
    "cesma_sb3.spaces.team_spaces": ["TeamSpaces"],
    "cesma_sb3.policies": ["AgentPolicy", "TeamPolicy", "load_team", "save_team"],
    "cesma_sb3.training.run": ["RunResult", "run"],
    "cesma_sb3.config.registry": ["list_experiments", "load_experiment"],
    "cesma_sb3.training.run_folder": ["RunFolder"],
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(home), name)
    globals()[name] = value  # found at once from now on
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
