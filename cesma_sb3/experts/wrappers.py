"""Experts that act by another: by one of another view, by one of a user's own class, or by samples of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from cesma_sb3.envs.rollouts import WrappedActor
from cesma_sb3.errors import InvalidActionError
from cesma_sb3.experts.base import Expert, RecurrentExpert, SoftExpert
from cesma_sb3.experts.controllers import ControllerCall, as_array
from cesma_sb3.experts.soft_labels import among_available
from cesma_sb3.policies.sampling import categories
from cesma_sb3.spaces.team_spaces import TeamSpaces
from cesma_sb3.spaces.team_views import TeamView
from cesma_sb3.spaces.types import Actor, Masks, Observations, Packed

Sampler = Callable[[np.random.Generator], Actor]
"""A function that makes an `Actor` which samples with a generator (`StochasticExpert.sampler`)."""


class ExpertActor(WrappedActor):
    """An actor of an expert that acts by another.

    Args:
        actor: The other's actor, which keeps the memory.
        call: Observations and masks to actions, by way of that actor.
        expert: The other expert.
    """

    def __init__(self, actor: Actor, call: Actor, expert: Expert) -> None:
        super().__init__(actor, call)
        self.expert = expert


class ExpertWrapper:
    """An expert that acts by another; base class.

    It is a `SoftExpert`, a `RecurrentExpert` or a `StochasticExpert` where the other is one.

    Args:
        expert: The other.
    """

    def __init__(self, expert: Expert) -> None:
        self.expert = expert
        self._labels = self._wrapped(expert.labels, "labels")
        # Only on the object, so that `isinstance(..., SoftExpert)` is true of what the expert can do.
        if isinstance(expert, SoftExpert):
            self.probabilities = self._probabilities
        if isinstance(expert, RecurrentExpert):
            self.actor = self._actor
        if hasattr(expert, "sampler"):  # None: it is no distribution, whatever else it has
            self.sampler = None if expert.sampler is None else self._sampler
        self.draws_from_probabilities = getattr(expert, "draws_from_probabilities", True)

    def labels(self, observations: Observations, masks: Masks | None = None) -> Packed:
        """The expert's joint action (`Expert.labels`)."""
        return self._labels(observations, masks)

    def _actor(self) -> ExpertActor:
        assert isinstance(self.expert, RecurrentExpert)
        actor = self.expert.actor()
        return ExpertActor(actor, self._wrapped(actor, "actor()"), self.expert)

    def _sampler(self, rng: np.random.Generator) -> ExpertActor:
        expert: Any = self.expert
        actor = expert.sampler(rng)
        return ExpertActor(actor, self._wrapped(actor, "sampler()"), self.expert)

    def _wrapped(self, act: Actor, method: str) -> Actor:
        """A function of the expert, whose `method` it is or comes from, as one of this expert."""
        raise NotImplementedError

    def _probabilities(
        self, observations: Observations, masks: Masks | None = None, *, temperature: float = 1.0
    ) -> npt.NDArray[np.float32]:
        """The distribution of each categorical action column (`SoftExpert.probabilities`)."""
        raise NotImplementedError


class UserExpert(ExpertWrapper):
    """An expert of a user's own class, which is given copies and whose labels are checked.

    Its arguments are copies, masks are left out where it takes none, and what it returns is copied and
    checked (`ControllerCall`).

    Args:
        expert: An object with `labels`, which need not take masks.
        team: The team that it labels.

    Raises:
        ExpertError: A method of it needs other arguments than observations and masks.
    """

    def __init__(self, expert: Expert, team: TeamSpaces) -> None:
        self._team = team
        super().__init__(expert)
        if isinstance(expert, SoftExpert):
            self._soft = self._controller(expert.probabilities, "probabilities")

    def _wrapped(self, act: Actor, method: str) -> Actor:
        call = self._controller(act, method)
        return lambda observations, masks: as_array(call(observations, masks), call.name)

    def _controller(self, function: Any, method: str) -> ControllerCall:
        name = f"{type(self.expert).__name__}.{method}"
        return ControllerCall(function, name, has_masks=self._team.has_masks)

    def _probabilities(
        self, observations: Observations, masks: Masks | None = None, *, temperature: float = 1.0
    ) -> npt.NDArray[np.float32]:
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


