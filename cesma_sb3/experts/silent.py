"""An expert of the silent team as an expert of the full one.

Source: section 4.4: the labels are the expert's actions on physical observations.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from cesma_sb3.experts.protocol import Actions, Expert, Masks, Observations, SoftExpert
from cesma_sb3.joint.silent import SilentTeam
from cesma_sb3.joint.spaces import TeamSpaces


class SilentExpert:
    """Labels a team that talks by an expert that neither hears nor talks.

    Message columns of its labels are category 0, or the number nearest to 0: they are no example to follow.
    It is a `SoftExpert` where the expert is one.

    Args:
        expert: Labels observations of `silent_team(full_team)`.
        full_team: The team that is labelled.
    """

    def __init__(self, expert: Expert, full_team: TeamSpaces) -> None:
        self.expert = expert
        self.silent = SilentTeam(full_team)
        # Only on the object, so that `isinstance(..., SoftExpert)` is true of what the expert can do.
        if isinstance(expert, SoftExpert):
            self.probabilities = self._probabilities

    def labels(self, observations: Observations, masks: Masks | None = None) -> Actions:
        """See `Expert.labels`, of the full team."""
        heard_nothing = self.silent.observations(observations)
        return self.silent.actions(self.expert.labels(heard_nothing, self._masks(masks)))

    def _probabilities(
        self, observations: Observations, masks: Masks | None = None, *, temperature: float = 1.0
    ) -> npt.NDArray[np.float32]:
        """See `SoftExpert.probabilities`, of the full team; of each message, category 0 is certain."""
        assert isinstance(self.expert, SoftExpert)
        heard_nothing = self.silent.observations(observations)
        silent = self.expert.probabilities(heard_nothing, self._masks(masks), temperature=temperature)
        return self.silent.probabilities(silent)

    def _masks(self, masks: Masks | None) -> Masks | None:
        return None if masks is None else self.silent.masks(masks)
