"""Returns, reference policies and normalised scores."""

from cesma_sb3.evaluation.message_ablation import Change, with_channel
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
from cesma_sb3.experts.base import Act

__all__ = [
    "Act",
    "Change",
    "Returns",
    "Score",
    "evaluate",
    "expert_act",
    "greedy",
    "normalized",
    "random_act",
    "sampled",
    "with_channel",
]
