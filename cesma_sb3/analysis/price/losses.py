"""Imitation losses and disagreements of single steps.

Shape suffixes: S steps, N agents, T timesteps, E episodes, I entries of joint observations.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
import torch as th

from cesma_sb3.analysis.price.estimates import Floats
from cesma_sb3.analysis.price.rollouts import Rollouts
from cesma_sb3.config.schema import DaggerConfig
from cesma_sb3.imitation.dataset import Batch
from cesma_sb3.imitation.losses import ColumnwiseLoss, LossName
from cesma_sb3.policies.team_policy import TeamPolicy
from cesma_sb3.spaces.communication import message_columns
from cesma_sb3.spaces.team_spaces import TeamSpaces

_CHUNK = 4096
"""Steps that pass through the networks at once."""
_EPISODES = 128
"""Episodes that are unrolled at once."""


@dataclasses.dataclass(frozen=True)
class StepLoss:
    """The loss that the students were trained with, without what is not defined for a single step."""

    kind: LossName
    unit: str
    """`nats` of cross-entropy, `squares` of squared errors, or `nats and squares`."""
    note: str
    """How it differs from the loss of the training; empty where it is the same."""

    @classmethod
    def of(cls, config: DaggerConfig, team: TeamSpaces) -> StepLoss:
        """Return the loss of a DAgger configuration for this team."""
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

    def __call__(self, policy: TeamPolicy, rollouts: Rollouts) -> Floats:
        """Return the loss of each agent at each step, [S, N]; NaN where the agent is dead.

        It is summed over the agent's columns; messages are left out.

        Args:
            policy: Students, or a team that is built as they are.
            rollouts: The states, with the expert's labels and, if those were imitated, its soft labels.
        """
        loss = ColumnwiseLoss(policy.team, policy.head, self.kind)
        policy.set_training_mode(False)
        with th.no_grad():
            losses = loss.each(_outputs(policy, rollouts), _batch(rollouts))
        return np.where(rollouts.alive, losses.double().numpy(), np.nan)

    def least(self, rollouts: Rollouts, team: TeamSpaces) -> Floats:
        """Return the least possible loss, [S, N]; NaN where the agent is dead.

        It is the entropy of the expert's soft labels where those were imitated by cross-entropy, else 0.
        """
        least = np.zeros(rollouts.alive.shape)
        if rollouts.probabilities is not None and self.kind != "mse":
            sends = message_columns(team)
            for agent, columns in enumerate(team.action_columns):
                for column in range(*columns.indices(team.n_columns)):
                    categories = team.column_masks[column]
                    if sends[column] or categories.start == categories.stop:
                        continue
                    shares = rollouts.probabilities[:, categories].astype(np.float64)
                    logs = np.log(np.where(shares > 0, shares, 1.0))
                    least[:, agent] -= (shares * logs).sum(axis=1)
        return np.where(rollouts.alive, least, np.nan)


def _slices(total: int, size: int) -> list[slice]:
    return [slice(start, start + size) for start in range(0, total, size)]


def _batch(rollouts: Rollouts) -> Batch:
    masks, probabilities = (
        None if array is None else th.as_tensor(array) for array in (rollouts.masks, rollouts.probabilities)
    )
    return Batch(
        th.as_tensor(rollouts.observations),
        th.as_tensor(rollouts.labels),
        th.as_tensor(rollouts.alive),
        masks,
        probabilities,
    )


def _outputs(policy: TeamPolicy, rollouts: Rollouts) -> th.Tensor:
    """Return network outputs at each step, [S, outputs]; a memory holds the step's episode up to there."""
    if not policy.is_recurrent:
        parts = [
            policy.outputs(th.as_tensor(rollouts.observations[where]))
            for where in _slices(len(rollouts.times), _CHUNK)
        ]
        return th.cat(parts)
    longest = int(rollouts.times.max()) + 1
    shape = (longest, rollouts.n_episodes, rollouts.observations.shape[1])
    observations_TEI = np.zeros(shape, dtype=np.float32)  # episodes that are shorter end in padding
    observations_TEI[rollouts.times, rollouts.episodes] = rollouts.observations
    unrolled = [
        policy.unroll(th.as_tensor(observations_TEI[:, where]))
        for where in _slices(rollouts.n_episodes, _EPISODES)
    ]
    return th.cat(unrolled, dim=1)[rollouts.times, rollouts.episodes]


def disagreements(rollouts: Rollouts, team: TeamSpaces) -> Floats:
    """Return where each agent acts differently from the expert, [S, N] as 0 and 1; NaN where it is dead.

    Messages do not count. Continuous actions differ if they are further apart than a hundredth of their
    range.
    """
    sends, disagrees = message_columns(team), np.zeros(rollouts.alive.shape)
    for agent, columns in enumerate(team.action_columns):
        for column in range(*columns.indices(team.n_columns)):
            if not sends[column]:
                differs = _differ(rollouts.actions[:, column], rollouts.labels[:, column], column, team)
                disagrees[:, agent] = np.maximum(disagrees[:, agent], differs)
    return np.where(rollouts.alive, disagrees, np.nan)


def _differ(
    actions: npt.NDArray[np.generic], labels: npt.NDArray[np.generic], column: int, team: TeamSpaces
) -> npt.NDArray[np.bool_]:
    if team.column_categories[column]:
        return np.asarray(actions != labels)
    space = team.action_space
    span = float(np.asarray(space.high)[column] - np.asarray(space.low)[column])  # type: ignore[attr-defined]
    return np.asarray(np.abs(actions.astype(np.float64) - labels.astype(np.float64)) > 0.01 * span)
