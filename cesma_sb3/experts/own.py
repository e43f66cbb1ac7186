"""The controller of one agent: whatever acts on that agent's own observation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import BasePolicy
from torch import nn

from cesma_sb3.errors import ExpertError
from cesma_sb3.experts.asked import Asked
from cesma_sb3.experts.network import Network
from cesma_sb3.experts.sb3 import has_memory
from cesma_sb3.joint.spaces import TeamSpaces
from cesma_sb3.networks.agent import AgentPolicy
from cesma_sb3.networks.recurrent import RecurrentTeamNet

Own = Callable[[npt.NDArray[np.float32], npt.NDArray[np.bool_] | None], Any]
"""An agent's flat observation [F] and mask [M] or None to an action of its space."""


def own_controller(controller: Any, agent: str, team: TeamSpaces) -> Own:
    """What somebody brings for one agent, as a function of its own observation and mask.

    Args:
        controller: A function; an SB3 model or policy; an `AgentPolicy`; or a PyTorch module, which is called
            with a batch of one row.
        agent: Whose.
        team: The team.

    Raises:
        ExpertError: It is none of these, is of another observation, or has a memory.
    """
    kind = type(controller).__name__
    if isinstance(controller, BaseAlgorithm | BasePolicy | AgentPolicy):
        wanted = (team.observation_sizes[team.agent_index(agent)],)
        seen: tuple[int, ...] | None
        if isinstance(controller, AgentPolicy):
            seen = (controller.spaces.observation_size,)
            memory = isinstance(controller.network, RecurrentTeamNet)
        else:
            seen, memory = controller.observation_space.shape, has_memory(controller)
        if memory:
            raise ExpertError(
                f"{agent}: {kind} has a memory; expected the controllers of single agents without one"
            )
        if seen != wanted:
            raise ExpertError(f"{agent}: {kind} takes observations of shape {seen}, the agent's is {wanted}")
        predict = Asked(controller.predict, f"{agent}: {kind}.predict", has_masks=team.has_masks)
        return lambda own, mask: predict(own, mask, deterministic=True)[0]
    if isinstance(controller, nn.Module):
        network = Network.of_module(controller, f"{agent}: {kind}")
        flags = team.mask_slices[team.agent_index(agent)]
        network.n_flags = flags.stop - flags.start
        return lambda own, mask: network(own[None], None if mask is None else mask[None])[0]
    if isinstance(controller, type) or not callable(controller):
        what = f"the class {controller.__name__}" if isinstance(controller, type) else kind
        raise ExpertError(
            f"{agent}: {what}, expected a function of its own observation (and mask), an SB3 model or "
            "policy, or a PyTorch module"
        )
    name = getattr(controller, "__qualname__", kind)
    return Asked(controller, f"{agent}: {name}", has_masks=team.has_masks)
