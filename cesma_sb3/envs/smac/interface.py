"""What a battle offers of SMAC's interface, under the names and in the forms that differ between packages."""

from __future__ import annotations

import dataclasses
import inspect
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import gymnasium
import numpy as np

from cesma_sb3.envs.smac.feature_index import SMAC_FEATURES, FeatureIndex
from cesma_sb3.errors import CesmaWarning, ConfigError, EnvError, integer, short_repr
from cesma_sb3.spaces.layout import AgentLayout, ObservationLayout, Part, flat_layout
from cesma_sb3.spaces.types import Array, Floats

_UNITS = (
    *("marine", "marauder", "medivac", "hydralisk", "zergling", "baneling"),
    *("stalker", "colossus", "zealot"),
)


class Step(NamedTuple):
    """What a battle's `step` returned, whatever its form."""

    reward: Any
    terminated: Any
    truncated: Any
    info: Mapping[str, Any]


class BattleInterface:
    """An object with SMAC's interface, which is asked for what it offers.

    Packages differ: SMAC says its sizes in `get_env_info()`, SMAClite in attributes; `step` has three values
    or Gymnasium's five; masks and observations come for all agents or for one. docs/tasks/bring-a-battle.md
    lists all that is asked for, and in which order.

    Args:
        battle: The object. In Gymnasium's wrappers, which forward no attributes, the one inside is asked.
        name: The battle's name in messages.

    Raises:
        ConfigError: A method or a size is missing.
    """

    def __init__(self, battle: Any, name: str) -> None:
        self.battle, self.name = battle, name
        self._inside = inside(battle)
        for method in ("reset", "step"):
            if not self._has(method):
                raise ConfigError(f"{name}: has no {method}(); expected SMAC's interface")
        if not (self._has("get_avail_actions") or self._has("get_avail_agent_actions")):
            raise ConfigError(
                f"{name}: has no get_avail_actions() and no get_avail_agent_actions(agent); expected SMAC's "
                "interface"
            )
        self._info = self._env_info()
        self.n_agents = self._size("n_agents", "n_agents")
        self.n_actions = self._size("n_actions", "n_actions", "get_total_actions")
        self.observation_size = self._size("obs_shape", "obs_size", "get_obs_size")
        self._lead: tuple[int, ...] = ()
        """The axes before those of one battle."""
        self._returned: Any = None

    def _has(self, method: str) -> bool:
        return callable(getattr(self._inside, method, None))

    def _env_info(self) -> Mapping[str, Any]:
        if not self._has("get_env_info"):
            return {}
        info = self._inside.get_env_info()
        if not isinstance(info, Mapping):
            raise ConfigError(f"{self.name}: get_env_info() returned {short_repr(info)}, expected a dict")
        return info

    def _size(self, key: str, attribute: str, method: str | None = None) -> int:
        value = self._info.get(key, getattr(self._inside, attribute, None))
        if value is None and method is not None and self._has(method):
            value = getattr(self._inside, method)()
        if value is None:
            calls = f", nor a method {method}()" if method else ""
            raise ConfigError(
                f"{self.name}: neither get_env_info() has {key!r} nor the object an attribute "
                f"{attribute!r}{calls}"
            )
        whole = isinstance(value, Sequence) and not isinstance(value, str)
        return integer(f"{self.name}: {key}", np.prod(value).item() if whole else value, 1)

    def limit(self, episode_limit: int | None = None) -> int:
        """The most timesteps of a battle: its own limit, or one that is below it.

        Raises:
            ConfigError: There is none.
        """
        spec = getattr(self.battle, "spec", None)
        said = (
            self._info.get("episode_limit"),
            getattr(self._inside, "episode_limit", None),
            getattr(spec, "max_episode_steps", None),
            None if episode_limit is None else integer("env.kwargs.episode_limit", episode_limit, 1),
        )
        limits = [int(limit) for limit in said if limit]
        if not limits:
            raise ConfigError(f"{self.name}: has no episode_limit; give one: env.kwargs.episode_limit")
        return min(limits)

    @property
    def draws(self) -> bool:
        """Whether the battle can be drawn."""
        modes = getattr(self._inside, "metadata", {}).get("render_modes")
        return self._has("render") and (modes is None or "rgb_array" in modes)

    @property
    def counts_victories(self) -> bool:
        """Whether it counts them as `StarCraft2Env` does, which names the winner unless its game crashed."""
        return hasattr(self._inside, "battles_won")

    @property
    def layout(self) -> AgentLayout:
        """The parts of an observation; one flat part where they are missing or do not add up."""
        if self._has("get_obs_layout"):
            layout: AgentLayout = self._inside.get_obs_layout()
            return layout
        size = self.observation_size
        declared = self._parts()
        if declared is not None and declared.size == size:
            return AgentLayout(declared)
        return flat_layout(size)

    def _parts(self) -> ObservationLayout | None:
        battle = self._inside
        names = ("move", "enemy", "ally", "own")
        try:
            if hasattr(battle, "enemy_feat_size"):  # SMAClite: of one enemy; the others are attributes too
                move, enemies = 4, (battle.n_enemies, battle.enemy_feat_size)
                allies = (self.n_agents - 1, battle.ally_feat_size)
                own = self.observation_size - move - int(np.prod(enemies)) - int(np.prod(allies))
            else:
                move, enemies, allies, own = (
                    getattr(battle, f"get_obs_{name}_feats_size")() for name in names
                )
                own += _is_after_all(battle)
            return ObservationLayout(
                (
                    Part("move", "own", 1, int(move)),
                    Part("enemies", "entities", int(enemies[0]), int(enemies[1])),
                    Part("allies", "agents", int(allies[0]), int(allies[1])),
                    Part("self", "own", 1, int(own)),
                )
            )
        except (AttributeError, TypeError, IndexError):
            return None

    @property
    def feature_index(self) -> FeatureIndex | None:
        """The places of features and actions, for scripted controllers; None if the battle does not say."""
        battle = self._inside
        own: FeatureIndex | None = getattr(battle, "feature_index", None)
        if own is not None or hasattr(battle, "enemy_feat_size"):
            return own or SMAC_FEATURES  # SMAClite has SMAC's places
        if not (getattr(battle, "obs_all_health", False) and self._has("get_obs_enemy_feats_size")):
            return None
        # SMACv2's actions that turn a cone of sight stand before those that attack.
        first = getattr(battle, "n_actions_no_attack", SMAC_FEATURES.first_attack)
        return dataclasses.replace(SMAC_FEATURES, first_attack=int(first))

    def reset(self, seed: int | None = None) -> None:
        """Starts a battle.

        Warns:
            CesmaWarning: There is a seed, and no way to give it to the battle.
        """
        returned = self._reset(seed)
        # Observations, maybe followed by infos or by SMAC's state.
        pair = isinstance(returned, tuple) and len(returned) == 2 and _depth(returned[0]) > 1
        self._returned = returned[0] if pair else returned

    def _reset(self, seed: int | None) -> Any:
        if seed is None:
            return self.battle.reset()
        if "seed" in inspect.signature(self._inside.reset).parameters:
            return self.battle.reset(seed=seed)
        if not self._seed(seed):
            warnings.warn(
                f"{self.name}: cannot be seeded: reset takes no seed, and there is no seed(seed)",
                CesmaWarning,
                stacklevel=4,
            )
        return self.battle.reset()

    def _seed(self, seed: int) -> bool:
        method = getattr(self._inside, "seed", None)
        if not callable(method) or not inspect.signature(method).parameters:  # SMAC's tells its seed
            return False
        try:
            method(seed)
        except NotImplementedError:  # of a base class
            return False
        return True

    def step(self, actions: Any) -> Step:
        """One timestep.

        Raises:
            EnvError: `step` returned something else than SMAC's three values or Gymnasium's.
        """
        result = self.battle.step(actions)
        if not isinstance(result, tuple) or len(result) not in {3, 4, 5}:
            what = f"{len(result)} values" if isinstance(result, tuple) else type(result).__name__
            raise EnvError(f"{self.name}: step returned {what}, expected (reward, terminated, info)")
        truncated: Any = False
        if len(result) == 3:
            reward, terminated, info = result
        elif len(result) == 4:
            self._returned, reward, terminated, info = result
        else:
            self._returned, reward, terminated, truncated, info = result
        if not isinstance(info, Mapping):
            raise EnvError(f"{self.name}: the info of step is {short_repr(info)}, expected a dict")
        return Step(reward, terminated, truncated, info)

    def observations(self) -> Floats:
        """The agents' observations [n_agents, observation_size] float32.

        Raises:
            EnvError: There are none, or of another shape.
        """
        if self._has("get_obs"):
            return self._rows("get_obs()", self._inside.get_obs(), self.observation_size, np.float32)
        if self._has("get_obs_agent"):
            each = [self._inside.get_obs_agent(agent) for agent in range(self.n_agents)]
            return self._rows("get_obs_agent(agent)", each, self.observation_size, np.float32)
        if self._returned is None:
            raise EnvError(
                f"{self.name}: no observations, expected get_obs(), get_obs_agent(agent), or that reset and "
                "step return them"
            )
        return self._rows("reset or step", self._returned, self.observation_size, np.float32)

    def masks(self) -> Array:
        """The agents' available actions [n_agents, n_actions] int8.

        Raises:
            EnvError: They are of another shape.
        """
        if self._has("get_avail_actions"):
            return self._rows(
                "get_avail_actions()", self._inside.get_avail_actions(), self.n_actions, np.int8
            )
        each = [self._inside.get_avail_agent_actions(agent) for agent in range(self.n_agents)]
        return self._rows("get_avail_agent_actions(agent)", each, self.n_actions, np.int8)

    def _rows(self, method: str, rows: Any, size: int, dtype: type[Any]) -> Array:
        expected = (*self._lead, self.n_agents, size)
        try:
            found = np.asarray(rows, dtype=dtype)
        except (TypeError, ValueError) as error:
            raise EnvError(
                f"{self.name}: {method} returned no numbers of the shape {expected}: {error}"
            ) from error
        if found.shape != expected:
            raise EnvError(f"{self.name}: {method} returned the shape {found.shape}, expected {expected}")
        return found

    def won(self, info: Mapping[str, Any]) -> bool:
        """Whether a battle that has ended is won; without `battle_won`, when its `enemies` are gone."""
        if "battle_won" in info:
            return bool(info["battle_won"])
        enemies = getattr(self._inside, "enemies", None)
        return enemies is not None and len(enemies) == 0

    def state(self) -> Floats:
        """The battle's own global state, float32; its size differs between maps.

        Raises:
            EnvError: It has none.
        """
        if not self._has("get_state"):
            raise EnvError(f"{self.name}: has no get_state()")
        return np.asarray(self._inside.get_state(), dtype=np.float32)

    def unit_types(self) -> dict[int, str]:
        """The type of each agent's unit, by its number, of those that are known; maybe only after `reset`."""
        units = getattr(self._inside, "agents", None)
        if isinstance(units, Mapping):  # SMAC's numbers of types are another in each map
            ids = {getattr(self._inside, f"{unit}_id", None): unit for unit in _UNITS}
            kinds = {index: _unit_type(unit, ids) for index, unit in sorted(units.items())}
            return {index: kind for index, kind in kinds.items() if kind is not None}
        return dict(enumerate(self._inside.get_unit_types())) if self._has("get_unit_types") else {}

    def render(self) -> Any:
        """A frame from the battle's `render`, in the mode `rgb_array` where it has modes."""
        battle = self._inside
        if "mode" in inspect.signature(battle.render).parameters:
            return battle.render(mode="rgb_array")
        if hasattr(battle, "render_mode"):  # SMAClite opens a window unless it is made with another one
            battle.render_mode = "rgb_array"
        return battle.render()

    def close(self) -> None:
        """Closes the battle, if it can be closed."""
        if callable(getattr(self.battle, "close", None)):
            self.battle.close()


def inside(battle: Any) -> Any:
    """The object inside Gymnasium's wrappers."""
    return battle.unwrapped if isinstance(battle, gymnasium.Env) else battle


def _depth(value: Any) -> int:
    """How deep the rows of an array or of lists lie."""
    if isinstance(value, np.ndarray):
        return value.ndim
    return 1 + _depth(value[0]) if isinstance(value, Sequence) and not isinstance(value, str) and value else 0


def _is_after_all(battle: Any) -> int:
    """1 if SMACv2 adds the share of time that is gone to its parts; SMAC counts that as the agent's own."""
    return int(getattr(battle, "obs_timestep_number", False) and hasattr(battle, "get_cap_size"))


def _unit_type(unit: Any, ids: Mapping[Any, str]) -> str | None:
    """A unit's type by its number in SMAC, by its name in SMAClite."""
    if (number := getattr(unit, "unit_type", None)) is not None:
        return ids.get(number)
    name = getattr(getattr(getattr(unit, "type", None), "stats", None), "name", None)
    return name if isinstance(name, str) else None
