"""Algorithms that SB3 lacks. Each is an SB3 algorithm, and trains an expert or a baseline."""

from cesma_sb3.algorithms.ddpg.expected import ExpectedDDPG
from cesma_sb3.algorithms.ddpg.expected_policy import ExpectedPolicy
from cesma_sb3.algorithms.ddpg.gumbel_softmax import GumbelSoftmaxDDPG
from cesma_sb3.algorithms.ddpg.policies import GumbelSoftmaxPolicy
from cesma_sb3.algorithms.factored_dqn.factored_dqn import FactoredDQN
from cesma_sb3.algorithms.factored_dqn.policies import FactoredQPolicy
from cesma_sb3.algorithms.factored_dqn.recurrent import RecurrentFactoredDQN
from cesma_sb3.algorithms.team_ppo import TeamPPO

__all__ = [
    "ExpectedDDPG",
    "ExpectedPolicy",
    "FactoredDQN",
    "FactoredQPolicy",
    "GumbelSoftmaxDDPG",
    "GumbelSoftmaxPolicy",
    "RecurrentFactoredDQN",
    "TeamPPO",
]
