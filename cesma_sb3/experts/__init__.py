"""Experts: the protocol, adapters, and the algorithms that SB3 lacks."""

from cesma_sb3.experts.adapt import adapt_expert
from cesma_sb3.experts.factored_dqn import FactoredDQN
from cesma_sb3.experts.factored_q_policy import FactoredQPolicy
from cesma_sb3.experts.functions import FunctionExpert
from cesma_sb3.experts.gumbel_softmax_ddpg import GumbelSoftmaxDDPG
from cesma_sb3.experts.gumbel_softmax_policy import GumbelSoftmaxPolicy
from cesma_sb3.experts.policy import ExpertPolicy
from cesma_sb3.experts.protocol import Expert, RecurrentExpert, SoftExpert, StochasticExpert, labeller
from cesma_sb3.experts.recurrent_factored_dqn import RecurrentFactoredDQN
from cesma_sb3.experts.reference import reference_expert
from cesma_sb3.experts.sampling import SamplingExpert, sampling
from cesma_sb3.experts.sb3 import RecurrentSB3Expert, SB3Expert, sb3_expert
from cesma_sb3.experts.scripted import ScriptedGoalExpert, ScriptedNavigationExpert
from cesma_sb3.experts.team_ppo import TeamPPO
from cesma_sb3.experts.translated import SilentExpert

__all__ = [
    "Expert",
    "ExpertPolicy",
    "FactoredDQN",
    "FactoredQPolicy",
    "FunctionExpert",
    "GumbelSoftmaxDDPG",
    "GumbelSoftmaxPolicy",
    "RecurrentExpert",
    "RecurrentFactoredDQN",
    "RecurrentSB3Expert",
    "SB3Expert",
    "SamplingExpert",
    "ScriptedGoalExpert",
    "ScriptedNavigationExpert",
    "SilentExpert",
    "SoftExpert",
    "StochasticExpert",
    "TeamPPO",
    "adapt_expert",
    "labeller",
    "reference_expert",
    "sampling",
    "sb3_expert",
]
