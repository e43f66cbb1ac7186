"""What an expert is: anything that labels joint observations with an action for every agent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

Observations = npt.NDArray[np.float32]
Masks = npt.NDArray[np.bool_]
Actions = npt.NDArray[np.int64] | npt.NDArray[np.float32]
Act = Callable[[Observations, Masks | None], Actions]
"""Joint observations [B, observation_size] and masks to packed joint actions [B, n_columns]."""


@runtime_checkable
class Remembers(Protocol):
    """An `Act` with a memory, which is told where episodes begin."""

    def begin(self, starts: npt.NDArray[np.bool_] | None) -> None:
        """Says in which worlds the next observation is an episode's first, [B]; None: forget everything."""


@runtime_checkable
class Expert(Protocol):
    """A centralized controller.

    Source: section 4.1: "any expert architecture that outputs an action that represents the joint-actions of
    all of the agents may be used".
    """

    def labels(self, observations: Observations, masks: Masks | None = None) -> Actions:
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

    def actor(self) -> Act:
        """An `Act` that `Remembers`, with a memory of its own: one for each user of the expert."""


@runtime_checkable
class StochasticExpert(Expert, Protocol):
    """An expert that is a distribution. Its `labels` are deterministic: what is likeliest.

    An expert whose `sampler` is None has values or a rule, and no distribution.
    """

    def sampler(self, rng: np.random.Generator) -> Act:
        """An `Act` that draws with this generator; with a memory of its own where the expert has one."""


@runtime_checkable
class ActsWith(Protocol):
    """An expert whose way is to draw: `SamplingExpert`."""

    def act_with(self, rng: np.random.Generator | None = None) -> Act:
        """An `Act` that draws with this generator, or with one of its own that always begins alike."""


def labeller(expert: Expert, rng: np.random.Generator | None = None) -> Act:
    """How an expert labels a run of steps: `labels`, or with a memory of this run if it has one.

    Args:
        expert: Whoever labels.
        rng: Of one that samples, what it draws with; None: the same draws for everybody who asks.
    """
    if isinstance(expert, ActsWith):
        return expert.act_with(rng)
    return expert.actor() if isinstance(expert, RecurrentExpert) else expert.labels


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