class TranslatedExpert(ExpertWrapper):
    """An expert of another view of the team, such as one that neither sends nor receives messages.

    Columns that the view leaves out are the first category that is available, or the number nearest to 0: in
    messages they are no example to imitate.

    Args:
        expert: Labels observations of `view.team`.
        view: The view of the team that the expert labels.

    Source: section 4.4: the labels are the expert's actions on physical observations.
    """

    def __init__(self, expert: Expert, view: TeamView) -> None:
        self.view = view
        super().__init__(expert)

    def _wrapped(self, act: Actor, method: str) -> Actor:
        del method
        return self.view.actor(act)

    def _probabilities(
        self, observations: Observations, masks: Masks | None = None, *, temperature: float = 1.0
    ) -> npt.NDArray[np.float32]:
        assert isinstance(self.expert, SoftExpert)
        seen, own = self.view.observations(observations), None if masks is None else self.view.masks(masks)
        return self.view.probabilities(self.expert.probabilities(seen, own, temperature=temperature))


class SamplingExpert:
    """A stochastic expert whose labels are samples of its actions.

    It is a `SoftExpert` where the expert's probabilities are those of its samples, and a `RecurrentExpert`
    where the expert is one.

    Args:
        expert: The same expert, which labels deterministically.
        sampler: Makes the actor that samples.
        seed: Of the samples.
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
            self.actor = self.make_actor

    def labels(self, observations: Observations, masks: Masks | None = None) -> Packed:
        """A sample of the expert's joint action for each observation (`Expert.labels`)."""
        return self._sampler(self._rng)(observations, masks)

    def make_actor(self, rng: np.random.Generator | None = None) -> Actor:
        """An `Actor` that samples with this generator; None: with a new one seeded by `seed`."""
        return self._sampler(np.random.default_rng(self.seed) if rng is None else rng)


def make_actor(expert: Expert, rng: np.random.Generator | None = None) -> Actor:
    """Make the actor that labels step after step: `labels`, or one with a memory of its own.

    Args:
        expert: The expert.
        rng: Generator of an expert that samples; None: the same samples at every call of this function.
    """
    if isinstance(expert, SamplingExpert):
        return expert.make_actor(rng)
    return expert.actor() if isinstance(expert, RecurrentExpert) else expert.labels


def sampling_expert(expert: Expert, team: TeamSpaces, seed: int) -> SamplingExpert | None:
    """The expert whose labels are samples from its distribution; None where it is no distribution.

    An expert of a user's own class that has `probabilities` (and no `sampler`) samples each column by them.

    Args:
        expert: As `adapt_expert` gives it: deterministic.
        team: The team that it labels.
        seed: Of the samples.
    """
    if isinstance(expert, SamplingExpert):
        return expert
    sampler: Sampler | None = getattr(expert, "sampler", None)
    has_probabilities = not hasattr(expert, "sampler") and isinstance(expert, SoftExpert)
    if has_probabilities and all(team.column_categories) and not isinstance(expert, RecurrentExpert):
        sampler = _by_probabilities(expert, team)
    return None if sampler is None else SamplingExpert(expert, sampler, seed)


def _by_probabilities(expert: Any, team: TeamSpaces) -> Sampler:
    return lambda rng: (
        lambda observations, masks: sample_columns(expert.probabilities(observations, masks), team, rng)
    )


def sample_columns(
    probabilities: npt.NDArray[np.float32], team: TeamSpaces, rng: np.random.Generator
) -> npt.NDArray[np.int64]:
    """A category of each column [B, C], sampled from soft labels [B, M] of a team of categories."""
    draws_BC = rng.random((len(probabilities), team.n_columns))
    drawn_BC = np.zeros((len(probabilities), team.n_columns), dtype=np.int64)
    for column, where in enumerate(team.column_masks):
        drawn_BC[:, column] = categories(probabilities[:, where], draws_BC[:, column])
    return drawn_BC


def name_of(expert: object) -> str:
    """The name of an expert's class in messages; of a user's own expert, of the user's class."""
    while isinstance(expert, UserExpert | ExpertActor):
        expert = expert.expert
    return type(expert).__name__
