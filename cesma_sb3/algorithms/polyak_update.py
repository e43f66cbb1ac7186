"""Target networks that follow what is trained."""

from __future__ import annotations

import torch as th
from torch import nn


def polyak_update(module: nn.Module, target: nn.Module, tau: float) -> None:
    """SB3's `polyak_update` of all weights at once: entity networks have many small ones.

    Args:
        module: What is trained.
        target: The same network; each weight w becomes (1 - tau) w + tau w' of `module`.
        tau: In (0, 1]; 1 copies.
    """
    with th.no_grad():
        th._foreach_lerp_(list(target.parameters()), list(module.parameters()), tau)
