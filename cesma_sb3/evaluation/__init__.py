"""Returns, reference policies and normalised scores."""

from cesma_sb3.evaluation.message_ablation import Change, with_channel
from cesma_sb3.evaluation.returns import (
    Returns,
    Score,
    evaluate,
    greedy,
    normalized,
    random_act,
    sampled,
)
from cesma_sb3.experts import make_actor
from cesma_sb3.experts.base import Actor

__all__ = [
    "Actor",
    "Change",
    "Returns",
    "Score",
    "evaluate",
    "greedy",
    "make_actor",
    "normalized",
    "random_act",
    "sampled",
    "with_channel",
]
