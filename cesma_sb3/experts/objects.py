"""An expert of somebody's own class: an object with `labels`."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from cesma_sb3.errors import InvalidActionError
from cesma_sb3.experts.base import (
    Actions,
    Expert,
    Masks,
    Observations,
    RecurrentExpert,
    SoftExpert,
    StatefulActor,
    StochasticExpert,
)
from cesma_sb3.experts.calls import Asked, as_array
from cesma_sb3.experts.soft_labels import among_available
from cesma_sb3.spaces.team_spaces import TeamSpaces
from cesma_sb3.utils.stateful import Stateful


class BroughtExpert:
    """Asks an expert so that it can do no harm and none is done to it: see `Asked`.

    It is a `SoftExpert` where the expert is one, and a `RecurrentExpert` where the expert is one. What the
    expert returns is copied too: it may use one array again and again.

    Args:
        expert: An object with `labels`, which need not take masks.
        team: The team that it labels.

    Raises:
        ExpertError: A method of it needs other arguments than observations and masks.
    """

    def __init__(self, expert: Expert, team: TeamSpaces) -> None:
        self.expert = expert
        self._team = team
        self._labels = self._asked(expert.labels, "labels")
        # Only on the object, so that `isinstance(..., SoftExpert)` is true of what the expert can do.
        if isinstance(expert, SoftExpert):
            self._soft = self._asked(expert.probabilities, "probabilities")
            self.probabilities = self._probabilities
        if isinstance(expert, RecurrentExpert):
            self.actor = self._actor
        if hasattr(expert, "sampler"):  # None: it is no distribution, whatever else it has
            self.sampler = None if expert.sampler is None else self._sampler

    def labels(self, observations: Observations, masks: Masks | None = None) -> Actions:
        """See `Expert.labels`."""
        return as_array(self._labels(observations, masks), self._labels.name)

    def _probabilities(
        self, observations: Observations, masks: Masks | None = None, *, temperature: float = 1.0
    ) -> npt.NDArray[np.float32]:
        """See `SoftExpert.probabilities`."""
        name, team = self._soft.name, self._team
        found = as_array(self._soft(observations, masks, temperature=temperature), name)
        if found.shape != (len(observations), team.mask_size):
            raise InvalidActionError(
                f"{name}: shape {found.shape}, expected {(len(observations), team.mask_size)}: a probability "
                "for each category"
            )
        sums = [found[:, flags].sum(axis=1) for flags in team.column_masks if flags.stop > flags.start]
        if not (found >= 0).all() or not np.allclose(sums, 1.0, atol=1e-3):
            raise InvalidActionError(
                f"{name}: expected probabilities, which sum to 1 over each choice's categories"
            )
        return among_available(found.astype(np.float32), masks, team)

    def _actor(self) -> _Actor:
        """See `RecurrentExpert.actor`."""
        assert isinstance(self.expert, RecurrentExpert)
        act = self.expert.actor()
        return _Actor(self.expert, act, self._asked(act, "actor()"))

    def _sampler(self, rng: np.random.Generator) -> _Actor:
        """See `StochasticExpert.sampler`."""
        assert isinstance(self.expert, StochasticExpert)
        act = self.expert.sampler(rng)
        return _Actor(self.expert, act, self._asked(act, "sampler()"))

    def _asked(self, function: Any, method: str) -> Asked:
        return Asked(function, f"{type(self.expert).__name__}.{method}", has_masks=self._team.has_masks)


class _Actor(Stateful):
    """The expert's own actor, which keeps the memory."""

    state_attributes = ("_act",)

    def __init__(self, expert: Expert, act: Any, asked: Asked) -> None:
        self.expert = expert
        self._act = act
        self._asked = asked

    def reset(self, episode_starts: npt.NDArray[np.bool_] | None) -> None:
        """See `StatefulActor.reset`."""
        if isinstance(self._act, StatefulActor):
            self._act.reset(None if episode_starts is None else np.array(episode_starts))

    def __call__(self, observations: Observations, masks: Masks | None = None) -> Actions:
        """Joint observations [B, I] and masks [B, M] to packed joint actions [B, A]."""
        return as_array(self._asked(observations, masks), self._asked.name)


def name_of(expert: object) -> str:
    """What messages call an expert: the name of its class; of one that was brought, of that one's."""
    return type(expert.expert if isinstance(expert, BroughtExpert | _Actor) else expert).__name__
