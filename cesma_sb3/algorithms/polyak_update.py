"""Polyak averaging of target networks."""

from __future__ import annotations

import torch as th
from torch import nn


def polyak_update(module: nn.Module, target: nn.Module, tau: float) -> None:
    """Update a target network: weights w become (1 - tau) w + tau w', with w' of `module`.

    SB3's function of this name goes weight by weight; here all are updated at once, which is faster for
    entity networks with their many small weights, and rounds differently in the last digit.

    Args:
        module: The online network.
        target: The target network, of the same architecture.
        tau: In (0, 1]; 1 copies.
    """
    with th.no_grad():
        th._foreach_lerp_(list(target.parameters()), list(module.parameters()), tau)
