"""Evaluation: returns of policies and experts, normalized scores and message ablations."""

from cesma_sb3.evaluation.actors import TeamActor, actor_for, policy_actor, random_actor
from cesma_sb3.evaluation.message_ablation import MessageAblation, ablate_messages
from cesma_sb3.evaluation.returns import Returns, Score, evaluate, normalized
from cesma_sb3.experts import make_actor

__all__ = [
    "MessageAblation",
    "Returns",
    "Score",
    "TeamActor",
    "ablate_messages",
    "actor_for",
    "evaluate",
    "make_actor",
    "normalized",
    "policy_actor",
    "random_actor",
]
