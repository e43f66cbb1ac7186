"""Convolutional networks for agents that observe pictures.

Shape suffixes: B batch, I inputs (of the whole net), N agents, F features of a picture, O outputs.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.preprocessing import is_image_space_channels_first
from stable_baselines3.common.torch_layers import NatureCNN
from torch import nn

from cesma_sb3.errors import LayoutError
from cesma_sb3.policies.networks.feed_forward import TeamNet
from cesma_sb3.policies.networks.visibility import Visibility
from cesma_sb3.spaces.agent_spaces import without_mask
from cesma_sb3.spaces.team_spaces import TeamSpaces

_LEAST = 36
"""Height and width that are left with one pixel by NatureCNN's convolutions."""


class PictureEncoder(nn.Module):
    """SB3's `NatureCNN` on pictures that come as flat vectors.

    Args:
        space: A Box of pictures: height and width with channels first, last, or none. Whole numbers in one
            byte are divided by 255.
        n_features: F.

    Call: [B, height * width * channels] float32 -> [B, F] float32.

    Raises:
        LayoutError: The space is none of pictures, or they are too small.
    """

    def __init__(self, space: spaces.Space[object], n_features: int) -> None:
        super().__init__()
        if not isinstance(space, spaces.Box) or len(space.shape) not in (2, 3):
            raise LayoutError(
                f"network cnn: expected pictures, Boxes of two or three dimensions, got {space}"
            )
        self.shape = space.shape if len(space.shape) == 3 else (1, *space.shape)
        self.is_last = len(space.shape) == 3 and not is_image_space_channels_first(space)
        self.scale = 1.0 / 255.0 if space.dtype == np.uint8 else 1.0
        first = (self.shape[2], *self.shape[:2]) if self.is_last else self.shape
        if min(first[1:]) < _LEAST:
            raise LayoutError(
                f"network cnn: pictures of {first[1]} x {first[2]}, expected at least {_LEAST} x {_LEAST}"
            )
        self.cnn = NatureCNN(spaces.Box(0.0, 1.0, first), n_features, normalized_image=True)

    def forward(self, x_BI: th.Tensor) -> th.Tensor:
        """Features of flat pictures: [B, I] -> [B, F]."""
        pictures = x_BI.reshape(-1, *self.shape) * self.scale
        features: th.Tensor = self.cnn(pictures.permute(0, 3, 1, 2) if self.is_last else pictures)
        return features


class PictureNet(nn.Module):
    """A convolutional network for each agent's picture, then layers on what it gives.

    Args:
        team: Its agents observe pictures.
        visibility: `own`: each agent's layers see the features of its own picture. `joint`: one set of layers
            sees those of all, and gives all outputs.
        output_sizes: Outputs for each agent.
        hidden_sizes: F, then the layers on the features.
        activation: Module class between these.
        share_parameters: One set of weights for all agents, whose pictures are of one shape; the layers on
            the features see the agent's number.

    Call: joint observations [B, I] float32 -> [B, sum(output_sizes)] float32.

    Raises:
        LayoutError: An agent observes no picture, or shared weights are to fit several shapes.

    Source: the convolutions are those of Mnih et al. (2015), as in Stable-Baselines3.
    """

    def __init__(
        self,
        team: TeamSpaces,
        visibility: Visibility,
        output_sizes: Sequence[int],
        *,
        hidden_sizes: Sequence[int] = (512,),
        activation: type[nn.Module] = nn.ReLU,
        share_parameters: bool = False,
    ) -> None:
        super().__init__()
        n_features, *head = hidden_sizes
        pictures = [without_mask(team.observation_spaces[agent])[0] for agent in team.agents]
        if share_parameters and any(each != pictures[0] for each in pictures):
            raise LayoutError("network cnn: expected one space of all agents, whose weights are shared")
        self.slices = team.observation_slices
        self.is_shared = share_parameters
        own = pictures[:1] if share_parameters else pictures
        self.encoders = nn.ModuleList([PictureEncoder(space, n_features) for space in own])
        n_agents = team.n_agents
        visible = [range(n_features * i, n_features * (i + 1)) for i in range(n_agents)]
        sizes = list(output_sizes)
        if visibility == "joint":
            visible, sizes = [range(n_features * n_agents)], [sum(sizes)]
        self.head = TeamNet(
            visible, sizes, hidden_sizes=head, activation=activation, share_parameters=share_parameters
        )

    def forward(self, x_BI: th.Tensor) -> th.Tensor:
        """Outputs of all agents, one after the other: [B, I] -> [B, sum(output_sizes)]."""
        pictures = [x_BI[:, where] for where in self.slices]
        if self.is_shared:  # all through the convolutions at once
            features = self.encoders[0](th.cat(pictures)).chunk(len(pictures))
        else:
            features = [encode(own) for encode, own in zip(self.encoders, pictures, strict=True)]
        outputs: th.Tensor = self.head(th.cat(list(features), dim=1))
        return outputs

    def component(self, index: int, inputs: Sequence[int] | None = None) -> nn.Sequential:
        """One agent's network alone, on its own observation: [B, own observation] -> [B, its outputs].

        Only for `own` visibility.

        Args:
            index: Which agent.
            inputs: The columns of its own observation, as for other networks.
        """
        encoder = copy.deepcopy(self.encoders[0 if self.is_shared else index])
        return nn.Sequential(encoder, *self.head.component(index))
