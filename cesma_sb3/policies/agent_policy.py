"""One agent of a team, alone: what goes onto one robot."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import torch as th
from torch import nn

from cesma_sb3.errors import SpaceError
from cesma_sb3.policies.distributions import ActionHead, TeamDistribution
from cesma_sb3.policies.networks.eval_mode import evaluating
from cesma_sb3.policies.networks.recurrent import RecurrentTeamNet
from cesma_sb3.spaces.agent_spaces import MASK
from cesma_sb3.spaces.communication import message_columns
from cesma_sb3.spaces.team_spaces import TeamSpaces
from cesma_sb3.utils.torch_defaults import plain_torch


class AgentPolicy(nn.Module):
    """A decentralized policy: one agent's own observation to its own action.

    Args:
        spaces: The spaces of a team of this one agent.
        network: [B, observation size] float32 -> [B, outputs] float32.
        log_std: Log standard deviation of each continuous action column, [D] float32; zeros if None.
        acts_deterministically: Whether the agent's own way is its likeliest action; else it draws its moves.
    """

    def __init__(
        self,
        spaces: TeamSpaces,
        network: nn.Module,
        log_std: th.Tensor | None = None,
        *,
        acts_deterministically: bool = True,
    ) -> None:
        super().__init__()
        self.spaces = spaces
        self.network = network
        self.acts_deterministically = acts_deterministically
        self.head = ActionHead(spaces.column_categories)
        self.register_buffer(
            "log_std", th.zeros(self.head.n_continuous) if log_std is None else log_std.clone()
        )

    log_std: th.Tensor

    @property
    def name(self) -> str:
        """The agent's name."""
        return self.spaces.agents[0]

    def forward(self, observations: th.Tensor) -> th.Tensor:
        """Flat own observations [B, F] float32 -> network outputs [B, O] float32."""
        outputs: th.Tensor = self.network(observations)
        return outputs

    @plain_torch()
    def predict(
        self,
        observation: Any,
        state: tuple[npt.NDArray[Any], ...] | None = None,
        episode_start: npt.NDArray[np.bool_] | None = None,
        deterministic: bool | None = None,
        action_mask: npt.NDArray[np.bool_] | None = None,
    ) -> tuple[Any, tuple[npt.NDArray[Any], ...] | None]:
        """The action for one observation, both as this agent's environment gives and takes them.

        Args:
            observation: This agent's observation, of its own observation space; one with an `action_mask` is
                read as such.
            state: What the call of the step before returned, if the agent has a memory; None: an episode
                begins.
            episode_start: Whether an episode begins with this observation, [1] bool.
            deterministic: The likeliest action, or a draw of PyTorch's global generator; None: whichever is
                the agent's own way, in which its team was measured.
            action_mask: Available categories [M] bool: needed where the agent's environment has masks and the
                observation does not bring one (masks in infos; an observation without the Dict around it).

        Returns:
            An action of the agent's own action space, and the state for the next step; without a memory,
            `state` as it came.

        Raises:
            SpaceError: The observation or the mask is not of the agent's spaces, or the mask is missing.
        """
        if action_mask is None and self.spaces.has_masks:
            if not (isinstance(observation, Mapping) and MASK in observation):
                raise SpaceError(
                    f"{self.name}: its actions are masked; expected action_mask=, {self.spaces.mask_size} "
                    "flags of what is available"
                )
            action_mask = observation[MASK]
        device = self.log_std.device
        # A copy: a network of somebody's own may write into its input, and the observation may be read-only.
        flat = th.tensor(self.spaces.flatten_agent(self.name, observation), device=device)[None]
        masks = None
        if action_mask is not None:
            masks = th.as_tensor(self.spaces.join_masks({self.name: action_mask}), device=device)[None]
        with th.no_grad(), evaluating(self.network):
            if isinstance(self.network, RecurrentTeamNet):
                hidden = self.network.carried(state, episode_start, 1)
                outputs, hidden = self.network.step(flat.float(), hidden)
                state = (hidden.cpu().numpy(),)
            else:
                outputs = self(flat)
            distribution = TeamDistribution(self.head).proba_distribution(outputs, self.log_std, masks)
            packed = self._chosen(distribution, deterministic)[0].cpu().numpy()
        return self.spaces.split_actions(packed)[self.name], state

    def _chosen(self, distribution: TeamDistribution, deterministic: bool | None) -> th.Tensor:
        """A packed action [1, A]."""
        if deterministic is not None:
            return distribution.get_actions(deterministic=deterministic)
        likeliest = distribution.mode()
        if self.acts_deterministically:
            return likeliest
        says = th.as_tensor(message_columns(self.spaces), device=likeliest.device)  # see `TeamPolicy.step`
        return th.where(says, likeliest, distribution.sample())
