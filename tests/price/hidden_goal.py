"""A game in which what partial observation costs is known: one sees a goal that the other is to name."""

from __future__ import annotations

import numpy as np
from gymnasium import spaces

from cesma_sb3.spaces.layout import AgentLayout, ObservationLayout, Part
from tests.envs_for_tests import SmallEnv

N_GOALS = 4
LENGTH = 5


class HiddenGoal(SmallEnv):
    """`sees` sees the goal, `blind` a constant. Each is to name it; what the blind one says counts."""

    def __init__(self) -> None:
        super().__init__(["sees", "blind"])
        self.metadata = {"name": "hidden-goal", "render_modes": ["rgb_array"]}

    def observation_space(self, agent: str) -> spaces.Space:
        return spaces.Box(0.0, 1.0, (N_GOALS,), np.float32)

    def action_space(self, agent: str) -> spaces.Space:
        return spaces.Discrete(N_GOALS)

    def layout(self, agent: str) -> AgentLayout:
        return AgentLayout(ObservationLayout((Part("shown", "own", 1, N_GOALS),)))

    def begin(self) -> None:
        self.goal = int(self.rng.integers(N_GOALS))

    def observe(self, agent: str) -> np.ndarray:
        shown = np.full(N_GOALS, 0.5, dtype=np.float32)
        return np.eye(N_GOALS, dtype=np.float32)[self.goal] if agent == "sees" else shown

    def step(self, actions: dict[str, int]) -> tuple[dict, dict, dict, dict, dict]:
        reward = float(actions["blind"] == self.goal)
        self.t += 1
        over, agents = self.t >= LENGTH, self.agents
        self.agents = [] if over else agents
        return (
            {agent: self.observe(agent) for agent in agents},
            dict.fromkeys(agents, reward),
            dict.fromkeys(agents, False),
            dict.fromkeys(agents, over),
            {agent: {} for agent in agents},
        )


def expert(observations: np.ndarray) -> np.ndarray:
    """Names the goal twice: joint observations [B, 8] to joint actions [B, 2]."""
    goals = observations[:, :N_GOALS].argmax(axis=1)
    return np.stack([goals, goals], axis=1)


SURE = 0.7


class Unsure:
    """Names the goal with this probability, and anything else as often as any other."""

    def labels(self, observations: np.ndarray, masks: np.ndarray | None = None) -> np.ndarray:
        return expert(observations)

    def probabilities(
        self, observations: np.ndarray, masks: np.ndarray | None = None, *, temperature: float = 1.0
    ) -> np.ndarray:
        goals = np.eye(N_GOALS)[observations[:, :N_GOALS].argmax(axis=1)]
        shares = np.where(goals > 0, SURE, (1 - SURE) / (N_GOALS - 1))
        return np.tile(shares, (1, 2)).astype(np.float32)


unsure = Unsure()
