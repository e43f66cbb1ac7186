"""`ExpertPolicy`: any expert as an SB3 policy, as imitation's `SimpleDAggerTrainer` and rollouts take one."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch as th
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import PyTorchObs

from cesma_sb3.experts.base import Expert
from cesma_sb3.policies.stateful_actor import State
from cesma_sb3.spaces.team_spaces import TeamSpaces


class ExpertPolicy(BasePolicy):
    """An SB3 policy that acts in the joint space as an expert labels it: deterministic and without weights.

    Args:
        expert: The expert.
        team: The team that it controls.
    """

    def __init__(self, expert: Expert, team: TeamSpaces) -> None:
        super().__init__(team.observation_space, team.action_space)
        self.expert = expert
        self.team = team

    def predict(  # one argument more than SB3's, as in sb3-contrib's maskable policies
        self,
        observation: npt.NDArray[Any] | dict[str, npt.NDArray[Any]],
        state: State | None = None,
        episode_start: npt.NDArray[np.bool_] | None = None,
        deterministic: bool = False,
        action_masks: npt.NDArray[np.bool_] | None = None,
    ) -> tuple[npt.NDArray[Any], State | None]:
        """SB3's `predict`, with masks.

        Args:
            observation: [I] or [B, I] float32.
            state: Returned as it came: the expert has no memory here.
            episode_start: Ignored.
            deterministic: Ignored: the expert is always deterministic.
            action_masks: Available categories [M] or [B, M] bool, or None.

        Returns:
            Packed joint actions [A] or [B, A], and `state`.
        """
        if action_masks is None:
            return super().predict(observation, state, episode_start, deterministic)
        batch = np.array(observation, dtype=np.float32).reshape(-1, self.team.observation_size)
        labels = self.expert.labels(batch, np.array(action_masks, dtype=bool).reshape(len(batch), -1))
        return (labels if np.ndim(action_masks) > 1 else labels[0]), state

    def _predict(self, observation: PyTorchObs, deterministic: bool = False) -> th.Tensor:
        assert isinstance(observation, th.Tensor)
        return th.as_tensor(self.expert.labels(observation.cpu().numpy().copy()))
