"""An expert of one view of a team as an expert of the team itself."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from cesma_sb3.experts.base import (
    Actions,
    Actor,
    Expert,
    Masks,
    Observations,
    RecurrentExpert,
    SoftExpert,
    StatefulActor,
    StochasticExpert,
)
from cesma_sb3.spaces.team_spaces import TeamSpaces
from cesma_sb3.spaces.team_views import TeamView, message_free_view
from cesma_sb3.utils.stateful import Stateful


class TranslatedExpert:
    """Labels a team by an expert of another view of it.

    It is a `SoftExpert` where the expert is one, and a `RecurrentExpert` where the expert is one.

    Args:
        expert: Labels observations of `view.team`.
        view: The view of the team that the expert labels.
    """

    def __init__(self, expert: Expert, view: TeamView) -> None:
        self.expert = expert
        self.view = view
        # Only on the object, so that `isinstance(..., SoftExpert)` is true of what the expert can do.
        if isinstance(expert, SoftExpert):
            self.probabilities = self._probabilities
        if isinstance(expert, RecurrentExpert):
            self.actor = self._actor
        if hasattr(expert, "sampler"):  # None of one that is no distribution
            self.sampler = None if expert.sampler is None else self._sampler
        self.draws_from_probabilities = getattr(expert, "draws_from_probabilities", True)

    def labels(self, observations: Observations, masks: Masks | None = None) -> Actions:
        """See `Expert.labels`, of the team."""
        return self._translated(self.expert.labels, observations, masks)

    def _translated(self, act: Any, observations: Observations, masks: Masks | None) -> Actions:
        seen = self.view.observations(observations)
        packed: Actions = self.view.actions(act(seen, self._masks(masks)), masks)
        return packed

    def _probabilities(
        self, observations: Observations, masks: Masks | None = None, *, temperature: float = 1.0
    ) -> npt.NDArray[np.float32]:
        """See `SoftExpert.probabilities`, of the team."""
        assert isinstance(self.expert, SoftExpert)
        seen = self.view.observations(observations)
        found = self.expert.probabilities(seen, self._masks(masks), temperature=temperature)
        return self.view.probabilities(found)

    def _actor(self) -> _Actor:
        """See `RecurrentExpert.actor`, of the team."""
        assert isinstance(self.expert, RecurrentExpert)
        return _Actor(self, self.expert.actor())

    def _sampler(self, rng: np.random.Generator) -> Actor:
        """See `StochasticExpert.sampler`, of the team."""
        assert isinstance(self.expert, StochasticExpert)
        act = self.expert.sampler(rng)
        if isinstance(act, StatefulActor):
            return _Actor(self, act)
        return lambda observations, masks: self._translated(act, observations, masks)

    def _masks(self, masks: Masks | None) -> Masks | None:
        return None if masks is None else self.view.masks(masks)


class _Actor(Stateful):
    """The expert's own actor, which keeps the memory, behind the view."""

    state_attributes = ("_act",)

    def __init__(self, translated: TranslatedExpert, act: Any) -> None:
        self._expert = translated
        self._act = act

    def reset(self, episode_starts: npt.NDArray[np.bool_] | None) -> None:
        """See `StatefulActor.reset`."""
        self._act.reset(episode_starts)

    def __call__(self, observations: Observations, masks: Masks | None = None) -> Actions:
        """Joint observations [B, I] and masks [B, M] to packed joint actions [B, A]."""
        return self._expert._translated(self._act, observations, masks)


class MessageFreeExpert(TranslatedExpert):
    """Labels a team that communicates by an expert that neither sends nor receives messages.

    Message columns of its labels are the first category that is available, or the number nearest to 0: they
    are no example to imitate.

    Args:
        expert: Labels observations of the team's message-free view.
        full_team: The team that is labelled.

    Source: section 4.4: the labels are the expert's actions on physical observations.
    """

    def __init__(self, expert: Expert, full_team: TeamSpaces) -> None:
        super().__init__(expert, message_free_view(full_team))
