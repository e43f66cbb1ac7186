"""Experts that are distributions, acting by draws from them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from cesma_sb3.experts.base import Actions, Actor, Expert, Masks, Observations, RecurrentExpert, SoftExpert
from cesma_sb3.spaces.team_spaces import TeamSpaces

Sampler = Callable[[np.random.Generator], Actor]
"""Makes an `Actor` that draws with a generator: see `StochasticExpert.sampler`."""


class SamplingExpert:
    """A stochastic expert whose labels are draws.

    It is a `SoftExpert` where the expert's probabilities are those of its draws, and a `RecurrentExpert`
    where the expert is one.

    Args:
        expert: The same, deterministic.
        sampler: Makes what draws.
        seed: Of the draws: whoever asks for an act (`make_actor`) gets the same draws, or gives a generator.
    """

    def __init__(self, expert: Expert, sampler: Sampler, seed: int) -> None:
        self.expert = expert
        self.seed = seed
        self._sampler = sampler
        self._rng = np.random.default_rng(seed)  # of single calls of `labels`
        # Only on the object, so that `isinstance(..., SoftExpert)` is true of what the expert can do.
        if isinstance(expert, SoftExpert) and getattr(expert, "draws_from_probabilities", True):
            self.probabilities = expert.probabilities
        if isinstance(expert, RecurrentExpert):
            self.actor = self.act_with

    def labels(self, observations: Observations, masks: Masks | None = None) -> Actions:
        """See `Expert.labels`: a draw for each observation."""
        return self._sampler(self._rng)(observations, masks)

    def act_with(self, rng: np.random.Generator | None = None) -> Actor:
        """An `Actor` that draws with this generator, or with one of its own that begins with `seed`."""
        return self._sampler(np.random.default_rng(self.seed) if rng is None else rng)


def sampling(expert: Expert, team: TeamSpaces, seed: int) -> SamplingExpert | None:
    """The expert whose labels are draws from its distribution; None where it is no distribution.

    An expert of somebody's own that has `probabilities` (and no `sampler`) draws each column by them.

    Args:
        expert: As `adapt_expert` gives it: deterministic.
        team: That it labels.
        seed: Of the draws.
    """
    if isinstance(expert, SamplingExpert):
        return expert
    sampler: Sampler | None = getattr(expert, "sampler", None)
    is_of_its_own = not hasattr(expert, "sampler") and all(team.column_categories)
    if is_of_its_own and isinstance(expert, SoftExpert) and not isinstance(expert, RecurrentExpert):
        sampler = _by_probabilities(expert, team)
    return None if sampler is None else SamplingExpert(expert, sampler, seed)


def _by_probabilities(expert: SoftExpert, team: TeamSpaces) -> Sampler:
    def sampler(rng: np.random.Generator) -> Actor:
        def act(observations: Observations, masks: Masks | None) -> Actions:
            return drawn_columns(expert.probabilities(observations, masks), team, rng)

        return act

    return sampler


def drawn_columns(
    probabilities: npt.NDArray[np.float32], team: TeamSpaces, rng: np.random.Generator
) -> npt.NDArray[np.int64]:
    """A category of each column [B, C], drawn from soft labels [B, M] of a team of categories."""
    draws_BC = rng.random((len(probabilities), team.n_columns))
    drawn_BC = np.zeros((len(probabilities), team.n_columns), dtype=np.int64)
    for column, where in enumerate(team.column_masks):
        bounds_BK = np.cumsum(probabilities[:, where], axis=1, dtype=np.float64)
        # Up to rounding the last bound is 1: scaled, so that no draw lies beyond it.
        reached_BK = bounds_BK <= (draws_BC[:, column] * bounds_BK[:, -1])[:, None]
        drawn_BC[:, column] = np.minimum(reached_BK.sum(axis=1), bounds_BK.shape[1] - 1)
    return drawn_BC
