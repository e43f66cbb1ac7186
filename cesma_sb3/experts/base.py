"""What an expert is: anything that labels joint observations with an action for every agent."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from cesma_sb3.spaces.types import Actor, Masks, Observations, Packed


@runtime_checkable
class StatefulActor(Protocol):
    """An `Actor` with a memory of the episode, kept for each environment."""

    def reset(self, episode_starts: npt.NDArray[np.bool_] | None) -> None:
        """Forget the episodes that have ended.

        Args:
            episode_starts: In which environments the next observation is an episode's first, [B] bool; None:
                in all of them.
        """


@runtime_checkable
class Expert(Protocol):
    """A centralized controller.

    Source: section 4.1: "any expert architecture that outputs an action that represents the joint-actions of
    all of the agents may be used".
    """

    def labels(self, observations: Observations, masks: Masks | None = None) -> Packed:
        """The expert's joint action (hard labels).

        Args:
            observations: Joint observations [B, observation_size] float32.
            masks: Available categories [B, mask_size] bool, or None.

        Returns:
            Packed joint actions [B, n_columns], int64 or float32 (`TeamSpaces.action_dtype`).
        """


@runtime_checkable
class RecurrentExpert(Expert, Protocol):
    """An expert with a memory. Its `labels` take every observation for an episode's first."""

    def actor(self) -> Actor:
        """A new `StatefulActor`: one for each user of the expert."""


@runtime_checkable
class StochasticExpert(Expert, Protocol):
    """An expert that is a distribution. Its `labels` are deterministic: what is likeliest.

    An expert whose `sampler` is None has values or a rule, and no distribution.
    """

    def sampler(self, rng: np.random.Generator) -> Actor:
        """An `Actor` that samples with this generator; a `StatefulActor` where the expert has a memory."""


@runtime_checkable
class SoftExpert(Expert, Protocol):
    """An expert that also has a distribution over each agent's actions."""

    def probabilities(
        self, observations: Observations, masks: Masks | None = None, *, temperature: float = 1.0
    ) -> npt.NDArray[np.float32]:
        """The distribution of each categorical action column (soft labels).

        Args:
            observations: Joint observations [B, observation_size] float32.
            masks: Available categories [B, mask_size] bool, or None.
            temperature: Divides the logits (or values): above 1 is flatter. In (0, inf).

        Returns:
            [B, mask_size] float32; the categories of each column sum to 1.
        """
