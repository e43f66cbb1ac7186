"""Experts: the protocol, adapters for existing controllers, and scripted controllers."""

from cesma_sb3.experts.adapt import adapt_expert
from cesma_sb3.experts.base import Expert, RecurrentExpert, SoftExpert, StatefulActor, StochasticExpert
from cesma_sb3.experts.functions import FunctionExpert
from cesma_sb3.experts.policy import ExpertPolicy
from cesma_sb3.experts.sb3 import SB3Expert
from cesma_sb3.experts.scripted.navigation import ScriptedGoalExpert, ScriptedNavigationExpert
from cesma_sb3.experts.scripted.reference import reference_expert
from cesma_sb3.experts.wrappers import SamplingExpert, TranslatedExpert, make_actor, sampling_expert

__all__ = [
    "Expert",
    "ExpertPolicy",
    "FunctionExpert",
    "RecurrentExpert",
    "SB3Expert",
    "SamplingExpert",
    "ScriptedGoalExpert",
    "ScriptedNavigationExpert",
    "SoftExpert",
    "StatefulActor",
    "StochasticExpert",
    "TranslatedExpert",
    "adapt_expert",
    "make_actor",
    "reference_expert",
    "sampling_expert",
]
