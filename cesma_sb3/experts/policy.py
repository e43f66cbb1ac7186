"""Any expert as an SB3 policy, for what asks for one: imitation's `SimpleDAggerTrainer`, rollouts."""

from __future__ import annotations

import torch as th
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import PyTorchObs

from cesma_sb3.experts.protocol import Expert
from cesma_sb3.joint.spaces import TeamSpaces


class ExpertPolicy(BasePolicy):
    """Acts in the joint space as the expert labels it. It has no weights and is always deterministic.

    Args:
        expert: The expert.
        team: The team that it controls.
    """

    def __init__(self, expert: Expert, team: TeamSpaces) -> None:
        super().__init__(team.observation_space, team.action_space)
        self.expert = expert

    def _predict(self, observation: PyTorchObs, deterministic: bool = False) -> th.Tensor:
        assert isinstance(observation, th.Tensor)
        return th.as_tensor(self.expert.labels(observation.cpu().numpy().copy()))
