"""What imitation costs each agent in the states that somebody comes to."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch as th

from cesma_sb3.imitation.dataset import Batch
from cesma_sb3.imitation.losses import ColumnwiseLoss
from cesma_sb3.joint.channel import message_columns
from cesma_sb3.joint.spaces import TeamSpaces
from cesma_sb3.networks.team_policy import TeamPolicy
from cesma_sb3.price.visits import Visits

Floats = npt.NDArray[np.float64]
_CHUNK = 4096


def losses(policy: TeamPolicy, visits: Visits) -> Floats:
    """The imitation loss of each agent at each step, [S, N]; NaN where the agent is dead.

    Cross-entropy of the expert's category, squared error of its numbers, summed over the agent's columns,
    messages left out: the loss that hard labels train.

    Args:
        policy: Students without a memory.
        visits: The states, with the expert's labels.
    """
    loss = ColumnwiseLoss(policy.team, policy.head)
    found = np.full(visits.alive.shape, np.nan)
    policy.set_training_mode(False)
    with th.no_grad():
        for start in range(0, len(found), _CHUNK):
            part = slice(start, start + _CHUNK)
            masks = None if visits.masks is None else th.as_tensor(visits.masks[part])
            batch = Batch(
                th.as_tensor(visits.observations[part]),
                th.as_tensor(visits.labels[part]),
                th.as_tensor(visits.alive[part]),
                masks,
            )
            found[part] = loss.each(policy.outputs(batch.observations), batch).double().numpy()
    return np.where(visits.alive, found, np.nan)


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
