"""What imitation costs each agent in the states that somebody comes to, by the loss that trained it.

Shape suffixes: S steps, N agents, T timesteps, E episodes, M categories of all columns.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt
import torch as th

from cesma_sb3.analysis.price.rollouts import Visits
from cesma_sb3.config.schema import DaggerConfig
from cesma_sb3.imitation.dataset import Batch
from cesma_sb3.imitation.losses import ColumnwiseLoss, LossName
from cesma_sb3.policies.team_policy import TeamPolicy
from cesma_sb3.spaces.communication import message_columns
from cesma_sb3.spaces.team_spaces import TeamSpaces

Floats = npt.NDArray[np.float64]
_CHUNK = 4096
_EPISODES = 128


@dataclasses.dataclass(frozen=True)
class Measure:
    """The loss that the students were trained with, less what cannot be known of a single step."""

    kind: LossName
    unit: str
    """`nats` of cross-entropy, `squares` of squared errors."""
    note: str
    """In what it is not the one of the training; empty where it is the same."""

    @classmethod
    def of(cls, config: DaggerConfig, team: TeamSpaces) -> Measure:
        """The loss of these values in this team."""
        kind: LossName = config.loss if config.loss_class is None else "auto"
        if kind == "mse" or team.is_continuous:
            unit = "squares"
        else:
            unit = "nats" if team.is_discrete else "nats and squares"
        note = ""
        if config.loss_class is not None:
            note = f" It is the loss of `auto`, for {config.loss_class} has none of single steps."
        elif config.class_weights != "none":
            note = " All labels weigh the same here."
        return cls(kind, unit, note)

    def __call__(self, policy: TeamPolicy, visits: Visits) -> Floats:
        """The loss of each agent at each step, [S, N]; NaN where the agent is dead.

        Summed over the agent's columns, messages left out.

        Args:
            policy: Students, or what is built as they are.
            visits: The states, with the expert's labels; with its distribution, if that was imitated.
        """
        loss = ColumnwiseLoss(policy.team, policy.head, self.kind)
        policy.set_training_mode(False)
        with th.no_grad():
            outputs = _outputs(policy, visits)
            parts = [
                loss.each(outputs[where], _batch(visits, where))
                for where in _slices(len(visits.times), _CHUNK)
            ]
        return np.where(visits.alive, th.cat(parts).double().numpy(), np.nan)

    def least(self, visits: Visits, team: TeamSpaces) -> Floats:
        """The loss of whoever does just what is imitated, [S, N]; NaN where the agent is dead.

        The entropy of the expert's distribution where that was imitated by cross-entropy, else 0.
        """
        found = np.zeros(visits.alive.shape)
        if visits.probabilities is not None and self.kind != "mse":
            says = message_columns(team)
            owners = [
                agent for agent, own in enumerate(team.action_columns) for _ in range(team.n_columns)[own]
            ]
            for column, where in enumerate(team.column_masks):
                if says[column] or where.start == where.stop:
                    continue
                shares = visits.probabilities[:, where].astype(np.float64)
                logs = np.log(np.where(shares > 0, shares, 1.0))
                found[:, owners[column]] -= (shares * logs).sum(axis=1)
        return np.where(visits.alive, found, np.nan)


def _slices(total: int, size: int) -> list[slice]:
    return [slice(start, start + size) for start in range(0, total, size)]


def _batch(visits: Visits, where: slice) -> Batch:
    def tensor(array: npt.NDArray[Any] | None) -> th.Tensor | None:
        return None if array is None else th.as_tensor(array[where])

    return Batch(
        th.as_tensor(visits.observations[where]),
        th.as_tensor(visits.labels[where]),
        th.as_tensor(visits.alive[where]),
        tensor(visits.masks),
        tensor(visits.probabilities),
    )


def _outputs(policy: TeamPolicy, visits: Visits) -> th.Tensor:
    """Network outputs at each step, [S, outputs]: with a memory, those of its episode up to there."""
    if not policy.is_recurrent:
        parts = [
            policy.outputs(th.as_tensor(visits.observations[where]))
            for where in _slices(len(visits.times), _CHUNK)
        ]
        return th.cat(parts)
    longest = int(visits.times.max()) + 1
    shape = (longest, visits.n_episodes, visits.observations.shape[1])
    observations_TEI = np.zeros(shape, dtype=np.float32)  # episodes that are shorter end in padding
    observations_TEI[visits.times, visits.episodes] = visits.observations
    unrolled = [
        policy.unroll(th.as_tensor(observations_TEI[:, where]))
        for where in _slices(visits.n_episodes, _EPISODES)
    ]
    return th.cat(unrolled, dim=1)[visits.times, visits.episodes]


def disagreements(visits: Visits, team: TeamSpaces) -> Floats:
    """Where each agent does something else than the expert would, [S, N] as 0 and 1; NaN where it is dead.

    What is said does not count. Numbers differ if they are further apart than a hundredth of their range.
    """
    says, found = message_columns(team), np.zeros(visits.alive.shape)
    for agent, columns in enumerate(team.action_columns):
        for column in range(*columns.indices(team.n_columns)):
            if says[column]:
                continue
            mine, wanted = visits.actions[:, column], visits.labels[:, column]
            found[:, agent] = np.maximum(found[:, agent], _differs(mine, wanted, column, team))
    return np.where(visits.alive, found, np.nan)


def _differs(
    mine: npt.NDArray[np.generic], wanted: npt.NDArray[np.generic], column: int, team: TeamSpaces
) -> npt.NDArray[np.bool_]:
    if team.column_categories[column]:
        return np.asarray(mine != wanted)
    space = team.action_space
    span = float(np.asarray(space.high)[column] - np.asarray(space.low)[column])  # type: ignore[attr-defined]
    return np.asarray(np.abs(mine.astype(np.float64) - wanted.astype(np.float64)) > 0.01 * span)
