"""Your own PettingZoo environment: the whole team under one SB3 model, then one policy for each agent.

    python examples/bring_an_environment.py

Everything that the library asks of an environment is PettingZoo's `ParallelEnv`.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces
from pettingzoo import ParallelEnv
from stable_baselines3 import PPO

from cesma_sb3 import JointEnv, MultiAgentDAggerTrainer, SB3Expert, evaluate, joint_vec_env


class Meet(ParallelEnv):
    """Two agents on a line of cells see where both are and shall meet; 0 stays, 1 steps left, 2 right."""

    metadata: ClassVar[dict[str, Any]] = {"name": "meet", "render_modes": []}
    possible_agents: ClassVar[list[str]] = ["left", "right"]

    def __init__(self, n_cells: int = 7, length: int = 10) -> None:
        self.n_cells, self.length = n_cells, length
        self.seen, self.moves = spaces.Box(0.0, 1.0, (2,), np.float32), spaces.Discrete(3)

    def observation_space(self, agent: str) -> spaces.Space:
        """Own place, the other's place, from 0 to 1."""
        return self.seen

    def action_space(self, agent: str) -> spaces.Space:
        """Stay, left, right."""
        return self.moves

    def reset(self, seed: int | None = None, options: dict | None = None) -> tuple[dict, dict]:
        """Anywhere on the line."""
        if seed is not None or not hasattr(self, "rng"):
            self.rng = np.random.default_rng(seed)
        self.cells = self.rng.integers(self.n_cells, size=2)
        self.agents, self.time = list(self.possible_agents), 0
        return self._observe(), {agent: {} for agent in self.agents}

    def step(self, actions: dict[str, int]) -> tuple[dict, dict, dict, dict, dict]:
        """Everybody moves; the reward is minus the distance between them."""
        moves = [(0, -1, 1)[int(actions[agent])] for agent in self.agents]
        self.cells = np.clip(self.cells + moves, 0, self.n_cells - 1)
        self.time += 1
        agents, over = self.agents, self.time == self.length
        reward = -abs(int(self.cells[0]) - int(self.cells[1]))  # of everybody: the team's reward is `shared`
        self.agents = [] if over else agents
        return (
            self._observe(),
            dict.fromkeys(agents, reward),
            dict.fromkeys(agents, False),
            dict.fromkeys(agents, over),  # truncated: time is up, nothing has ended
            {agent: {} for agent in agents},
        )

    def _observe(self) -> dict[str, np.ndarray]:
        place = (self.cells / (self.n_cells - 1)).astype(np.float32)
        return {"left": place, "right": place[::-1].copy()}


def main(expert_timesteps: int = 40_000, student_timesteps: int = 20_000) -> tuple[float, float]:
    """Trains both and returns the mean returns of expert and students."""
    env = JointEnv(Meet())  # a Gymnasium environment, for SB3 or anything else
    print("observations", env.observation_space, "actions", env.action_space)

    venv = joint_vec_env(Meet, n_envs=8, seed=0)  # several of them, as an SB3 VecEnv
    model = PPO("MlpPolicy", venv, n_steps=64, seed=0).learn(expert_timesteps)
    expert = SB3Expert(model, venv.team, venv.view)

    trainer = MultiAgentDAggerTrainer(venv=venv, expert_policy=expert, rng=np.random.default_rng(0))
    trainer.train(student_timesteps)

    returns = [
        evaluate(policy, venv, n_eval_episodes=100, seed=1).mean for policy in (expert, trainer.policy)
    ]
    print(f"return: expert {returns[0]:.2f}, students {returns[1]:.2f}")
    observations, _ = env.parallel_env.reset(seed=2)
    for name in venv.team.agents:  # each alone, from its own observation
        action, _ = trainer.policy.agent(name).predict(observations[name], deterministic=True)
        print(name, "does", action)
    return returns[0], returns[1]


if __name__ == "__main__":
    main()
