"""Battles with SMAC's interface as PettingZoo `ParallelEnv`s.

The interface is that of `StarCraft2Env` (oxwhirl/smac): lists over agents, masks of available actions, one
reward. SMACv2, SMAClite and SMAX have it too, with small differences that this module evens out.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from gymnasium import spaces
from pettingzoo.utils.env import ParallelEnv

from cesma_sb3.envs.smac.feature_index import SMAC_FEATURES, FeatureIndex
from cesma_sb3.envs.smac.invalid_actions import available_actions, checked
from cesma_sb3.errors import ConfigError, EnvError
from cesma_sb3.spaces.layout import AgentLayout, ObservationLayout, Part, flat_layout
from cesma_sb3.spaces.types import Array, Floats

Observation = dict[str, Array]
NO_OP = 0
"""The action of the dead, and of nobody else."""
_UNITS = (
    *("marine", "marauder", "medivac", "hydralisk", "zergling", "baneling"),
    *("stalker", "colossus", "zealot"),
)


class BattleEnv(ParallelEnv[str, Observation, int]):
    """A battle as a `ParallelEnv` with action masks.

    An agent dies when only action 0 is available to it: it is terminated and leaves `agents`. A battle that
    is won or lost terminates all agents; the time limit or a crash of the game truncates them. All agents get
    the team's reward.

    The battle must have `reset`, `step(actions)`, and `get_avail_actions() -> [n_agents, n_actions]`; sizes
    come from `get_env_info()` or from the attributes `n_agents`, `n_actions` and `obs_size`, observations
    from `get_obs()` or from what `reset` and `step` return. `step` returns `(reward, terminated, info)`, or
    with the observations before them and, as Gymnasium has it, a flag of truncation. Without `battle_won` in
    its infos, a battle is won when it has ended and its `enemies` are gone.

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
        name = name or type(battle).__name__
        draws = callable(getattr(battle, "render", None))
        self.metadata = {
            "name": name,
            "render_modes": ["rgb_array"] if draws else [],
            "is_parallelizable": True,
        }
        self.render_mode = "rgb_array" if draws else None  # a battle renders in any mode
        missing = [
            one for one in ("reset", "step", "get_avail_actions") if not callable(getattr(battle, one, None))
        ]
        if missing:
            raise ConfigError(f"{name}: has no {missing[0]}(); expected SMAC's interface")
        info = battle.get_env_info() if hasattr(battle, "get_env_info") else {}
        self.n_agents, self.n_actions, size = (
            _size(name, battle, info, key, other)
            for key, other in (("n_agents",) * 2, ("n_actions",) * 2, ("obs_shape", "obs_size"))
        )
        limit = episode_limit or info.get("episode_limit") or getattr(battle, "episode_limit", None)
        if not limit:
            raise ConfigError(f"{name}: has no episode_limit; give one: env.kwargs.episode_limit")
        self.episode_limit = int(limit)
        self.possible_agents = [f"agent_{index}" for index in range(self.n_agents)]
        self.agents: list[str] = []
        self.observation_spaces = {
            agent: spaces.Dict(
                {
                    "observation": spaces.Box(-np.inf, np.inf, (size,), np.float32),
                    "action_mask": spaces.MultiBinary(self.n_actions),
                }
            )
            for agent in self.possible_agents
        }
        self.action_spaces = {agent: spaces.Discrete(self.n_actions) for agent in self.possible_agents}
        self._layout = _layout(battle, size)
        own_index = getattr(battle, "feature_index", None)
        self.feature_index: FeatureIndex | None = own_index or _smac_feature_index(battle)
        """Where features and actions stand, for scripted controllers; None if the battle does not say."""
        self._takes_seed = "seed" in inspect.signature(battle.reset).parameters
        self._returned: Sequence[Any] = ()
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
        self._keep(self._reset(seed))
        self._steps = 0
        masks = self._available = self._masks()
        self.agents = self._living(masks)
        types = self.unit_types()
        infos = {agent: {"unit_type": types[agent]} if agent in types else {} for agent in self.agents}
        return self._observations(masks, self.agents), infos

    def _reset(self, seed: int | None) -> Any:
        if seed is None:
            return self.battle.reset()
        if self._takes_seed:
            return self.battle.reset(seed=seed)
        if callable(method := getattr(self.battle, "seed", None)) and inspect.signature(method).parameters:
            method(seed)
        else:
            warnings.warn(
                f"{self.metadata['name']}: cannot be seeded: reset takes no seed, and there is no seed(seed)",
                stacklevel=3,
            )
        return self.battle.reset()

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
            EnvError: An action is not available, and refused; or `step` returned something else than
                SMAC's three values or Gymnasium's.
        """
        acted = self.agents
        reward, terminated, truncated, info = self._step(self._chosen(actions))
        masks = self._available = self._masks()
        alive = self._living(masks)
        over, cut_off = self._end(terminated, truncated, info, alive)
        self.agents = [] if over or cut_off else alive
        ended = {agent: over or (agent not in alive and not cut_off) for agent in acted}
        infos: dict[str, dict[str, Any]] = {agent: {} for agent in acted}
        if over or cut_off:
            infos = {agent: {"battle_won": over and self._won(info)} for agent in acted}
        return (
            self._observations(masks, acted),
            dict.fromkeys(acted, reward),
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

    def _step(self, actions: list[int]) -> tuple[float, bool, bool, Mapping[str, Any]]:
        """The reward, whether the battle was terminated and truncated, and its info."""
        result = self.battle.step(actions)
        if not isinstance(result, tuple) or len(result) not in {3, 4, 5}:
            what = f"{len(result)} values" if isinstance(result, tuple) else type(result).__name__
            raise EnvError(
                f"{self.metadata['name']}: step returned {what}, expected (reward, terminated, info)"
            )
        truncated = False
        if len(result) == 3:
            reward, terminated, info = result
        elif len(result) == 4:
            self._returned, reward, terminated, info = result
        else:
            self._returned, reward, terminated, truncated, info = result
        self._steps += 1
        return float(reward), bool(terminated), bool(truncated), info

    def _end(
        self, terminated: bool, truncated: bool, info: Mapping[str, Any], alive: Sequence[str]
    ) -> tuple[bool, bool]:
        """Whether the battle terminated, and whether it was truncated, from SMAC's one flag."""
        if terminated and (self._won(info) or not alive):
            return True, False
        if truncated or self._steps >= self.episode_limit:
            return False, True
        # After a crash of the game, `StarCraft2Env`, which counts `battles_won`, ends without a word.
        crashed = terminated and "battle_won" not in info and hasattr(self.battle, "battles_won")
        return terminated and not crashed, crashed

    def _won(self, info: Mapping[str, Any]) -> bool:
        if "battle_won" in info:
            return bool(info["battle_won"])
        enemies = getattr(self.battle, "enemies", None)
        return enemies is not None and len(enemies) == 0

    def state(self) -> Floats:
        """The battle's own global state, float32."""
        return np.asarray(self.battle.get_state(), dtype=np.float32)

    def unit_types(self) -> dict[str, str]:
        """The type of each agent's unit, where the battle knows it; maybe only after `reset`."""
        if hasattr(self.battle, "get_unit_types"):
            return dict(zip(self.possible_agents, self.battle.get_unit_types(), strict=True))
        units = getattr(self.battle, "agents", None)
        if not isinstance(units, Mapping):
            return {}
        known = {getattr(self.battle, f"{unit}_id", None): unit for unit in _UNITS}
        kinds = {index: known.get(getattr(unit, "unit_type", None)) for index, unit in units.items()}
        return {
            self.possible_agents[index]: kind for index, kind in sorted(kinds.items()) if kind is not None
        }

    def render(self) -> Any:
        """A frame from the battle's `render`, in mode `rgb_array` where it takes a `mode`, as SMAC's."""
        if "mode" in inspect.signature(self.battle.render).parameters:
            return self.battle.render(mode="rgb_array")
        return self.battle.render()

    def close(self) -> None:
        """Closes the battle, if it can be closed."""
        if hasattr(self.battle, "close"):
            self.battle.close()

    def _keep(self, returned: Any) -> None:
        """Keeps the observations that `reset` returned, alone or followed by infos or SMAC's state."""
        with_more = isinstance(returned, tuple) and len(returned) == 2 and len(returned[0]) == self.n_agents
        self._returned = returned[0] if with_more else returned

    def _masks(self) -> npt.NDArray[np.int8]:
        masks: npt.NDArray[np.int8] = np.asarray(self.battle.get_avail_actions(), dtype=np.int8)
        return masks

    def _living(self, masks: npt.NDArray[np.int8]) -> list[str]:
        alive: list[bool] = np.any(masks[:, NO_OP + 1 :], axis=1).tolist()
        return [agent for agent, lives in zip(self.possible_agents, alive, strict=True) if lives]

    def _observations(self, masks: npt.NDArray[np.int8], agents: Sequence[str]) -> dict[str, Observation]:
        observed = self.battle.get_obs() if hasattr(self.battle, "get_obs") else self._returned
        rows = dict(zip(self.possible_agents, zip(observed, masks, strict=True), strict=True))
        return {
            agent: {
                "observation": np.asarray(rows[agent][0], dtype=np.float32),
                "action_mask": rows[agent][1],
            }
            for agent in agents
        }


