"""Cooperative navigation with communication: each agent's goal landmark is known to the others alone.

All agents move and send messages: an action is one of five moves and one of ten symbols. An agent observes
its velocity, all landmarks, the goal of each other agent, and the message that each other agent sent at the
step before; at the first step of an episode that is zeros. With 2 agents and 3 landmarks this is mpe2's
`simple_reference_v3`, step by step; mpe2 numbers the same pair of choices as move + 5 * symbol.

The paper plays it with 2 agents and 3 landmarks, and with 3 and 5. Readings where it is silent:

- *The goal's code* is mpe2's colour for up to three landmarks. For more it is one entry for each landmark,
  where the paper has "an 3-dimensional RGB color value" of colours that it does not give (see `goal_codes`).
- *Goals* are drawn independently for each agent, as in mpe2, so two agents may have the same one. Agents do
  not collide, so they may both stand on it.
- *The reward*: "the sum of the distances between and agent and its goal landmark" is read as plain distances,
  summed over the agents, for D.3 says "(squared)" where it means that. It is negative, as a reward must be.

Source: Lin et al., "Decentralized Multi-Agents by Imitation of a Centralized Controller", section 6.3 and
Appendix D.4.
"""

from __future__ import annotations

import numpy as np

from cesma_sb3.envs.particle.goals import distances, draw, goal_codes, goal_part
from cesma_sb3.envs.particle.scenario import Reward, Scenario, check_count, check_reward, others_of
from cesma_sb3.envs.particle.world import Body, World
from cesma_sb3.spaces.layout import ObservationLayout, Part
from cesma_sb3.spaces.types import Array, Doubles, Floats, Index


class NavigationComm(Scenario):
    """Cooperative navigation with communication.

    Args:
        n_agents: The number of agents, at least 2: nobody could tell a single one its goal.
        n_landmarks: The number of landmarks.
        n_symbols: The number of symbols that an agent can send.
        continuous_actions: Whether an action has a scalar in [0, 1] for each move and each symbol.
        reward: "paper": every agent gets minus the sum of all agents' distances to their goals. "mpe2":
            agent i gets (1 - local_ratio) times minus the mean of these distances, plus local_ratio times
            minus the mean of those whose goals agent i knows, which are all but its own.
        max_cycles: Steps of an episode.
        local_ratio: Share of the second mean in mpe2's reward, 0 to 1.

    Raises:
        ConfigError: A bad argument.
    """

    def __init__(
        self,
        n_agents: int = 2,
        *,
        n_landmarks: int = 3,
        n_symbols: int = 10,
        continuous_actions: bool = False,
        reward: Reward = "paper",
        max_cycles: int = 25,
        local_ratio: float = 0.5,
    ) -> None:
        for name, value, least in (
            ("n_agents", n_agents, 2),
            ("n_landmarks", n_landmarks, 1),
            ("n_symbols", n_symbols, 1),
        ):
            check_count(name, value, least)
        check_reward("navigation-comm", reward, local_ratio)
        super().__init__(
            name="navigation-comm",
            agents=[Body(f"agent_{i}", collide=False, silent=False) for i in range(n_agents)],
            landmarks=[Body(f"landmark_{i}", collide=False, movable=False) for i in range(n_landmarks)],
            max_cycles=max_cycles,
            continuous_actions=continuous_actions,
            message_size=n_symbols,
        )
        self.shared_reward = reward == "paper"
        self.local_ratio = local_ratio
        self._others = others_of(n_agents)
        self._codes = goal_codes(n_landmarks, low=0.25, high=0.75)

    @property
    def reward_definition(self) -> str:
        """The reward in words, for reports."""
        if self.shared_reward:
            return (
                "the paper's, shared: minus the distance of each agent to its goal landmark, summed over the "
                "agents and the episode"
            )
        return "mpe2's, combined over the agents as env.team_reward says"

    def variables(self, n_envs: int) -> dict[str, Array]:
        """`goals` [B, A] int64: the landmark that each agent is to reach."""
        return {"goals": np.zeros((n_envs, len(self.agents)), dtype=np.int64)}

    def goals(self, world: World) -> Index:
        """The landmark that each agent is to reach, [A, B]."""
        goals: Index = world.variables["goals"].T
        return goals

    def reset(self, world: World, rng: np.random.Generator, which: Index) -> None:
        """Starts agents and landmarks anywhere in [-1, 1], at rest; any landmark is an agent's goal."""
        positions, goals = draw(
            rng,
            n_entities=len(world.positions),
            n_goals=world.n_agents,
            n_landmarks=len(world.landmarks),
            n_envs=len(which),
        )
        world.place(which, positions)
        world.variables["goals"][which] = goals

    def observation_layout(self, index: int) -> ObservationLayout:
        """The parts of an agent's observation, as in mpe2; landmarks are relative to the agent."""
        n_agents = len(self.agents)
        return ObservationLayout(
            (
                Part("velocity", "own", size=2, is_planar=True),
                Part("landmarks", "entities", count=len(self.landmarks), size=2, is_planar=True),
                goal_part(n_agents, self._codes.shape[1]),
                Part("messages", "message", count=n_agents - 1, size=self.message_size),
            )
        )

    def observe(self, world: World) -> Floats:
        """Joint observations [B, A * (2 + 2 L + (A - 1) * (code size + n_symbols))] float32."""
        n_agents, n_envs = world.n_agents, world.n_envs
        landmarks = world.landmark_positions - world.agent_positions[:, None]
        codes = np.moveaxis(self._codes[world.variables["goals"]], 0, -1)
        rows = (
            world.velocities,
            landmarks.reshape(n_agents, -1, n_envs),
            codes[self._others].reshape(n_agents, -1, n_envs),
            world.messages[self._others].reshape(n_agents, -1, n_envs),
        )
        joint = np.concatenate(rows, axis=1).reshape(-1, n_envs)
        return np.ascontiguousarray(joint.T, dtype=np.float32)

    def rewards(self, world: World) -> Doubles:
        """Every agent's reward, [A, B]."""
        to_goals = distances(world, self.goals(world))
        total = to_goals.sum(axis=0)
        if self.shared_reward:
            return np.repeat(-total[None], world.n_agents, axis=0)
        of_others = (total - to_goals) / (world.n_agents - 1)
        rewards: Doubles = -(1.0 - self.local_ratio) * total / world.n_agents - self.local_ratio * of_others
        return rewards
