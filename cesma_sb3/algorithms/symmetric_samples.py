"""Samples of a team, turned and mirrored at random: transitions of a replay buffer, and anything labelled."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch as th

from cesma_sb3.spaces.action_views import ProductActions
from cesma_sb3.spaces.symmetries import of_products, plane_symmetries
from cesma_sb3.spaces.team_spaces import TeamSpaces


class SymmetricSamples:
    """Changes each sample of a batch by one of the team's symmetries, drawn from PyTorch's generator.

    Args:
        team: The team; samples have its joint observations and its packed joint actions.
        device: Where the batches are.
        view: Actions are numbers in this view, in place of packed joint actions.

    Raises:
        LayoutError: The team's layouts declare no symmetries.

    Source: Laskin et al. (2020), reinforcement learning with augmented data.
    """

    def __init__(self, team: TeamSpaces, device: th.device, view: ProductActions | None = None) -> None:
        symmetries = plane_symmetries(team)
        entries, signs, categories = (th.as_tensor(each, device=device) for each in symmetries)
        self._entries_GI, self._signs_GI, self._categories_GCK = entries, signs, categories
        targets_GM = np.concatenate(
            [
                flags.start + symmetries.categories[:, column, : flags.stop - flags.start]
                for column, flags in enumerate(team.column_masks)
            ],
            axis=1,
        )
        # From which flag each comes: a turn is not its own inverse.
        self._flags_GM = th.as_tensor(np.argsort(targets_GM, axis=1), device=device)
        if view is not None:
            self._categories_GCK = th.as_tensor(of_products(symmetries, view), device=device).unsqueeze(1)

    def __call__(self, data: Any) -> Any:
        """Samples of SB3's replay buffer, `ReplayBufferSamples`, with the same rewards and dones."""
        which = self.draw(len(data.rewards))
        return data._replace(
            observations=self.observations(data.observations, which),
            next_observations=self.observations(data.next_observations, which),
            actions=self.actions(data.actions, which),
        )

    def draw(self, n: int) -> th.Tensor:
        """A symmetry for each of n samples, [n] int64."""
        return th.randint(len(self._signs_GI), (n,), device=self._signs_GI.device)

    def observations(self, joint: th.Tensor, which: th.Tensor) -> th.Tensor:
        """Joint observations [..., I], changed by symmetries [...]."""
        return joint.gather(-1, self._entries_GI[which]) * self._signs_GI[which]

    def actions(self, packed: th.Tensor, which: th.Tensor) -> th.Tensor:
        """Packed joint actions [..., C], or the view's [..., 1], changed by symmetries [...]: int64."""
        categories = self._categories_GCK[which]
        return categories.gather(-1, packed.long().unsqueeze(-1)).squeeze(-1)

    def flags(self, joint: th.Tensor, which: th.Tensor) -> th.Tensor:
        """A number for each category of each column [..., M], such as masks, changed by symmetries [...]."""
        return joint.gather(-1, self._flags_GM[which])
