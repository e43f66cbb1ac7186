"""The base of particle scenarios: bodies, start positions, observations and rewards.

A scenario has no state; `World` holds it, for any number of environments. So the batched `ParticleVecEnv` and
the PettingZoo `ParticleParallelEnv` use the same scenario. A new one is a class with four methods: `reset`,
`observe`, `rewards` and `observation_layout`; `reward_definition` says in words what `rewards` computes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
from gymnasium import spaces

from cesma_sb3.envs.particle.actions import Controls
from cesma_sb3.envs.particle.world import Body, World
from cesma_sb3.errors import ConfigError, check_choice
from cesma_sb3.spaces.layout import AgentLayout, ObservationLayout
from cesma_sb3.spaces.team_spaces import TeamSpaces
from cesma_sb3.spaces.types import Array, Doubles, Floats, Index

Reward = Literal["paper", "mpe2"]
"""Whose reward: the paper's, which all agents share, or mpe2's, one for each agent."""
MOST = 1_000
"""The most bodies of one kind: each observes all others."""


class Scenario(ABC):
    """A particle scenario; subclass it and write the four abstract methods.

    Args:
        name: The scenario's name in files and titles.
        agents: The bodies that act.
        landmarks: The bodies that do not.
        max_cycles: Steps of an episode; it is then truncated, for no state of a scenario is final.
        continuous_actions: Whether an action is a scalar in [0, 1] for each category instead of one category.
        message_size: C, the number of symbols that an agent can send.

    Raises:
        ConfigError: A bad argument.
    """

    shared_reward = False
    """Whether all agents get the same reward, whatever happens."""

    def __init__(
        self,
        *,
        name: str,
        agents: Sequence[Body],
        landmarks: Sequence[Body],
        max_cycles: int = 25,
        continuous_actions: bool = False,
        message_size: int = 0,
    ) -> None:
        if max_cycles < 1:
            raise ConfigError(f"max_cycles is {max_cycles}, expected 1 or more")
        self.name = name
        self.agents, self.landmarks = tuple(agents), tuple(landmarks)
        self.max_cycles = max_cycles
        self.continuous_actions = continuous_actions
        self.message_size = message_size
        self.controls = Controls(self.agents, message_size, continuous_actions)

    @abstractmethod
    def reset(self, world: World, rng: np.random.Generator, which: Index) -> None:
        """Starts a new episode in the environments `which` [b], with `World.place`."""

    @abstractmethod
    def observe(self, world: World) -> Floats:
        """Joint observations [B, sum of observation sizes], a new C-contiguous array."""

    @abstractmethod
    def rewards(self, world: World) -> Doubles:
        """Every agent's reward [A, B] for the state that the last step led to."""

    @abstractmethod
    def observation_layout(self, index: int) -> ObservationLayout:
        """The parts of one agent's observation."""

    @property
    def reward_definition(self) -> str:
        """The reward in words, for reports."""
        return f"that of the scenario {self.name}"

    def goals(self, world: World) -> Index | None:
        """The landmark that each agent is to reach [A, B], -1 for none; None where no agent has its own."""
        return None

    def variables(self, n_envs: int) -> dict[str, Array]:
        """The initial `World.variables`: other state of each environment, arrays [B, ...] by name."""
        return {}

    def new_world(self, n_envs: int) -> World:
        """A world of `n_envs` environments with this scenario's bodies, not yet reset."""
        return World(
            agents=self.agents,
            landmarks=self.landmarks,
            n_envs=n_envs,
            message_size=self.message_size,
            variables=self.variables(n_envs),
        )

    def layout(self, index: int) -> AgentLayout:
        """The parts of one agent's observations and actions."""
        return AgentLayout(self.observation_layout(index), self.controls.action_parts(index))

    def team(self) -> TeamSpaces:
        """Names, spaces and layouts of all agents."""
        names = [body.name for body in self.agents]
        layouts = {name: self.layout(index) for index, name in enumerate(names)}
        sizes = {name: layout.observation.size for name, layout in layouts.items()}
        return TeamSpaces(
            names,
            {name: spaces.Box(-np.inf, np.inf, (size,), np.float32) for name, size in sizes.items()},
            {name: self.controls.action_space(index) for index, name in enumerate(names)},
            layouts,
        )


def uniform_positions(rng: np.random.Generator, n_entities: int, n_envs: int) -> Doubles:
    """Positions [n_entities, 2, n_envs], uniform in the square [-1, 1]."""
    # Drawn environment by environment, so that a larger batch begins like a smaller one.
    return np.moveaxis(rng.uniform(-1.0, 1.0, (n_envs, n_entities, 2)), 0, -1)


def others_of(n_agents: int) -> Index:
    """The indices of each agent's other agents, in order: [n_agents, n_agents - 1]."""
    others = [[j for j in range(n_agents) if j != i] for i in range(n_agents)]
    return np.array(others, dtype=np.int64).reshape(n_agents, -1)


def check_count(name: str, value: int, least: int = 1) -> None:
    """Checks a count of bodies or symbols.

    Raises:
        ConfigError: It is below `least`, or so large that the arrays do not fit into memory.
    """
    if not least <= value <= MOST:
        expected = f"{least} or more" if value < least else f"at most {MOST}"
        raise ConfigError(f"{name} is {value}, expected {expected}")


def check_reward(scenario: str, reward: str, local_ratio: float) -> None:
    """Checks the arguments that choose a scenario's reward.

    Raises:
        UnknownNameError: No such reward.
        ConfigError: `local_ratio` is outside 0 to 1.
    """
    check_choice(f"reward of {scenario}", reward, get_args(Reward))
    if not 0.0 <= local_ratio <= 1.0:
        raise ConfigError(f"local_ratio is {local_ratio}, expected 0 to 1")
