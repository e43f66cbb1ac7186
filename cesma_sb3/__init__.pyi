"""The public names and their modules: `__init__.py` imports a name from here when it is first used."""

from cesma_sb3.algorithms import ExpectedDDPG as ExpectedDDPG
from cesma_sb3.algorithms import FactoredDQN as FactoredDQN
from cesma_sb3.algorithms import GumbelSoftmaxDDPG as GumbelSoftmaxDDPG
from cesma_sb3.algorithms import TeamPPO as TeamPPO
from cesma_sb3.analysis.comparison.compare import compare as compare
from cesma_sb3.config.registry import list_experiments as list_experiments
from cesma_sb3.config.registry import load_experiment as load_experiment
from cesma_sb3.config.schema import Experiment as Experiment
from cesma_sb3.deploy.export import export as export
from cesma_sb3.deploy.hub import load_from_hub as load_from_hub
from cesma_sb3.deploy.hub import push_to_hub as push_to_hub
from cesma_sb3.envs.factory import make_parallel_env as make_parallel_env
from cesma_sb3.envs.joint_env import JointEnv as JointEnv
from cesma_sb3.envs.joint_vec_env import joint_vec_env as joint_vec_env
from cesma_sb3.envs.particle import ParticleVecEnv as ParticleVecEnv
from cesma_sb3.errors import CesmaError as CesmaError
from cesma_sb3.evaluation import evaluate as evaluate
from cesma_sb3.experts import SB3Expert as SB3Expert
from cesma_sb3.imitation import MultiAgentDAggerTrainer as MultiAgentDAggerTrainer
from cesma_sb3.multirun.sweep import sweep as sweep
from cesma_sb3.multirun.tuning.study import tune as tune
from cesma_sb3.policies import AgentPolicy as AgentPolicy
from cesma_sb3.policies import TeamPolicy as TeamPolicy
from cesma_sb3.policies import load_team as load_team
from cesma_sb3.policies import save_team as save_team
from cesma_sb3.spaces.team_spaces import TeamSpaces as TeamSpaces
from cesma_sb3.training.decentralize import decentralize as decentralize
from cesma_sb3.training.evaluate_run import evaluate_run as evaluate_run
from cesma_sb3.training.load_pretrained import load_pretrained as load_pretrained
from cesma_sb3.training.pretrained_teams import list_pretrained as list_pretrained
from cesma_sb3.training.run import RunResult as RunResult
from cesma_sb3.training.run import run as run
from cesma_sb3.training.run_folder import RunFolder as RunFolder

__all__: list[str]
