"""Collection of labelled observations: students act, the expert labels."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from cesma_sb3.envs.joint_vec_env import JointVecEnv
from cesma_sb3.envs.rollouts import Rollout, ValidatedActor, reset_actor
from cesma_sb3.errors import ExpertError
from cesma_sb3.experts.base import Expert, RecurrentExpert, SoftExpert
from cesma_sb3.experts.wrappers import make_actor, name_of
from cesma_sb3.imitation.dataset import Samples
from cesma_sb3.imitation.settings import LabelConfig
from cesma_sb3.policies.stateful_actor import DeviceState, MemoryActor, predict_on_device
from cesma_sb3.policies.team_policy import TeamPolicy
from cesma_sb3.spaces.communication import MessageChannel, message_columns
from cesma_sb3.spaces.team_spaces import TeamSpaces
from cesma_sb3.spaces.types import Actor, Masks, Observations, Packed
from cesma_sb3.utils.stateful import Stateful


def check_labels(labels: LabelConfig, expert: Expert, team: TeamSpaces) -> None:
    """Check that an expert has the labels that are wanted.

    Raises:
        ExpertError: Soft labels are wanted of an expert that has none or that has a memory, or of a team
            without categories.
    """
    if labels.soft and not isinstance(expert, SoftExpert):
        raise ExpertError(f"{name_of(expert)}: has no `probabilities`: expected hard labels")
    if labels.soft and isinstance(expert, RecurrentExpert):
        raise ExpertError(f"{name_of(expert)}: has a memory, and no soft labels: expected hard labels")
    if labels.soft and team.is_continuous:
        raise ExpertError(
            "soft labels: this team's actions are continuous, without categories: expected hard labels"
        )


class Collector(Stateful):
    """Collection of labelled observations, one vector step at a time.

    A step is lines 2 to 5 of Algorithm 1, or 2 to 4 of Algorithm 2: act, label, step.

    Each sample of a team that communicates holds the step before too. Where the expert acts, the students
    still send their messages: the expert has none.

    Args:
        venv: Batched joint environment in the `joint` action view.
        students: The actor of the students, such as `students_actor`.
        expert: Labels every joint observation.
        beta: Probability that the expert acts in the students' place, by round, as imitation's
            `BetaSchedule`. The paper's is 0.
        beta_per_agent: Draw for each agent by itself in place of the whole team.
        labels: Whether to keep the expert's distribution too.
        rng: Draws who acts.
        label_rng: Draws the labels of an expert that samples; None: they are always the same draws.

    Raises:
        ExpertError: As of `check_labels`.
    """

    state_attributes = ("_rollout", "_previous")

    def __init__(
        self,
        venv: JointVecEnv,
        students: Actor,
        expert: Expert,
        *,
        beta: Callable[[int], float],
        beta_per_agent: bool,
        labels: LabelConfig,
        rng: np.random.Generator,
        label_rng: np.random.Generator | None = None,
    ) -> None:
        check_labels(labels, expert, venv.team)
        self.expert = expert
        self.beta = beta
        self.labels = labels
        self.communicates = MessageChannel.of(venv.team) is not None
        self._actor = _MixedActor(
            venv, students, expert, beta_per_agent=beta_per_agent, rng=rng, label_rng=label_rng
        )
        self._rollout = Rollout(venv, self._actor)
        self._previous: tuple[Observations, npt.NDArray[np.bool_], Masks | None] | None = None

    def reset(self) -> None:
        """Begin new episodes at the next step; others may use the environments until then."""
        self._rollout.reset()

    def step(self, round_number: int) -> tuple[Samples, npt.NDArray[np.bool_]]:
        """Step every environment once.

        Args:
            round_number: The round of the beta schedule, from 0.

        Returns:
            The labelled observations of this step, and which episodes ended with it, [B].

        Raises:
            InvalidActionError: A label has another shape, is not a number, or is no action that the agent can
                do.
        """
        self._actor.beta = self.beta(round_number)
        step = next(self._rollout)
        probabilities = None
        if self.labels.soft:
            assert isinstance(self.expert, SoftExpert)
            probabilities = self.expert.probabilities(
                step.observations, step.masks, temperature=self.labels.temperature
            )
        samples = Samples(step.observations, self._actor.labels, step.alive, step.masks, probabilities)
        if self.communicates:
            seen = step.observations, step.alive, step.masks
            observations, alive, masks = self._previous or seen
            self._previous = seen
            samples = samples._replace(
                previous=observations, follows=alive & ~step.starts[:, None], previous_masks=masks
            )
        return samples, step.dones


class _MixedActor(Stateful):
    """An actor by which the students act; the expert labels, and acts instead with probability `beta`."""

    state_attributes = ("_rng", "_label_rng", "_students", "_label")

    def __init__(
        self,
        venv: JointVecEnv,
        students: Actor,
        expert: Expert,
        *,
        beta_per_agent: bool,
        rng: np.random.Generator,
        label_rng: np.random.Generator | None,
    ) -> None:
        self.beta = 0.0
        self.labels: Packed = np.zeros(0, dtype=np.int64)
        """Labels of the step before, [B, n_columns]."""
        self._venv = venv
        self._students = students
        self._expert = expert
        self._rng = rng
        self._label_rng = label_rng
        self._n_draws = venv.team.n_agents if beta_per_agent else 1
        self._column_counts = [columns.stop - columns.start for columns in venv.team.action_columns]
        self._is_message_C = message_columns(venv.team)
        self._label = self._new_labeller()

    def _new_labeller(self) -> ValidatedActor:
        name = f"{name_of(self._expert)}.labels"
        return ValidatedActor(make_actor(self._expert, self._label_rng), self._venv, name)

    def reset(self, episode_starts: npt.NDArray[np.bool_] | None) -> None:
        """Make students and expert forget the episodes that have ended.

        Args:
            episode_starts: As in `reset_actor`.
        """
        if episode_starts is None:
            self._label = self._new_labeller()
        reset_actor(self._label, episode_starts)
        reset_actor(self._students, episode_starts)

    def __call__(self, observations: Observations, masks: Masks | None) -> Packed:
        """Joint actions [B, n_columns]."""
        # Students learn the action that the environment takes in place of an unavailable label.
        self.labels = self._label(observations, masks)
        actions = self._students(observations, masks)
        if self.beta <= 0:
            return actions
        by_expert = self._rng.random((len(actions), self._n_draws)) < self.beta
        by_expert_BN = np.broadcast_to(by_expert, (len(actions), len(self._column_counts)))
        by_expert_BC = np.repeat(by_expert_BN, self._column_counts, axis=1) & ~self._is_message_C
        return np.where(by_expert_BC, self.labels, actions)


def students_actor(policy: TeamPolicy, *, deterministic: bool) -> MemoryActor:
    """Make the actor of students that learn; it samples from PyTorch's global generator.

    Messages are never sampled: receivers learn from the likeliest ones (`TeamPolicy.step`).

    Args:
        policy: The students, whose weights may change.
        deterministic: Take the likeliest action in place of a sample.
    """
    communicates = MessageChannel.of(policy.team) is not None
    is_message_C = message_columns(policy.team)

    def predict(
        observations: Observations, state: DeviceState | None, starts: Masks, masks: Masks | None
    ) -> tuple[Packed, DeviceState | None]:
        predict_step = predict_on_device(policy)
        actions, after = predict_step(observations, state, starts, deterministic, masks)
        if communicates and not deterministic:
            likeliest, _ = predict_step(observations, state, starts, deterministic=True, action_masks=masks)
            actions = np.where(is_message_C, likeliest, actions)
        return actions, after

    return MemoryActor(predict)
