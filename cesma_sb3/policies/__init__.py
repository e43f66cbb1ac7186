"""Policies of teams, agents and ensembles, their networks by visibility, and teams on disk."""

from cesma_sb3.policies.agent_policy import AgentPolicy
from cesma_sb3.policies.distributions import ActionHead, TeamDistribution
from cesma_sb3.policies.ensembles import EnsembleAgent, MixturePolicy, SequencePolicy, TeamEnsemble
from cesma_sb3.policies.networks.entities import EntityNet
from cesma_sb3.policies.networks.factory import ActionValue, NetworkSpec, TeamValue, actor_net
from cesma_sb3.policies.networks.feed_forward import TeamNet
from cesma_sb3.policies.networks.visibility import Visibility
from cesma_sb3.policies.parameter_count import parameter_counts
from cesma_sb3.policies.save_util import load_team, save_team, team_files
from cesma_sb3.policies.team_policy import TeamPolicy

__all__ = [
    "ActionHead",
    "ActionValue",
    "AgentPolicy",
    "EnsembleAgent",
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
    "load_team",
    "parameter_counts",
    "save_team",
    "team_files",
]
