"""`AgentPolicy`: one agent of a team, alone, as an SB3 policy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch as th
from gymnasium import spaces as gym_spaces
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import PyTorchObs
from stable_baselines3.common.utils import get_device
from torch import nn

from cesma_sb3.errors import SpaceError
from cesma_sb3.policies.distributions import ActionHead, TeamDistribution
from cesma_sb3.policies.networks.eval_mode import eval_mode
from cesma_sb3.policies.networks.recurrent import RecurrentTeamNet, step_network
from cesma_sb3.policies.stateful_actor import DeviceState, with_host_state
from cesma_sb3.spaces.agent_spaces import MASK, unwrap_observation, without_mask
from cesma_sb3.spaces.communication import message_columns
from cesma_sb3.spaces.team_spaces import TeamSpaces
from cesma_sb3.utils.torch_defaults import plain_torch

if TYPE_CHECKING:
    from typing_extensions import Self


class PickledPolicy(BasePolicy):
    """An SB3 policy whose `load` works with every release of SB3 and PyTorch that this package takes."""

    @classmethod
    def load(cls, path: str, device: th.device | str = "auto") -> Self:
        """Load what `save` wrote. The file is a pickle, which may run code: load only what you trust.

        Args:
            path: The file.
            device: Where the weights go.
        """
        # SB3's own passes no `weights_only` in older releases, which newer releases of PyTorch refuse.
        saved = th.load(path, map_location=get_device(device), weights_only=False)
        policy = cls(**saved["data"])
        policy.load_state_dict(saved["state_dict"])
        return policy.to(get_device(device))


class SingleAgentPolicy(PickledPolicy):
    """What `AgentPolicy` and an agent of an ensemble have in common: the spaces of one agent.

    `observation_space` and `action_space` are those of the agent in its environment.

    Args:
        spaces: The agent's spaces, as a team with this one agent.
    """

    def __init__(self, spaces: TeamSpaces) -> None:
        (name,) = spaces.agents
        super().__init__(spaces.observation_spaces[name], spaces.action_spaces[name])
        self.spaces = spaces

    @property
    def name(self) -> str:
        """The agent's name."""
        return self.spaces.agents[0]

    def _predict(self, observation: PyTorchObs, deterministic: bool = False) -> th.Tensor:
        raise NotImplementedError(f"{type(self).__name__} acts by `predict` alone")


