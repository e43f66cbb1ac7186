"""Whatever labels: the protocol of experts, adapters for controllers that exist, scripted controllers."""

from cesma_sb3.experts.adapt import adapt_expert
from cesma_sb3.experts.base import Expert, RecurrentExpert, SoftExpert, StochasticExpert, make_actor
from cesma_sb3.experts.functions import FunctionExpert
from cesma_sb3.experts.policy import ExpertPolicy
from cesma_sb3.experts.sampling import SamplingExpert, sampling
from cesma_sb3.experts.sb3 import RecurrentSB3Expert, SB3Expert, sb3_expert
from cesma_sb3.experts.scripted.navigation import ScriptedGoalExpert, ScriptedNavigationExpert
from cesma_sb3.experts.scripted.reference import reference_expert
from cesma_sb3.experts.views import MessageFreeExpert

__all__ = [
    "Expert",
    "ExpertPolicy",
    "FunctionExpert",
    "MessageFreeExpert",
    "RecurrentExpert",
    "RecurrentSB3Expert",
    "SB3Expert",
    "SamplingExpert",
    "ScriptedGoalExpert",
    "ScriptedNavigationExpert",
    "SoftExpert",
    "StochasticExpert",
    "adapt_expert",
    "make_actor",
    "reference_expert",
    "sampling",
    "sb3_expert",
]
