"""`RecordedExpert`: what somebody did, recorded. It can be imitated, and not be asked."""

from __future__ import annotations

from typing import NoReturn

import numpy as np
import numpy.typing as npt

from cesma_sb3.envs.experience import Experience
from cesma_sb3.errors import ExpertError
from cesma_sb3.spaces.types import Masks, Observations, Packed


class RecordedExpert:
    """Recorded trajectories in the place of an expert: labels of recorded states alone.

    Args:
        experience: The states, of one environment.
        actions: What was done in each of them, packed joint actions [T, 1, C].
        returns: The team return of each recorded episode, [E]; None where no rewards were recorded.
        lengths: Timesteps of each recorded episode, [E].
    """

    def __init__(
        self,
        experience: Experience,
        actions: Packed,
        returns: npt.NDArray[np.float64] | None,
        lengths: npt.NDArray[np.int64],
    ) -> None:
        self.experience = experience
        self.actions = actions
        self.returns = returns
        self.lengths = lengths

    @property
    def mean_return(self) -> float | None:
        """The mean team return of the recorded episodes; None where no rewards were recorded."""
        return None if self.returns is None else float(self.returns.mean())

    def labels(self, observations: Observations, masks: Masks | None = None) -> NoReturn:
        """Refuse to label anything else (`Expert.labels`).

        Raises:
            ExpertError: Always.
        """
        raise ExpertError(
            "recorded trajectories: nobody is there to ask what to do in another state; expected an expert"
        )
