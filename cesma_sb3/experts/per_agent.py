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
from cesma_sb3.experts.calls import Asked
from cesma_sb3.experts.network import Network
from cesma_sb3.experts.sb3 import has_memory, is_stochastic
from cesma_sb3.policies.agent_policy import AgentPolicy
from cesma_sb3.policies.networks.recurrent import RecurrentTeamNet
from cesma_sb3.policies.sampling import drawing
from cesma_sb3.spaces.team_spaces import TeamSpaces

Own = Callable[[npt.NDArray[np.float32], npt.NDArray[np.bool_] | None], Any]
"""An agent's flat observation [F] and mask [M] or None to an action of its space."""


def draws_alone(controller: Any) -> bool:
    """Whether what somebody brings for one agent is a distribution: of PPO, say, or an agent that draws."""
    if isinstance(controller, AgentPolicy):
        return not controller.acts_deterministically
    policy = controller.policy if isinstance(controller, BaseAlgorithm) else controller
    return isinstance(policy, BasePolicy) and is_stochastic(policy)


def own_controller(
    controller: Any, agent: str, team: TeamSpaces, rng: np.random.Generator | None = None
) -> Own:
    """What somebody brings for one agent, as a function of its own observation and mask.

    Args:
        controller: A function; an SB3 model or policy; an `AgentPolicy`; or a PyTorch module, which is called
            with a batch of one row.
        agent: Whose.
        team: The team.
        rng: Draws the actions of one that is a distribution (`draws_alone`); None: they are its likeliest.

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
        if rng is None or not draws_alone(controller):
            return lambda own, mask: predict(own, mask, deterministic=True)[0]
        device = controller.log_std.device if isinstance(controller, AgentPolicy) else controller.device

        def draw(own: npt.NDArray[np.float32], mask: npt.NDArray[np.bool_] | None) -> Any:
            with drawing(rng, device):
                return predict(own, mask, deterministic=False)[0]

        return draw
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
