"""A controller for each agent: whatever acts on that agent's own observation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import BasePolicy
from torch import nn

from cesma_sb3.errors import ExpertError, nearest
from cesma_sb3.experts.controllers import ControllerCall, Network
from cesma_sb3.experts.sb3 import has_memory, is_stochastic
from cesma_sb3.policies.agent_policy import AgentPolicy, SingleAgentPolicy
from cesma_sb3.policies.sampling import sampling_with
from cesma_sb3.spaces.team_spaces import TeamSpaces
from cesma_sb3.spaces.types import Masks, Observations, Packed

AgentController = Callable[[npt.NDArray[np.float32], npt.NDArray[np.bool_] | None], Any]
"""An agent's flat observation [F] and mask [M] or None to an action of its space."""


def controllers_by_agent(
    controllers: Mapping[Any, Any], team: TeamSpaces, rng: np.random.Generator | None = None
) -> Callable[..., Packed]:
    """Controllers of single agents as one function of joint observations (and masks) to packed actions.

    Args:
        controllers: By agent, whose name may be a number: a function of its own flat observation (and of its
            own mask [M] or None, if it takes one) to an action of its own action space; or what acts on such
            an observation alone: an SB3 model or policy, an `AgentPolicy`, a PyTorch module.
        team: The team.
        rng: Samples the actions of controllers that are distributions; None: they act deterministically.

    Raises:
        ExpertError: An agent has none, a controller has no agent, or is none of these.
    """
    by_name = {str(agent): controller for agent, controller in controllers.items()}
    if by_name.keys() != set(team.agents) or len(by_name) < len(controllers):
        doubled = [str(a) for a in controllers if not isinstance(a, str) and str(a) in controllers]
        wrong = sorted(set(by_name) ^ set(team.agents) or doubled)[0]
        near = nearest(wrong, team.agents)
        what = "has no controller" if wrong in team.agents else "is no agent of the team"
        what = "has two controllers" if wrong in doubled else what
        hint = f"did you mean {near[0]!r}? " if near and wrong not in team.agents else ""
        raise ExpertError(f"{wrong} {what}; {hint}the agents are {', '.join(team.agents)}")
    acts = {agent: agent_controller(by_name[agent], agent, team, rng) for agent in team.agents}

    def act(observations: Observations, masks: Masks | None = None) -> Packed:
        rows = []
        for row, joint in enumerate(observations):
            actions = {}
            for index, (agent, own) in enumerate(team.split_observations(joint).items()):
                flags = None if masks is None else masks[row, team.mask_slices[index]]
                actions[agent] = acts[agent](own, flags)
            rows.append(team.join_actions(actions))
        return np.stack(rows)

    return act


def agent_controller(
    controller: Any, agent: str, team: TeamSpaces, rng: np.random.Generator | None = None
) -> AgentController:
    """The controller of one agent, as a function of its own observation and mask.

    Args:
        controller: A function; an SB3 model or policy, `AgentPolicy` included; or a PyTorch module, which is
            called with a batch of one row.
        agent: The agent's name.
        team: The team.
        rng: Samples the actions of one that is a distribution (`is_distribution`); None: they are its
            likeliest.

    Raises:
        ExpertError: It is none of these, is of another observation, or has a memory.
    """
    kind = type(controller).__name__
    if isinstance(controller, BaseAlgorithm | BasePolicy):
        return _model_controller(controller, agent, team, rng)
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
    return ControllerCall(controller, f"{agent}: {name}", has_masks=team.has_masks)


def _model_controller(
    model: BaseAlgorithm | BasePolicy, agent: str, team: TeamSpaces, rng: np.random.Generator | None
) -> AgentController:
    kind = type(model).__name__
    wanted = (team.observation_sizes[team.agent_index(agent)],)
    if isinstance(model, SingleAgentPolicy):
        seen: tuple[int, ...] | None = (model.spaces.observation_size,)
    else:
        seen = model.observation_space.shape
    if has_memory(model):
        raise ExpertError(
            f"{agent}: {kind} has a memory; expected the controllers of single agents without one"
        )
    if seen != wanted:
        raise ExpertError(f"{agent}: {kind} takes observations of shape {seen}, the agent's is {wanted}")
    predict = ControllerCall(model.predict, f"{agent}: {kind}.predict", has_masks=team.has_masks)
    if rng is None or not is_distribution(model):
        return lambda own, mask: predict(own, mask, deterministic=True)[0]
    device = model.device

    def sample(own: npt.NDArray[np.float32], mask: npt.NDArray[np.bool_] | None) -> Any:
        with sampling_with(rng, device):
            return predict(own, mask, deterministic=False)[0]

    return sample


def is_distribution(controller: Any) -> bool:
    """Whether the controller of one agent may sample: one of PPO, say, or an agent that was trained so."""
    if isinstance(controller, AgentPolicy):
        return not controller.acts_deterministically
    policy = controller.policy if isinstance(controller, BaseAlgorithm) else controller
    return isinstance(policy, BasePolicy) and is_stochastic(policy)
