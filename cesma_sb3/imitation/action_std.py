"""How far students that draw numbers spread around their means.

Shape suffixes: B batch, D continuous columns.
"""

from __future__ import annotations

import numpy as np
import torch as th

from cesma_sb3.imitation.dataset import Batch
from cesma_sb3.policies.team_policy import TeamPolicy
from cesma_sb3.utils.stateful import Stateful


class Spread(Stateful):
    """The standard deviations of students that draw their numbers: those of the labels around their means.

    The squared error says where the labels are centred and not how far they are spread. Students that act
    deterministically have no use for it, and are left as they are.

    Args:
        policy: The students, whose `log_std` is set.
    """

    state_attributes = ("_n_fits", "_variance_D")

    def __init__(self, policy: TeamPolicy) -> None:
        self._policy = policy
        self._n_fits = 0
        self._variance_D = th.ones(policy.head.n_continuous)
        columns = [c for c, n in enumerate(policy.team.column_categories) if n == 0]
        owners = np.repeat(
            np.arange(policy.team.n_agents), [own.stop - own.start for own in policy.team.action_columns]
        )
        self._owners_D = owners[columns].tolist()

    def fit(self, outputs: th.Tensor, batch: Batch) -> None:
        """Takes a batch into account: the newest hundred weigh most."""
        head = self._policy.head
        if self._policy.acts_deterministically or not head.n_continuous:
            return
        self._n_fits += 1
        errors_BD = (head.means(outputs) - head.unpack(batch.labels)[1]).square()
        alive_BD = batch.alive[:, self._owners_D].to(errors_BD.dtype)
        now_D = (errors_BD * alive_BD).sum(dim=0) / alive_BD.sum(dim=0).clamp(min=1.0)
        self._variance_D = self._variance_D.to(now_D.device).lerp(now_D, max(0.01, 1.0 / self._n_fits))
        self._policy.log_std.data.copy_(0.5 * self._variance_D.clamp(min=1e-8).log())
