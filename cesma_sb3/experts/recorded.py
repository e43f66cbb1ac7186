"""`RecordedExpert`: what somebody did, recorded. It can be imitated, and not be asked."""

from __future__ import annotations

from typing import NoReturn

import numpy as np
import numpy.typing as npt

from cesma_sb3.errors import ExpertError
from cesma_sb3.spaces.types import Masks, Observations


class RecordedExpert:
    """Stands in for an expert where there are recorded trajectories alone, whose states have labels.

    What it returns is known (`cesma_sb3.evaluation.evaluate`).

    Args:
        returns: The team return of each recorded episode, [E]; E is 0 where no rewards were recorded.
        lengths: Timesteps of each of them, [E].
    """

    def __init__(self, returns: npt.NDArray[np.float64], lengths: npt.NDArray[np.int64]) -> None:
        self.recorded_returns = returns
        self.recorded_lengths = lengths

    def labels(self, observations: Observations, masks: Masks | None = None) -> NoReturn:
        """Refuse to label any state (`Expert.labels`).

        Raises:
            ExpertError: Always.
        """
        raise ExpertError(
            "recorded trajectories: nobody is there to ask what to do in another state; expected an expert"
        )
