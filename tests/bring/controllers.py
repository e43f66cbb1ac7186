"""Controllers for tests to name: of the matching game, where one plays what one sees."""

from __future__ import annotations

import numpy as np

from cesma_sb3.joint.spaces import TeamSpaces


def joint(observations: np.ndarray) -> np.ndarray:
    """Joint observations [B, 6] -> packed joint actions [B, 2]."""
    return observations.reshape(len(observations), 2, 3).argmax(axis=2)


def own(observation: np.ndarray) -> int:
    """One agent's observation [3] -> its action."""
    return int(observation.argmax())


class Shifted:
    """Plays what it sees, and `by` more."""

    def __init__(self, team: TeamSpaces, by: int = 0) -> None:
        self.n, self.by = team.n_agents, by

    def labels(self, observations: np.ndarray, masks: np.ndarray | None = None) -> np.ndarray:
        return (joint(observations) + self.by) % 3


each = {"player_0": own, "player_1": own}
nothing = 3.5
