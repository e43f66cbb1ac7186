"""One agent of an ensemble of teams, alone."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import nn

from cesma_sb3.policies.agent_policy import AgentPolicy

State = tuple[npt.NDArray[Any], ...]


def draw(
    weights: npt.NDArray[np.float64], rng: np.random.Generator, shape: tuple[int, ...]
) -> npt.NDArray[np.int64]:
    """Places drawn by their weights, of this shape, with one uniform number each."""
    bounds = np.cumsum(weights)
    # Up to rounding the last bound is 1: scaled, so that no draw lies beyond it.
    places = np.searchsorted(bounds, rng.random(shape) * bounds[-1], side="right")
    drawn: npt.NDArray[np.int64] = np.minimum(places, len(weights) - 1).astype(np.int64)
    return drawn


class EnsembleAgent(nn.Module):
    """An agent that has several policies of its own, one of which acts at each step.

    Args:
        components: At least one, all of the same agent.
    """

    def __init__(self, components: Sequence[AgentPolicy]) -> None:
        super().__init__()
        self.components = nn.ModuleList(components)
        self.spaces = components[0].spaces

    @property
    def name(self) -> str:
        """The agent's name."""
        return self.spaces.agents[0]

    def predict(
        self,
        observation: Any,
        state: State | None = None,
        episode_start: npt.NDArray[np.bool_] | None = None,
        deterministic: bool | None = None,
        action_mask: npt.NDArray[np.bool_] | None = None,
    ) -> tuple[Any, State | None]:
        """As `AgentPolicy.predict`; the state is the number of the step, ([1] int64,).

        Args:
            observation: Of the agent's own space.
            state: What the call of the step before returned; None: an episode begins.
            episode_start: Whether an episode begins with this observation, [1] bool.
            deterministic: See `AgentPolicy.predict`, of whoever acts.
            action_mask: The agent's available categories, or None.
        """
        begins = state is None or (episode_start is not None and bool(np.any(episode_start)))
        step = 0 if begins or state is None else int(state[0][0])
        component = self.components[self._chosen(step)]
        assert isinstance(component, AgentPolicy)
        action, _ = component.predict(observation, deterministic=deterministic, action_mask=action_mask)
        return action, (np.array([step + 1]),)

    @abstractmethod
    def _chosen(self, step: int) -> int:
        """Which component acts at this step."""


class SequenceAgent(EnsembleAgent):
    """One agent of a `SequencePolicy`: it counts its steps."""

    def _chosen(self, step: int) -> int:
        return min(step, len(self.components) - 1)


class MixtureAgent(EnsembleAgent):
    """One agent of a `MixturePolicy`: it draws anew at each step.

    Args:
        components: At least one, all of the same agent.
        weights: Of each component, [K], with a sum of 1.
        rng: Draws. Agents whose generators begin alike draw the same component at the same call.
    """

    def __init__(
        self,
        components: Sequence[AgentPolicy],
        weights: npt.NDArray[np.float64],
        rng: np.random.Generator,
    ) -> None:
        super().__init__(components)
        self._weights = weights
        self._rng = rng

    def _chosen(self, step: int) -> int:
        del step
        return int(draw(self._weights, self._rng, ()))
