"""An expert that knows too much, and one that students can follow.

    python examples/information_cost.py

Each of two agents has two doors before it, with a prize behind one. It sees behind which one the *other*
agent's is, and may look behind its own, which costs. A centralized expert need not look: together the agents
know everything, and it opens the right doors at once. Nobody who sees less can imitate that. With
`expert.information_cost` it pays for such knowledge, and looks first.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from gymnasium import spaces
from pettingzoo import ParallelEnv

import cesma_sb3

LOOK, LEFT, RIGHT = range(3)
TO_LOOK, WRONG = 0.1, -1.0


class Doors(ParallelEnv):
    """Two doors for each agent, a prize of 1 behind one of them; the wrong door costs 1, a look 0.1."""

    metadata: ClassVar[dict[str, Any]] = {"name": "doors", "render_modes": []}
    possible_agents: ClassVar[list[str]] = ["one", "two"]

    def __init__(self, length: int = 6) -> None:
        self.length = length
        self.seen, self.moves = spaces.Box(-1.0, 1.0, (3,), np.float32), spaces.Discrete(3)

    def observation_space(self, agent: str) -> spaces.Space:
        """The side of the other's prize (-1, 1), of its own (0: not yet looked), and whether it is done."""
        return self.seen

    def action_space(self, agent: str) -> spaces.Space:
        """Look, open the left door, open the right one."""
        return self.moves

    def reset(self, seed: int | None = None, options: dict | None = None) -> tuple[dict, dict]:
        """Prizes behind any doors."""
        if seed is not None or not hasattr(self, "rng"):
            self.rng = np.random.default_rng(seed)
        self.prizes = self.rng.integers(LEFT, RIGHT + 1, size=2)
        self.looked, self.opened = np.zeros(2, dtype=bool), np.zeros(2, dtype=bool)
        self.agents, self.time = list(self.possible_agents), 0
        return self._observe(), {agent: {} for agent in self.agents}

    def step(self, actions: dict[str, int]) -> tuple[dict, dict, dict, dict, dict]:
        """Who has not opened a door yet looks, or opens one; when both have, all is over."""
        chosen = np.array([int(actions[agent]) for agent in self.agents])
        looks, opens = ~self.opened & (chosen == LOOK), ~self.opened & (chosen != LOOK)
        gains = np.where(chosen == self.prizes, 1.0, WRONG)
        reward = float(gains[opens].sum() - TO_LOOK * looks.sum())
        self.looked |= looks
        self.opened |= opens
        self.time += 1
        agents, ended, late = self.agents, bool(self.opened.all()), self.time == self.length
        self.agents = [] if ended or late else agents
        return (
            self._observe(),
            dict.fromkeys(agents, reward),
            dict.fromkeys(agents, ended),
            dict.fromkeys(agents, late and not ended),
            {agent: {} for agent in agents},
        )

    def _observe(self) -> dict[str, np.ndarray]:
        sides = np.where(self.prizes == LEFT, -1.0, 1.0)
        own = sides * self.looked
        seen = np.stack([sides[::-1], own, self.opened], axis=1).astype(np.float32)
        return dict(zip(self.possible_agents, seen, strict=True))


def main(out: Path = Path("runs/doors"), **overrides: Any) -> dict[str, dict[str, float]]:
    """Both experts with their students; returns what each has, by expert."""
    found = {}
    for name, information_cost in (("plain", None), ("information_cost", {"weight": 1.0})):
        experiment = Path(__file__).with_name("information_cost.yaml")
        settings = {"expert.information_cost": information_cost, **overrides}
        report = cesma_sb3.run(experiment, out=out / name, **settings).report
        found[name] = returns = report["return"]
        print(f"{name}: expert {returns['expert']:.2f}, students {returns['students']:.2f}")
    return found


if __name__ == "__main__":
    main()
