"""Controllers for tests to name: of the matching game, where one plays what one sees."""

from __future__ import annotations

import numpy as np

from cesma_sb3.spaces.team_spaces import TeamSpaces


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


def polite(observations: np.ndarray) -> np.ndarray:
    """Logits of the two agents of a `Doorway` [B, 6]: to wait is a little likelier than to go."""
    return np.tile(np.array([0.1, 0.0, -9.0], dtype=np.float32), (len(observations), 2))


def uneven(observations: np.ndarray) -> np.ndarray:
    """Logits of two agents with five actions each [B, 10], by what they see."""
    return np.cos(7.0 * observations[:, :10]).astype(np.float32)


class Polite:
    """The same as soft labels, by an object whose own labels are what is likeliest."""

    def labels(self, observations: np.ndarray, masks: np.ndarray | None = None) -> np.ndarray:
        return np.zeros((len(observations), 2), dtype=np.int64)

    def probabilities(
        self, observations: np.ndarray, masks: np.ndarray | None = None, *, temperature: float = 1.0
    ) -> np.ndarray:
        shares = np.exp(polite(observations).reshape(-1, 2, 3) / temperature)
        return (shares / shares.sum(axis=2, keepdims=True)).reshape(-1, 6).astype(np.float32)


each = {"player_0": own, "player_1": own}
nothing = 3.5
