"""Returns, reference policies, normalised scores and learning curves."""

from cesma_sb3.evaluation.channel import Change, with_channel
from cesma_sb3.evaluation.curve import Curve, Keep, LearningCurve, MatchingCurve, Seen
from cesma_sb3.evaluation.returns import (
    Returns,
    Score,
    evaluate,
    expert_act,
    greedy,
    normalized,
    random_act,
    sampled,
)
from cesma_sb3.experts.protocol import Act

__all__ = [
    "Act",
    "Change",
    "Curve",
    "Keep",
    "LearningCurve",
    "MatchingCurve",
    "Returns",
    "Score",
    "Seen",
    "evaluate",
    "expert_act",
    "greedy",
    "normalized",
    "random_act",
    "sampled",
    "with_channel",
]
