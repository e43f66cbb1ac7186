"""Analytically derived experts of the navigation tasks: who goes where, then steering.

Source: section 4.1 ("or potentially even analytically derived experts"). They are also the reference of the
normalised score: 1 is what they reach.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

from cesma_sb3.envs.particle.goals import GOAL
from cesma_sb3.envs.particle.world import Body
from cesma_sb3.errors import ExpertError
from cesma_sb3.experts.scripted.crowd import UNCERTAINTY
from cesma_sb3.experts.scripted.steering import Steering, columns_of
from cesma_sb3.experts.wrappers import Sampler
from cesma_sb3.spaces.team_spaces import TeamSpaces
from cesma_sb3.spaces.types import Masks, Observations, Packed

Floats = npt.NDArray[np.float64]
Index = npt.NDArray[np.int64]
Assignment = Literal["best", "greedy"]


class _SteeringExpert:
    """What both experts do once they know where each agent should be.

    Attributes:
        sampler: None: the costs of moves are no distribution to act by.
    """

    sampler: Sampler | None = None

    def __init__(
        self,
        team: TeamSpaces,
        bodies: Sequence[Body],
        agents: Sequence[int],
        collision_cost: float,
        uncertainty: float,
    ) -> None:
        if len(bodies) != team.n_agents:
            raise ExpertError(f"scripted expert: {len(bodies)} bodies for {team.n_agents} agents")
        self.team = team
        bodies = [bodies[agent] for agent in agents]
        self._steering = Steering(team, bodies, agents, collision_cost, uncertainty)
        self._landmarks = _landmark_columns(team, agents)  # [K, L, 2]
        # Only on the object, so that `isinstance(..., SoftExpert)` is true of what the expert can do.
        if team.is_discrete:
            self.probabilities = self._probabilities

    def labels(self, observations: Observations, masks: Masks | None = None) -> Packed:
        """The joint action of the scripted controller (`Expert.labels`); continuous moves are full pushes."""
        return self._steering.actions(self._costs(observations))

    def _probabilities(
        self, observations: Observations, masks: Masks | None = None, *, temperature: float = 1.0
    ) -> npt.NDArray[np.float32]:
        """Soft labels (`SoftExpert.probabilities`): the softmax of minus what each move costs."""
        return self._steering.probabilities(self._costs(observations), temperature)

    def _costs(self, observations: Observations) -> Floats:
        """What each move costs each steered agent, [B, K, moves]."""
        observed = np.asarray(observations, dtype=np.float64)
        to_landmarks = observed[:, self._landmarks]
        choice = self._choose(observed, to_landmarks)
        # All see the same landmarks: the first is the origin.
        positions = -to_landmarks[:, :, 0]
        chosen = np.take_along_axis(to_landmarks, choice[:, :, None, None], axis=2)[:, :, 0]
        return self._steering.costs(observed, positions, positions + chosen)

    def _choose(self, observed: Floats, to_landmarks: Floats) -> Index:
        """The landmark of each steered agent, [B, K], from observations [B, I] and [B, K, L, 2] of them."""
        raise NotImplementedError


class ScriptedNavigationExpert(_SteeringExpert):
    """An expert that assigns landmarks, and steers each agent to its own.

    Every step is decided anew from the joint observation alone. An agent is steered by trying each push,
    letting the agent coast, and taking the push that keeps it nearest to its landmark over the next steps
    with the fewest collisions; agents whose paths meet choose as `Crowd` says.

    Args:
        team: A team whose layouts have the parts `velocity` and `landmarks` (relative positions).
        bodies: The agents' bodies (acceleration, mass, top speed, size), in the order of the team.
        collision_cost: What a colliding pair of agents costs for a step, in units of distance. 1 is the
            paper's reward; 0: agents do not look out for each other.
        uncertainty: Of the distance of two agents, for each step that it is predicted ahead, in units of
            distance, more than 0. The larger, the more distance they keep.
        assignment: `best`: by the least sum of distance times travel time. `greedy`: the shortest travel time
            first, then the shortest of the agents and landmarks that are left; which landmark is an agent's
            then depends on less of the team.

    Raises:
        ExpertError: The team's layouts lack these parts, or there are fewer landmarks than agents.
    """

    def __init__(
        self,
        team: TeamSpaces,
        bodies: Sequence[Body],
        collision_cost: float = 1.0,
        uncertainty: float = UNCERTAINTY,
        assignment: Assignment = "best",
    ) -> None:
        self.assignment = assignment
        super().__init__(team, bodies, range(team.n_agents), collision_cost, uncertainty)
        if self._landmarks.shape[1] < team.n_agents:
            raise ExpertError(
                f"scripted expert: {self._landmarks.shape[1]} landmarks for {team.n_agents} agents"
            )

    def _choose(self, observed: Floats, to_landmarks: Floats) -> Index:
        return self.assign(to_landmarks)

    def assign(self, to_landmarks: Floats) -> Index:
        """The landmark of each agent.

        Args:
            to_landmarks: Landmarks relative to agents [B, N, L, 2].

        Returns:
            [B, N] int64, different for each agent of a team.
        """
        distances = np.linalg.norm(to_landmarks, axis=-1)
        times = distances / self._steering.speed[None, :, None]
        if self.assignment == "greedy":
            return _greedy(times)
        # The return sums the distance over the steps of the approach: distance times travel time, over two.
        costs = distances * times

        from scipy.optimize import linear_sum_assignment  # slow to import, and students need none

        return np.stack([linear_sum_assignment(cost)[1] for cost in costs]).astype(np.int64)


class ScriptedGoalExpert(_SteeringExpert):
    """An expert that reads each agent's goal from the others' observations and steers it there.

    An agent that sees no velocity stays as it is; messages are category 0, or the number nearest to 0.

    Args:
        team: A team in whose layouts the part `goal`, of kind `agents`, holds a code for the goal of each
            other agent; the largest number of a code tells the landmark (see `envs.particle.goals`). Agents
            that move have the parts `velocity` and `landmarks` (relative positions). The silent view of such
            a team is one too.
        bodies: The agents' bodies (acceleration, mass, top speed, size), in the order of the team.
        collision_cost: What a colliding pair of agents costs for a step, in units of distance. 1 is the
            paper's reward; 0: agents do not look out for each other.
        uncertainty: Of the distance of two agents, for each step that it is predicted ahead, in units of
            distance, more than 0. The larger, the more distance they keep.

    Raises:
        ExpertError: Nobody moves, or nobody sees the goal of an agent that does.
    """

    def __init__(
        self,
        team: TeamSpaces,
        bodies: Sequence[Body],
        collision_cost: float = 1.0,
        uncertainty: float = UNCERTAINTY,
    ) -> None:
        movers = [
            agent
            for agent, name in enumerate(team.agents)
            if "velocity" in {part.name for part in team.layouts[name].observation.parts}
        ]
        if not movers:
            raise ExpertError("scripted expert: no layout has a part 'velocity': this is no navigation task")
        super().__init__(team, bodies, movers, collision_cost, uncertainty)
        self._goals = np.stack([_goal_columns(team, agent) for agent in movers])  # [K, code size]
        if self._goals.shape[1] < self._landmarks.shape[1]:
            raise ExpertError(
                f"scripted expert: goals of {self._goals.shape[1]} numbers cannot tell "
                f"{self._landmarks.shape[1]} landmarks apart"
            )

    def _choose(self, observed: Floats, to_landmarks: Floats) -> Index:
        # A dead agent's code is zeros, whose largest is the first; a code never names more than there is.
        goals: Index = observed[:, self._goals][:, :, : to_landmarks.shape[2]].argmax(axis=2)
        return goals


def _greedy(costs: Floats) -> Index:
    """Pairs of an agent and a landmark, the cheapest of those that are left first: [B, N, L] -> [B, N]."""
    left, batch = costs.copy(), np.arange(len(costs))
    chosen = np.zeros(costs.shape[:2], dtype=np.int64)
    for _ in range(costs.shape[1]):
        agent, landmark = np.divmod(left.reshape(len(left), -1).argmin(axis=1), costs.shape[2])
        chosen[batch, agent] = landmark
        left[batch, agent] = left[batch, :, landmark] = np.inf
    return chosen


def _landmark_columns(team: TeamSpaces, agents: Sequence[int]) -> Index:
    """Where these agents see landmarks: [K, L, 2] columns of the joint observation."""
    columns = [columns_of(team, agent, "landmarks") for agent in agents]
    return np.stack(columns).reshape(len(columns), -1, 2)


def _goal_columns(team: TeamSpaces, agent: int) -> Index:
    """Where the first of the others sees an agent's goal: [code size] columns of the joint observation."""
    for observer, name in enumerate(team.agents):
        parts = {part.name: part for part in team.layouts[name].observation.parts}
        if observer != agent and GOAL in parts and parts[GOAL].kind == "agents":
            slot = agent - (agent > observer)  # the observer itself has no slot
            size = parts[GOAL].size
            return columns_of(team, observer, GOAL)[slot * size : (slot + 1) * size]
    raise ExpertError(f"scripted expert: nobody sees the goal of {team.agents[agent]} (a part {GOAL!r})")
