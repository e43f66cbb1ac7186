"""Battles with SMAC's interface as PettingZoo `ParallelEnv`s."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces
from pettingzoo.utils.env import ParallelEnv

from cesma_sb3.envs.smac.battles import FirstInterface
from cesma_sb3.envs.smac.interface import BattleInterface
from cesma_sb3.envs.smac.invalid_actions import available_actions, checked
from cesma_sb3.envs.smac.starcraft2 import StarCraft2Interface
from cesma_sb3.spaces.layout import AgentLayout
from cesma_sb3.spaces.types import Array, Floats

Observation = dict[str, Array]
NO_OP = 0
"""The action of the dead, and of nobody else."""


class BattleEnv(ParallelEnv[str, Observation, int]):
    """A battle as a `ParallelEnv` with action masks.

    An agent dies when only action 0 is available to it: it is terminated and leaves `agents`. A battle that
    is won or lost terminates all agents; the time limit or a crash of the game truncates them. All agents get
    the team's reward. Without `battle_won` in its infos, a battle is won when it has ended and its `enemies`
    are gone. What else is read of the battle, `BattleInterface` lists.

    `infos` hold `battle_won` (bool, at the end of the battle) and `unit_type` (after `reset`, where it is
    known).

    Args:
        battle: An object with SMAC's interface.
        name: The battle's name in messages.
        episode_limit: The most timesteps of a battle; None: the battle's own, which it must have.
        unavailable: The treatment of unavailable actions: `refuse` or `replace`.

    Raises:
        ConfigError: A method or a size is missing; or there is no time limit; or `unavailable` is neither.
    """

    metadata: dict[str, Any]

    def __init__(
        self,
        battle: Any,
        *,
        name: str | None = None,
        episode_limit: int | None = None,
        unavailable: str = "refuse",
    ) -> None:
        self.battle = battle
        self.unavailable = checked(unavailable)
        self.interface = interface_of(battle, name or type(battle).__name__)
        self.metadata = {
            "name": self.interface.name,
            "render_modes": ["rgb_array"] if self.interface.draws else [],
            "is_parallelizable": True,
        }
        self.render_mode = "rgb_array" if self.interface.draws else None  # a battle renders in any mode
        self.n_agents, self.n_actions = self.interface.n_agents, self.interface.n_actions
        self.episode_limit = self.interface.limit(episode_limit)
        self.possible_agents = [f"agent_{index}" for index in range(self.n_agents)]
        self.agents: list[str] = []
        self.observation_spaces = {
            agent: spaces.Dict(
                {
                    "observation": spaces.Box(
                        -np.inf, np.inf, (self.interface.observation_size,), np.float32
                    ),
                    "action_mask": spaces.MultiBinary(self.n_actions),
                }
            )
            for agent in self.possible_agents
        }
        self.action_spaces = {agent: spaces.Discrete(self.n_actions) for agent in self.possible_agents}
        self._layout = self.interface.layout
        self.feature_index = self.interface.feature_index
        """Where features and actions stand, for scripted controllers; None if the battle does not say."""
        self._available = np.zeros((self.n_agents, self.n_actions), dtype=np.int8)
        self._steps = 0

    def observation_space(self, agent: str) -> spaces.Dict:
        """The Dict space of `observation` [size] float32 and `action_mask` [n_actions]."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> spaces.Discrete:
        """Discrete(n_actions); action 0 is that of the dead."""
        return self.action_spaces[agent]

    def layout(self, agent: str) -> AgentLayout:
        """The parts of an observation; one flat part where the battle does not declare any."""
        return self._layout

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Observation], dict[str, dict[str, Any]]]:
        """Starts a battle.

        Args:
            seed: An argument of the battle's `reset` or, if that takes none, of its method `seed`.
            options: Not used.
        """
        self.interface.reset(seed)
        self._steps = 0
        masks = self._available = self.interface.masks()
        self.agents = self._living(masks)
        types = self.unit_types()
        infos = {agent: {"unit_type": types[agent]} if agent in types else {} for agent in self.agents}
        return self._observations(masks, self.agents), infos

    def step(
        self, actions: Mapping[str, int]
    ) -> tuple[
        dict[str, Observation],
        dict[str, float],
        dict[str, bool],
        dict[str, bool],
        dict[str, dict[str, Any]],
    ]:
        """One timestep of the agents that are alive; the dead do nothing.

        Raises:
            EnvError: An action is not available, and refused; or the battle returned something else than
                SMAC's or Gymnasium's forms.
        """
        acted = self.agents
        reward, terminated, truncated, info = self.interface.step(self._chosen(actions))
        self._steps += 1
        masks = self._available = self.interface.masks()
        alive = self._living(masks)
        over, cut_off = self._end(bool(terminated), bool(truncated), info, alive)
        self.agents = [] if over or cut_off else alive
        ended = {agent: over or (agent not in alive and not cut_off) for agent in acted}
        infos: dict[str, dict[str, Any]] = {agent: {} for agent in acted}
        if over or cut_off:
            infos = {agent: {"battle_won": over and self.interface.won(info)} for agent in acted}
        return (
            self._observations(masks, acted),
            dict.fromkeys(acted, float(reward)),
            ended,
            dict.fromkeys(acted, cut_off),
            infos,
        )

    def _chosen(self, actions: Mapping[str, int]) -> list[int]:
        """The battle's list of actions, of the dead too, as Python integers."""
        chosen = available_actions(
            np.array([[int(actions.get(agent, NO_OP)) for agent in self.possible_agents]]),
            self._available[None],
            self.unavailable,
            battle=self.metadata["name"],
            agents=self.possible_agents,
        )
        taken: list[int] = chosen[0].tolist()
        return taken

    def _end(
        self, terminated: bool, truncated: bool, info: Mapping[str, Any], alive: Sequence[str]
    ) -> tuple[bool, bool]:
        """Whether the battle terminated, and whether it was truncated, from SMAC's one flag."""
        if terminated and (self.interface.won(info) or not alive):
            return True, False
        if truncated or self._steps >= self.episode_limit:
            return False, True
        # After a crash of the game, `StarCraft2Env` ends without a word.
        crashed = terminated and "battle_won" not in info and self.interface.counts_victories
        return terminated and not crashed, crashed

    def state(self) -> Floats:
        """The battle's own global state, float32; its size differs between maps."""
        return self.interface.state()

    def unit_types(self) -> dict[str, str]:
        """The type of each agent's unit, where the battle knows it; maybe only after `reset`."""
        return {self.possible_agents[index]: kind for index, kind in self.interface.unit_types().items()}

    def render(self) -> Any:
        """A frame of the battle, [height, width, 3] uint8."""
        return self.interface.render()

    def close(self) -> None:
        """Closes the battle, if it can be closed."""
        self.interface.close()

    def _living(self, masks: Array) -> list[str]:
        alive: list[bool] = np.any(masks[:, NO_OP + 1 :], axis=1).tolist()
        return [agent for agent, lives in zip(self.possible_agents, alive, strict=True) if lives]

    def _observations(self, masks: Array, agents: Sequence[str]) -> dict[str, Observation]:
        observed = self.interface.observations()
        rows = dict(zip(self.possible_agents, zip(observed, masks, strict=True), strict=True))
        return {agent: {"observation": rows[agent][0], "action_mask": rows[agent][1]} for agent in agents}


def interface_of(battle: Any, name: str) -> BattleInterface:
    """The interface that an object offers.

    Raises:
        ConfigError: A method or a size is missing.
    """
    kinds = (FirstInterface, StarCraft2Interface)
    kind = next((kind for kind in kinds if kind.fits(battle)), BattleInterface)
    return kind(battle, name)