class AgentPolicy(SingleAgentPolicy):
    """A decentralized policy: one agent's own observation to its own action.

    It is an SB3 policy: SB3's `evaluate_policy`, `save` and `load` take it.

    Args:
        spaces: The agent's spaces, as a team with this one agent.
        network: [B, observation size] float32 -> [B, outputs] float32.
        log_std: Log standard deviation of each continuous action column, [D] float32; zeros if None.
        acts_deterministically: Whether its team was evaluated with deterministic actions; `predict` does not
            read it.
    """

    def __init__(
        self,
        spaces: TeamSpaces,
        network: nn.Module,
        log_std: th.Tensor | None = None,
        *,
        acts_deterministically: bool = True,
    ) -> None:
        super().__init__(spaces)
        self.network = network
        self.acts_deterministically = acts_deterministically
        self.head = ActionHead(spaces.column_categories)
        self.register_buffer(
            "log_std", th.zeros(self.head.n_continuous) if log_std is None else log_std.clone()
        )

    log_std: th.Tensor

    @property
    def is_recurrent(self) -> bool:
        """Whether the agent has a memory."""
        return isinstance(self.network, RecurrentTeamNet)

    def forward(self, observations: th.Tensor) -> th.Tensor:
        """Flat own observations [B, F] float32 -> network outputs [B, O] float32."""
        outputs: th.Tensor = self.network(observations)
        return outputs

    @with_host_state
    @plain_torch()
    def predict(
        self,
        observation: Any,
        state: DeviceState | None = None,
        episode_start: npt.NDArray[np.bool_] | None = None,
        deterministic: bool = False,
        action_masks: npt.NDArray[np.bool_] | None = None,
    ) -> tuple[Any, DeviceState | None]:
        """Actions for one observation or a batch of them, as this agent's environment gives and takes them.

        Args:
            observation: An observation of the agent's own observation space, or a batch of B of them; in one
                with an `action_mask`, that is read as such.
            state: What the call of the step before returned, if the agent has a memory; None: an episode
                begins.
            episode_start: Whether an episode begins with this observation, [B] bool.
            deterministic: The likeliest action, in place of a sample by PyTorch's global generator. Messages
                are never sampled: no expert says what they should be, and listeners learned from the
                likeliest ones.
            action_masks: Available categories [M] or [B, M] bool: needed where the agent's environment has
                masks and the observation does not bring one (masks in infos; an observation without the Dict
                around it).

        Returns:
            An action of the agent's own action space, or [B] of them, and the state for the next step;
            without a memory, `state` as it came.

        Raises:
            SpaceError: The observation or the mask is not of the agent's spaces, or the mask is missing.
        """
        if action_masks is None and self.spaces.has_masks:
            if not (isinstance(observation, Mapping) and MASK in observation):
                raise SpaceError(
                    f"{self.name}: its actions are masked; expected action_masks=, {self.spaces.mask_size} "
                    "flags of what is available"
                )
            action_masks = observation[MASK]
        batch = unbatched(self.observation_space, observation)
        rows = [observation] if batch is None else batch
        device = self.log_std.device
        # A copy: a user's network may write into its input, and the observation may be read-only.
        flat = th.tensor(np.stack([self.spaces.flatten_agent(self.name, row) for row in rows]), device=device)
        masks = None
        if action_masks is not None:
            given = [action_masks] if batch is None else action_masks
            joint = [self.spaces.join_masks({self.name: mask}) for mask in given]
            if len(joint) != len(rows):
                raise SpaceError(f"{self.name}: {len(joint)} action masks for {len(rows)} observations")
            masks = th.as_tensor(np.stack(joint), device=device)
        with th.no_grad(), eval_mode(self.network):
            outputs, state = step_network(self.network, flat, state, episode_start)
            packed = self._actions(outputs, masks, deterministic).cpu().numpy()
        actions = [self.spaces.split_actions(row)[self.name] for row in packed]
        return (actions[0] if batch is None else np.stack(actions)), state

    def _actions(self, outputs: th.Tensor, masks: th.Tensor | None, deterministic: bool) -> th.Tensor:
        """Packed actions [B, A] from network outputs [B, O]."""
        distribution = TeamDistribution(self.head).proba_distribution(outputs, self.log_std, masks)
        if deterministic:
            return distribution.mode()
        is_message = th.as_tensor(message_columns(self.spaces), device=outputs.device)
        return th.where(is_message, distribution.mode(), distribution.sample())

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return {
            "spaces": self.spaces,
            "network": self.network,
            "log_std": self.log_std,
            "acts_deterministically": self.acts_deterministically,
        }


def unbatched(space: gym_spaces.Space[Any], observation: Any) -> list[Any] | None:
    """The observations of a batch one by one; None where it is a single observation.

    Args:
        space: The space of one observation.
        observation: Of the space, or the same with one axis more in front of each array.
    """
    try:
        size = _batch_size(without_mask(space)[0], unwrap_observation(space, observation))
    except Exception:  # no observation at all: whoever flattens it says what is wrong
        return None
    return None if size is None else [_row(observation, index) for index in range(size)]


def _batch_size(space: gym_spaces.Space[Any], value: Any) -> int | None:
    if isinstance(space, gym_spaces.Dict):
        known = [key for key in space.spaces if isinstance(value, Mapping) and key in value]
        return _batch_size(space.spaces[known[0]], value[known[0]]) if known else None
    if isinstance(space, gym_spaces.Tuple):
        is_tuple = isinstance(value, tuple) and bool(value) and bool(space.spaces)
        return _batch_size(space.spaces[0], value[0]) if is_tuple else None
    shape = np.shape(value)
    return shape[0] if len(shape) == len(space.shape or ()) + 1 else None


def _row(value: Any, index: int) -> Any:
    if isinstance(value, Mapping):
        return {key: _row(member, index) for key, member in value.items()}
    if isinstance(value, tuple):
        return tuple(_row(member, index) for member in value)
    return np.asarray(value)[index]
