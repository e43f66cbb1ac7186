"""A speaker that cannot act, a listener that cannot see, and an expert that does not talk."""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium import spaces

from cesma_sb3.policies.stateful_actor import MemoryActor
from cesma_sb3.spaces.layout import ActionPart, AgentLayout, ObservationLayout, Part
from tests.envs_for_tests import SmallEnv


class SignallingGame(SmallEnv):
    """The speaker sees the goal, one-hot; the listener hears the speaker and is to choose the goal.

    A message is heard one step after it was said, so the first step counts for nothing: the best return is
    `length - 1`, and without communication it is that divided by `n_goals`.
    """

    def __init__(self, n_goals: int = 4, length: int = 5) -> None:
        super().__init__(["speaker", "listener"])
        self.n_goals, self.length = n_goals, length
        self.metadata = {"name": "signalling", "render_modes": ["rgb_array"]}

    def observation_space(self, agent: str) -> spaces.Space:
        return spaces.Box(0.0, 1.0, (self.n_goals,), np.float32)

    def action_space(self, agent: str) -> spaces.Space:
        return spaces.Discrete(self.n_goals)

    def layout(self, agent: str) -> AgentLayout:
        heard = Part("heard", "message", 1, self.n_goals)
        if agent == "listener":
            return AgentLayout(ObservationLayout((heard,)), (ActionPart("choice", "move"),))
        goal = Part("goal", "own", 1, self.n_goals)
        return AgentLayout(ObservationLayout((goal,)), (ActionPart("says", "message"),))

    def begin(self) -> None:
        self.goal = int(self.rng.integers(self.n_goals))
        self.said: int | None = None

    def observe(self, agent: str) -> np.ndarray:
        shown = self.goal if agent == "speaker" else self.said
        one_hot = np.zeros(self.n_goals, dtype=np.float32)
        if shown is not None:
            one_hot[shown] = 1.0
        return one_hot

    def step(self, actions: dict[str, int]) -> tuple[dict, dict, dict, dict, dict]:
        reward = float(self.t > 0 and actions["listener"] == self.goal)
        self.said = int(actions["speaker"])
        self.t += 1
        over = self.t >= self.length
        agents = self.agents
        self.agents = [] if over else agents
        return (
            {agent: self.observe(agent) for agent in agents},
            dict.fromkeys(agents, reward),
            dict.fromkeys(agents, False),
            dict.fromkeys(agents, over),
            {},
        )


class SilentGoalExpert:
    """Knows the goal, tells the listener to choose it, and leaves the message at category 0."""

    def labels(self, observations: Any, masks: Any = None) -> Any:
        goals = observations[:, : observations.shape[1] // 2].argmax(axis=1)
        return np.stack([np.zeros_like(goals), goals], axis=1)


class RecallGame(SignallingGame):
    """The speaker sees the goal in the first step alone, and the listener's choices count from the third on.

    The best return is `length - 2`, and that divided by `n_goals` where nobody remembers, or nobody speaks.
    """

    def observe(self, agent: str) -> np.ndarray:
        return super().observe(agent) * np.float32(agent == "listener" or self.t == 0)

    def step(self, actions: dict[str, int]) -> tuple[dict, dict, dict, dict, dict]:
        counts = self.t > 1
        seen, rewards, *rest = super().step(actions)
        return seen, {agent: reward * counts for agent, reward in rewards.items()}, *rest


class RecallExpert(SilentGoalExpert):
    """Remembers the goal that was shown."""

    def actor(self) -> MemoryActor:
        def remembered(observations: Any, state: Any, starts: Any, masks: Any) -> Any:
            shown = self.labels(observations)
            known = shown if state is None else np.where(starts[:, None], shown, state[0])
            return known, (known,)

        return MemoryActor(remembered)
