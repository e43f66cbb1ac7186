"""`SymmetricSamples`: transitions of a replay buffer, turned and mirrored at random."""

from __future__ import annotations

from typing import Any

import torch as th

from cesma_sb3.spaces.symmetries import plane_symmetries
from cesma_sb3.spaces.team_spaces import TeamSpaces


class SymmetricSamples:
    """Changes each transition of a batch by one of the team's symmetries, drawn from PyTorch's generator.

    Args:
        team: The team; the replay buffer has its joint observations and its packed joint actions.
        device: Where the batches are.

    Raises:
        LayoutError: The team's layouts declare no symmetries.

    Source: Laskin et al. (2020), reinforcement learning with augmented data.
    """

    def __init__(self, team: TeamSpaces, device: th.device) -> None:
        entries, signs, categories = (th.as_tensor(each, device=device) for each in plane_symmetries(team))
        self._entries_GI, self._signs_GI, self._categories_GCK = entries, signs, categories

    def __call__(self, data: Any) -> Any:
        """Samples of SB3's replay buffer, `ReplayBufferSamples`, with the same rewards and dones."""
        which = th.randint(len(self._signs_GI), (len(data.rewards),), device=self._signs_GI.device)
        actions = data.actions.long().unsqueeze(2)
        return data._replace(
            observations=self._changed(data.observations, which),
            next_observations=self._changed(data.next_observations, which),
            actions=self._categories_GCK[which].gather(2, actions).squeeze(2),
        )

    def _changed(self, observations: th.Tensor, which: th.Tensor) -> th.Tensor:
        return observations.gather(1, self._entries_GI[which]) * self._signs_GI[which]
