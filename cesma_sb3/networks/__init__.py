"""Networks of a team, by visibility: what each component of actor and critic may see."""

from cesma_sb3.networks.agent import AgentPolicy
from cesma_sb3.networks.components import TeamNet, Visibility, actor_net, critic_net
from cesma_sb3.networks.head import ActionHead, TeamDistribution
from cesma_sb3.networks.storage import load_team, save_team
from cesma_sb3.networks.team_policy import TeamPolicy

__all__ = [
    "ActionHead",
    "AgentPolicy",
    "TeamDistribution",
    "TeamNet",
    "TeamPolicy",
    "Visibility",
    "actor_net",
    "critic_net",
    "load_team",
    "save_team",
]
