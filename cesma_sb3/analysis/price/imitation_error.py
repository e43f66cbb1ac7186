"""Estimates of each agent's imitation error, and of what causes it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from cesma_sb3.analysis.price.estimates import Estimate, Floats, mean_estimate, not_estimated
from cesma_sb3.analysis.price.losses import disagreements
from cesma_sb3.analysis.price.measurement import ComparisonStudents, GapMeasurement
from cesma_sb3.analysis.price.rollouts import Rollouts, with_messages_of
from cesma_sb3.policies import TeamPolicy

THIRDS = ("first", "second", "last")


def imitation_error(measurement: GapMeasurement, trained: ComparisonStudents | None) -> Iterator[Estimate]:
    """Estimate how often each agent disagrees with the expert, its loss, and the parts of its loss.

    Args:
        measurement: The run's two teams.
        trained: Students that were trained for comparison, if there are any.
    """
    rollouts = measurement.students_rollouts
    disagrees = disagreements(rollouts, measurement.team)
    losses = _Losses(measurement, trained) if isinstance(measurement.policy, TeamPolicy) else None
    for index, agent in enumerate(measurement.team.agents):
        how = "Steps of the students' episodes in which the agent acts differently from the expert."
        shares = rollouts.episode_means(disagrees[:, index])
        yield mean_estimate("disagreement", shares, "share of steps", how + measurement.note, agent)
        if losses is None:
            why = "the students are an ensemble of teams, which has no loss of its own"
            yield not_estimated("loss", measurement.step_loss.unit, why, agent)
        else:
            yield from losses.estimates(index, agent)


def thirds(rollouts: Rollouts) -> npt.NDArray[np.int64]:
    """Return in which third of its episode each step lies, [S] in 0, 1, 2."""
    third: npt.NDArray[np.int64] = 3 * rollouts.times // rollouts.lengths[rollouts.episodes]
    return third


class _Losses:
    """Losses of the run's students in their states and in the expert's, and of others in the same states."""

    def __init__(self, measurement: GapMeasurement, trained: ComparisonStudents | None) -> None:
        policy, loss = measurement.policy, measurement.step_loss
        assert isinstance(policy, TeamPolicy)
        self.step_loss = loss
        self.rollouts, self.expert_rollouts = measurement.students_rollouts, measurement.expert_rollouts
        self.of_run = loss(policy, self.rollouts)
        self.of_run_at_expert = loss(policy, self.expert_rollouts)
        self.least = loss.least(self.rollouts, measurement.team)
        self.own_view = self.joint_view = None
        if trained is not None:
            self.joint_view = self._of_others(trained.joint_view)
            self.own_view = None if trained.own_view is None else self._of_others(trained.own_view)

    def _of_others(self, policy: TeamPolicy) -> Floats:
        """Return another team's loss in the states of the run's students, with its own messages."""
        return self.step_loss(policy, with_messages_of(policy, self.rollouts))

    def estimates(self, index: int, agent: str) -> Iterator[Estimate]:
        """Estimate the loss of one agent and its parts."""

        def estimate(name: str, values: Floats, how: str) -> Estimate:
            return mean_estimate(name, values, self.step_loss.unit, f"{how}{self.step_loss.note}", agent)

        means = self.rollouts.episode_means
        loss = means(self.of_run[:, index])
        at_expert = self.expert_rollouts.episode_means(self.of_run_at_expert[:, index])
        yield estimate("loss", loss, "Imitation loss in the students' states.")
        how = "The students' loss in the states of its episodes."
        yield estimate("loss in the expert's states", at_expert, how)
        how = "Loss in the students' states less loss in the expert's, episode by episode."
        yield estimate("lost to drifting away", loss - at_expert, how)
        third_of_step = thirds(self.rollouts)
        for third, name in enumerate(THIRDS):
            of_third = means(np.where(third_of_step == third, self.of_run[:, index], np.nan))
            how = "Imitation loss in these steps of the students' episodes."
            yield estimate(f"loss in the {name} third of the steps", of_third, how)
        if self.joint_view is None:
            return
        joint_view, least = means(self.joint_view[:, index]), means(self.least[:, index])
        own_view = loss if self.own_view is None else means(self.own_view[:, index])
        if self.rollouts.probabilities is not None:
            how = "Loss of a student with the expert's own distribution: its entropy, if by cross-entropy."
            yield estimate("least possible loss", least, how)
        how = (
            "Loss of students that see everything, trained alike to the end, in the students' states, less "
            "the least possible (the entropy of soft labels; 0 of hard ones): what networks and training "
            "time leave."
        )
        yield estimate("lost to fitting", joint_view - least, how)
        how = (
            "Loss of students with their own view, trained to the end, less that of students that see "
            "everything, in the same states, paired: the estimate of F.1's C_p for this agent, as a loss."
        )
        yield estimate("lost to partial observation", own_view - joint_view, how)
        if self.own_view is not None:
            how = (
                "Loss of the run's students, which were kept for their return, less that of such students "
                "trained to the end, in the same states, paired."
            )
            yield estimate("lost to the choice of weights", loss - own_view, how)