def _size(name: str, battle: Any, info: Mapping[str, Any], key: str, attribute: str) -> int:
    value = info.get(key, getattr(battle, attribute, None))
    if value is None:
        raise ConfigError(
            f"{name}: neither get_env_info() has {key!r} nor the object an attribute {attribute!r}"
        )
    return int(np.prod(value))


def _smac_feature_index(battle: Any) -> FeatureIndex | None:
    """SMAC's feature index, of battles that show enemies as SMAC does."""
    as_in_smac = getattr(battle, "obs_all_health", False) and hasattr(battle, "get_obs_enemy_feats_size")
    return SMAC_FEATURES if as_in_smac else None


def _layout(battle: Any, size: int) -> AgentLayout:
    """The layout by SMAC's sizes of parts; one flat part where they are missing or do not add up."""
    if hasattr(battle, "get_obs_layout"):
        layout: AgentLayout = battle.get_obs_layout()
        return layout
    names = ("move", "enemy", "ally", "own")
    try:
        move, enemies, allies, own = (getattr(battle, f"get_obs_{name}_feats_size")() for name in names)
        parts = (
            Part("move", "own", 1, int(move)),
            Part("enemies", "entities", int(enemies[0]), int(enemies[1])),
            Part("allies", "agents", int(allies[0]), int(allies[1])),
            Part("self", "own", 1, int(own)),
        )
    except (AttributeError, TypeError, IndexError):
        return flat_layout(size)
    declared = ObservationLayout(parts)
    return AgentLayout(declared) if declared.size == size else flat_layout(size)
