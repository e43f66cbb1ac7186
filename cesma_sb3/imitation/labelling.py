"""Labels for recorded experience: DAgger's first dataset, without an environment step.

Shape suffixes: T vector steps, B environments, S samples, C action columns, M mask flags.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
from imitation.data import types

from cesma_sb3.envs.action_validator import ActionRules
from cesma_sb3.envs.experience import Experience, States
from cesma_sb3.envs.rollouts import reset_actor
from cesma_sb3.errors import SpaceError
from cesma_sb3.experts import adapt_expert
from cesma_sb3.experts.base import RecurrentExpert, SoftExpert
from cesma_sb3.experts.wrappers import make_actor, name_of
from cesma_sb3.imitation.collector import check_labels
from cesma_sb3.imitation.dataset import Samples
from cesma_sb3.imitation.settings import LabelConfig
from cesma_sb3.spaces.communication import MessageChannel, message_columns
from cesma_sb3.spaces.team_spaces import TeamSpaces
from cesma_sb3.spaces.types import Array, Flags

BLOCK = 2_048
"""Samples that are labelled together."""


class ExperienceLabeller:
    """Labels for all states of an experience, in the order of time: its own, else the finished expert's.

    States whose episode began before the experience did are left out where the beginning matters: for an
    expert with a memory, and for a team that communicates.

    In a team that communicates, a sample holds the step before too, and in it the messages that were received
    then. Nobody has sent any where the expert acted: every agent's symbols are drawn at random, so that
    senders learn to say the same whatever they have heard.

    Args:
        experience: The states.
        expert: The expert: anything that `adapt_expert` takes.
        labels: Whether its distribution is wanted too.
        rng: Draws the messages.
        label_rng: Draws the labels of an expert that samples; None: the same draws every time.
        replaces_unavailable: As `ActionRules` has it.

    Raises:
        ExpertError: The expert does not fit the team, or does not have these labels (`check_labels`).
    """

    def __init__(
        self,
        experience: Experience,
        expert: Any,
        *,
        labels: LabelConfig,
        rng: np.random.Generator,
        label_rng: np.random.Generator | None = None,
        replaces_unavailable: bool = False,
    ) -> None:
        self.experience = experience
        self.expert = adapt_expert(expert, experience.team)
        self.labels = labels
        check_labels(labels, self.expert, experience.team)
        self.channel = MessageChannel.of(experience.team)
        self._rng = rng
        self._label_rng = label_rng
        self._rules = ActionRules(experience.team, replaces_unavailable=replaces_unavailable)
        self._needs_beginning = isinstance(self.expert, RecurrentExpert) or self.channel is not None

    def samples(self) -> Iterator[Samples]:
        """All labelled states, in blocks of single samples.

        Raises:
            InvalidActionError: A label is no action that the agent can do.
            SpaceError: A state is not of finite numbers.
        """
        known_B = np.full(self.experience.n_envs, not self._needs_beginning)
        before: States | None = None
        for states, labelled in self._blocks():
            known_TB = np.logical_or.accumulate(np.concatenate([known_B[None], states.starts]))[1:]
            known_B = known_TB[-1]
            whole = labelled if self.channel is None else self._with_step_before(states, labelled, before)
            before = states
            yield _select(whole, known_TB)

    def episodes(self) -> Iterator[Samples]:
        """The labelled states of one whole episode after the other, for students with a memory.

        What was received is drawn at random, as the step before is of `samples`.

        Raises:
            InvalidActionError, SpaceError: As of `samples`.
        """
        episodes = self.experience.episodes()
        if not episodes:
            return
        labels, probabilities = self._labels()
        for env, steps in episodes:
            states = self.experience.states(steps.start, steps.stop, env=env)
            own = None if probabilities is None else probabilities[steps, env]
            if self.channel is not None:
                received = states.observations[1:, self.channel.places]
                drawn = self.channel.encode(random_messages(self.channel.team, received.shape[:1], self._rng))
                was_sent = states.alive[:-1, self.channel.senders]
                states.observations[1:, self.channel.places] = np.where(was_sent, drawn, received)
            yield Samples(states.observations, labels[steps, env], states.alive, states.masks, own)

    def transitions(self) -> types.Transitions:
        """All labelled states as imitation's type, for its own algorithms.

        Observations `obs` [S, I] and labels `acts` [S, C] are what behavioural cloning learns from. What
        follows, `next_obs` and `dones`, is what was recorded, after another action than the label perhaps:
        it says nothing to algorithms that learn from it. Where an episode ends no state follows, and the same
        one stands in its place.

        Raises:
            InvalidActionError, SpaceError: As of `samples`.
            ValueError: Nothing was recorded.
        """
        states = self.experience.states()
        known_TB = np.logical_or.accumulate(states.starts) | (not self._needs_beginning)
        following = np.concatenate([states.observations[1:], states.observations[-1:]])
        ends_TB = np.concatenate([states.starts[1:], np.zeros_like(states.starts[:1])])
        following = np.where(ends_TB[..., None], states.observations, following)
        return types.Transitions(
            obs=states.observations[known_TB],
            acts=self._labels()[0][known_TB],
            infos=np.full(known_TB.sum(), {}),
            next_obs=following[known_TB],
            dones=ends_TB[known_TB],
        )

    def _labels(self) -> tuple[Array, Array | None]:
        """All labels [T, B, C], and all distributions [T, B, M] if they are wanted."""
        blocks = [labelled for _, labelled in self._blocks()]
        soft = [each.probabilities for each in blocks if each.probabilities is not None]
        labels: Array = np.concatenate([each.labels for each in blocks])
        return labels, np.concatenate(soft) if soft else None

    def _blocks(self) -> Iterator[tuple[States, Samples]]:
        """States, and the same as samples [T, B, ...] with labels."""
        has_memory = isinstance(self.expert, RecurrentExpert)
        act = make_actor(self.expert, self._label_rng)
        reset_actor(act, None)
        name = f"{name_of(self.expert)}.labels"
        before = 0
        for states in self.experience.blocks(BLOCK):
            n_steps, n_envs = states.starts.shape
            if not np.isfinite(states.observations).all():
                row = np.argwhere(~np.isfinite(_flat(states.observations)))[0, 0]
                raise SpaceError(
                    f"experience: observations that are no finite numbers in {_place(row, n_envs, before)}"
                )
            # All steps at once; of an expert with a memory, one after the other.
            length = 1 if has_memory else n_steps
            found = []
            for first in range(0, n_steps, length):
                steps = slice(first, first + length)
                if has_memory:
                    reset_actor(act, states.starts[first])
                observations, alive = _flat(states.observations[steps]), _flat(states.alive[steps])
                masks = None if states.masks is None else _flat(states.masks[steps])
                place = partial(_place, n_envs=n_envs, first=before + first)
                own = states.labels
                given: Any = act(observations, masks) if own is None else _flat(own[steps])
                found.append(self._rules(given, masks, alive, name if own is None else "trajectories", place))
            before += n_steps
            labels: Any = np.concatenate(found).reshape(n_steps, n_envs, -1)
            yield states, Samples(states.observations, labels, states.alive, states.masks, self._soft(states))

    def _soft(self, states: States) -> Array | None:
        """The expert's distribution in these states, [T, B, M], if it is wanted."""
        if not self.labels.soft:
            return None
        assert isinstance(self.expert, SoftExpert)
        masks = None if states.masks is None else _flat(states.masks)
        flat = self.expert.probabilities(
            _flat(states.observations), masks, temperature=self.labels.temperature
        )
        return flat.reshape(*states.starts.shape, -1)

    def _with_step_before(self, states: States, labelled: Samples, before: States | None) -> Samples:
        """The samples with the step before each: its observation, who was there to send, its masks."""
        assert self.channel is not None

        def earlier(name: str) -> Array:
            now, last = getattr(states, name), getattr(before or states, name)
            return np.concatenate([last[-1:], now[:-1]])

        previous = earlier("observations")
        drawn = self.channel.encode(random_messages(self.channel.team, previous.shape[:2], self._rng))
        recorded = previous[..., self.channel.places]
        # At the beginning of an episode nothing has been received yet: that stays as it was recorded.
        is_first = earlier("starts")[..., None]
        previous[..., self.channel.places] = np.where(is_first, recorded, drawn)
        return labelled._replace(
            previous=previous,
            follows=earlier("alive") & ~states.starts[..., None],
            previous_masks=None if states.masks is None else earlier("masks"),
        )


def random_messages(team: TeamSpaces, shape: tuple[int, ...], rng: np.random.Generator) -> Array:
    """Packed joint actions [*shape, C] whose messages are drawn uniformly; all other columns are 0."""
    packed = np.tile(team.join_actions({}), (*shape, 1))
    for column in np.flatnonzero(message_columns(team)).tolist():
        n = team.column_categories[column]
        if n:
            packed[..., column] = rng.integers(0, n, shape)
        else:
            space: Any = team.action_space  # a Box wherever a column is continuous
            packed[..., column] = rng.uniform(space.low[column], space.high[column], shape)
    return packed


def _flat(array: Array) -> Array:
    """[T, B, n] as [T * B, n]."""
    return array.reshape(-1, array.shape[-1])


def _place(row: int, n_envs: int, first: int) -> str:
    """What messages call a state: a row of `n_envs` environments by vector steps, from step `first` on."""
    return f"environment {row % n_envs}, recorded step {first + row // n_envs}"


def _select(samples: Samples, kept_TB: Flags) -> Samples:
    """The samples [T, B, ...] that are kept, as [S, ...]."""
    fields: dict[str, Any] = samples._asdict()
    return Samples(**{name: field[kept_TB] for name, field in fields.items() if field is not None})
