"""Networks of a team, by visibility: what each component of actor and critic may see."""

from cesma_sb3.networks.agent import AgentPolicy
from cesma_sb3.networks.components import ActionValue, NetworkSpec, TeamValue, actor_net
from cesma_sb3.networks.counts import parameter_counts
from cesma_sb3.networks.ensemble_storage import load_policy, policy_files, save_policy
from cesma_sb3.networks.ensembles import MixturePolicy, SequencePolicy, TeamEnsemble
from cesma_sb3.networks.entities import EntityNet
from cesma_sb3.networks.feed_forward import TeamNet
from cesma_sb3.networks.head import ActionHead, TeamDistribution
from cesma_sb3.networks.storage import load_team, save_team
from cesma_sb3.networks.team_policy import TeamPolicy
from cesma_sb3.networks.visibility import Visibility

__all__ = [
    "ActionHead",
    "ActionValue",
    "AgentPolicy",
    "EntityNet",
    "MixturePolicy",
    "NetworkSpec",
    "SequencePolicy",
    "TeamDistribution",
    "TeamEnsemble",
    "TeamNet",
    "TeamPolicy",
    "TeamValue",
    "Visibility",
    "actor_net",
    "load_policy",
    "load_team",
    "parameter_counts",
    "policy_files",
    "save_policy",
    "save_team",
]
