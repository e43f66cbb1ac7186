"""What imitation leaves each agent, and to what it is lost."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from cesma_sb3.analysis.price.estimates import Floats, Row, mean_row
from cesma_sb3.analysis.price.losses import disagreements
from cesma_sb3.analysis.price.measurement import Measured, TrainedOut
from cesma_sb3.analysis.price.rollouts import Visits, with_messages_of
from cesma_sb3.policies import TeamPolicy

THIRDS = ("first", "second", "last")


def imitation_rows(measured: Measured, trained: TrainedOut | None) -> Iterator[Row]:
    """For each agent: how often it differs, its loss, and the parts of that.

    Args:
        measured: The run's two teams.
        trained: Students after all of their training, if there are any.
    """
    where = measured.of_students
    differs = disagreements(where, measured.team)
    losses = _Losses(measured, trained) if isinstance(measured.policy, TeamPolicy) else None
    for index, agent in enumerate(measured.team.agents):
        yield mean_row(
            "disagreement",
            where.of_episode(differs[:, index]),
            "share of steps",
            "Steps of the students' episodes in which the agent does something else than the expert."
            + measured.note,
            agent,
        )
        if losses is None:
            how = "Not estimated: the students are several teams, whose actions have no one loss."
            yield Row("loss", None, None, None, measured.measure.unit, how, agent)
        else:
            yield from losses.rows(index, agent)


def thirds(visits: Visits) -> npt.NDArray[np.int64]:
    """In which third of its episode each step lies, [S] in 0, 1, 2."""
    found: npt.NDArray[np.int64] = 3 * visits.times // visits.lengths[visits.episodes]
    return found


class _Losses:
    """The losses of one team, in its own states and in the expert's; of another, in the same states."""

    def __init__(self, measured: Measured, trained: TrainedOut | None) -> None:
        policy, measure = measured.policy, measured.measure
        assert isinstance(policy, TeamPolicy)
        self.measure, self.where, self.elsewhere = measure, measured.of_students, measured.of_expert
        self.own = measure(policy, self.where)
        self.on_experts = measure(policy, self.elsewhere)
        self.last = self.seeing = None
        if trained is not None:
            self.seeing = self._in_the_same_states(trained.seeing)
            self.last = None if trained.own is None else self._in_the_same_states(trained.own)
        self.least = measure.least(self.where, measured.team)
        self.is_soft = self.where.probabilities is not None

    def _in_the_same_states(self, policy: TeamPolicy) -> Floats:
        """Another team's loss where the students come to, if it had talked on the way."""
        return self.measure(policy, with_messages_of(policy, self.where))

    def rows(self, index: int, agent: str) -> Iterator[Row]:
        """The rows of one agent."""

        def row(name: str, values: Floats, how: str) -> Row:
            return mean_row(name, values, self.measure.unit, f"{how}{self.measure.note}", agent)

        loss = self.where.of_episode(self.own[:, index])
        on_experts = self.elsewhere.of_episode(self.on_experts[:, index])
        yield row("loss", loss, "Imitation loss in the students' states.")
        yield row(
            "loss in the expert's states", on_experts, "The students' loss in the states of its episodes."
        )
        how = "Loss in the students' states less loss in the expert's, episode by episode."
        yield row("lost to drifting away", loss - on_experts, how)
        part = thirds(self.where)
        for third, name in enumerate(THIRDS):
            of_third = self.where.of_episode(np.where(part == third, self.own[:, index], np.nan))
            how = "Imitation loss in these steps of the students' episodes."
            yield row(f"loss in the {name} third of the steps", of_third, how)
        if self.seeing is None:
            return
        seeing = self.where.of_episode(self.seeing[:, index])
        least = self.where.of_episode(self.least[:, index])
        last = loss if self.last is None else self.where.of_episode(self.last[:, index])
        if self.is_soft:
            how = "Loss of whoever has the expert's own distribution: its entropy, if by cross-entropy."
            yield row("least possible loss", least, how)
        how = (
            "Loss of students that see everything, trained alike to the end, in the students' states, less "
            "the least possible (the entropy of soft labels; 0 of hard ones): what networks and time leave."
        )
        yield row("lost to fitting", seeing - least, how)
        how = (
            "Loss of students with their own view, trained to the end, less that of students that see "
            "everything, in the same states, paired: the estimate of F.1's C_p for this agent, as a loss."
        )
        yield row("lost to partial observation", last - seeing, how)
        if self.last is not None:
            how = (
                "Loss of the run's students, which were kept for their return, less that of such students "
                "trained to the end, in the same states, paired."
            )
            yield row("lost to the choice of weights", loss - last, how)
