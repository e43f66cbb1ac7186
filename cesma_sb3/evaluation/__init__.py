"""Returns, reference policies and normalised scores."""

from cesma_sb3.evaluation.returns import Act, Returns, evaluate, expert_act, greedy, normalized, random_act

__all__ = ["Act", "Returns", "evaluate", "expert_act", "greedy", "normalized", "random_act"]
