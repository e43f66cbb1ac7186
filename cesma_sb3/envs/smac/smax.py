"""SMAX, StarCraft battles without the game: many at once in one jitted step.

Action 0 does nothing and is the only one of the dead, 1 to 4 move, and each of the others attacks an enemy.

Source: Rutherford et al. (2023), JaxMARL.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from cesma_sb3.envs.smac.battles import Outcome, Snapshot
from cesma_sb3.envs.smac.feature_index import SMAX_FEATURES, FeatureIndex
from cesma_sb3.envs.smac.rendering import battle_frame
from cesma_sb3.errors import ConfigError, UnknownNameError
from cesma_sb3.spaces.layout import AgentLayout, ObservationLayout, Part
from cesma_sb3.spaces.types import Array, Flags, Floats, Index, Pixels
from cesma_sb3.utils.installation import missing_extra

_N_MOVES = 4
_STOP = 4
"""SMAX's number of the action that does nothing."""


class SmaxBattles:
    """`n_envs` battles of a map of SMAX against its scripted enemy, stepped together.

    A battle that has ended starts anew in the same step. Battle i is seeded with seed + i, and its generator
    then continues: its episodes do not depend on how many battles are stepped beside it.

    Args:
        map_name: `3m`, `2s3z`, `3s5z`, ...
        n_envs: B, the number of battles.
        kwargs: Arguments of `HeuristicEnemySMAX`: `max_steps`, `see_enemy_actions`, `attack_mode`, ...

    Raises:
        MissingExtraError: JaxMARL is not installed.
        UnknownNameError: SMAX has no such map.
        ConfigError: An argument that SMAX does not take.
    """

    def __init__(self, map_name: str, n_envs: int = 1, **kwargs: Any) -> None:
        self.env, self._reset, self._step = _compiled(map_name, tuple(sorted(kwargs.items())))
        env = self.env
        self.name = f"smax-{map_name}"
        self.feature_index: FeatureIndex | None = SMAX_FEATURES
        self.n_envs = n_envs
        self.draws, self.keeps_last_frame = True, True
        self.n_agents: int = env.num_allies
        self.n_enemies: int = env.num_enemies
        self.n_actions = _N_MOVES + 1 + self.n_enemies
        self.observation_size: int = env.observation_spaces[env.agents[0]].shape[0]
        # SMAX compares its step, counted from 0, with its limit before it counts.
        self.episode_limit = int(env.max_steps) + 1
        self._to_smax = _to_smax(self.n_enemies)
        self._keys: Any = None
        self.states: Any = None
        """SMAX's own states of all battles."""
        self.reached: Any = None
        """SMAX's own states after the last step, before battles that had ended started anew."""

    def layout(self) -> AgentLayout:
        """The parts of an observation: teammates, enemies (zeros if hidden or dead), the unit itself."""
        features = len(self.env.unit_features)
        return AgentLayout(
            ObservationLayout(
                (
                    Part("allies", "agents", self.n_agents - 1, features),
                    Part("enemies", "entities", self.n_enemies, features),
                    Part("self", "own", 1, len(self.env.own_features)),
                )
            )
        )

    def reset(self, seed: int | None = None) -> Snapshot:
        """Starts all battles; without a seed their generators continue.

        Args:
            seed: The first battle's seed, at least 0; drawn at random if the first reset has none.
        """
        if seed is None and self._keys is None:
            seed = int(np.random.default_rng().integers(2**31))
        if seed is not None:
            import jax

            seeds = np.arange(self.n_envs, dtype=np.uint32) + np.uint32(seed % 2**32)
            self._keys = jax.vmap(jax.random.PRNGKey)(seeds)
        self._keys, self.states, snapshot = self._reset(self._keys)
        self.reached = self.states
        return Snapshot(*map(np.array, snapshot))  # copies: JAX's arrays are read-only

    def step(self, actions: Array) -> Outcome:
        """One timestep of every battle, for actions [B, A]."""
        chosen = self._to_smax[np.asarray(actions)]
        stepped = self._step(self._keys, self.states, chosen)
        self._keys, self.states, self.reached, last, now, *rest = stepped
        return Outcome(Snapshot(*map(np.array, last)), Snapshot(*map(np.array, now)), *map(np.array, rest))

    def state_dict(self) -> dict[str, list[Array]]:
        """Everything that the future depends on: SMAX's states, leaf by leaf, and the generators' keys."""
        import jax

        return {
            name: [np.array(leaf) for leaf in jax.tree.leaves(tree)] for name, tree in self._trees().items()
        }

    def load_state_dict(self, state_dict: Mapping[str, Sequence[Array]]) -> None:
        """Takes over what `state_dict` returned.

        Raises:
            ValueError: It is of other battles.
        """
        import jax

        if self._keys is None:
            self.reset(0)  # for the shapes
        for name, tree in self._trees().items():
            leaves, made = jax.tree.flatten(tree)
            if [np.shape(leaf) for leaf in leaves] != [np.shape(leaf) for leaf in state_dict[name]]:
                raise ValueError(f"{self.name}: {name} of other battles")
            setattr(
                self, name, jax.tree.unflatten(made, [jax.numpy.asarray(leaf) for leaf in state_dict[name]])
            )
        self.reached = self.states

    def _trees(self) -> dict[str, Any]:
        return {"_keys": self._keys, "states": self.states}

    def frame(self) -> Pixels:
        """A frame [height, width, 3] of the first battle."""
        return battle_frame(self.env, self.states, self.name)

    def last_frame(self) -> Pixels:
        """The frame after the first battle's last step, before one that had ended started anew."""
        return battle_frame(self.env, self.reached, self.name)

    def close(self) -> None:
        """Does nothing: battles hold no resources."""

    def unit_types(self, battle: int = 0) -> list[str]:
        """The names of our units' types, in the agents' order."""
        types = np.asarray(self.states.state.unit_types)[battle, : self.n_agents]
        return [self.env.unit_type_names[kind] for kind in types]


@cache
def _compiled(map_name: str, kwargs: tuple[tuple[str, Any], ...]) -> tuple[Any, Any, Any]:
    """SMAX's environment, and `reset(keys)` and `step(keys, states, actions)` of many battles, jitted."""
    smax, maps = _import()
    if map_name not in maps:
        raise UnknownNameError.of("SMAX map", map_name, maps)
    try:
        env = smax(scenario=maps[map_name], **dict(kwargs))
    except TypeError as error:
        raise ConfigError(f"SMAX: {error}") from error
    import jax

    np_ = jax.numpy
    agents, n_agents = env.agents, env.num_allies
    to_smax = _to_smax(env.num_enemies)

    def stacked(by_agent: Mapping[str, Any]) -> Any:
        return np_.stack([by_agent[agent] for agent in agents])

    def snapshot(observations: Mapping[str, Any], state: Any) -> tuple[Any, Any, Any]:
        masks = stacked(env.get_avail_actions(state)).astype(bool)[:, to_smax]
        return stacked(observations), masks, state.state.unit_alive[:n_agents]

    def reset(key: Any) -> tuple[Any, Any, Any]:
        key, own = jax.random.split(key)
        observations, state = env.reset(own)
        return key, state, snapshot(observations, state)

    def step(key: Any, state: Any, actions: Any) -> tuple[Any, ...]:
        key, own = jax.random.split(key)
        chosen = {agent: actions[index] for index, agent in enumerate(agents)}
        observations, state, rewards, dones, _ = env.step_env(own, state, chosen)
        alive = state.state.unit_alive
        ours, theirs = alive[:n_agents].any(), alive[n_agents:].any()
        done, decided = dones["__all__"], ~(ours & theirs)
        last = snapshot(observations, state)
        again_key, again, first = reset(key)
        key, following, now = jax.tree.map(
            lambda new, old: np_.where(done, new, old), (again_key, again, first), (key, state, last)
        )
        reward = rewards[agents[0]].astype(np_.float32)
        return key, following, state, last, now, reward, decided, done & ~decided, ours & ~theirs

    return env, jax.jit(jax.vmap(reset)), jax.jit(jax.vmap(step))


def _to_smax(n_enemies: int) -> Index:
    """SMAX's own number of each of our actions."""
    return np.array([_STOP, *range(_N_MOVES), *range(_STOP + 1, _STOP + 1 + n_enemies)])


def _import() -> tuple[Any, Mapping[str, Any]]:
    """SMAX with its scripted enemy, and its maps."""
    try:
        with _without_output(), _on_processors():  # its import prints notices about other environments
            from jaxmarl.environments.smax import HeuristicEnemySMAX
            from jaxmarl.environments.smax.smax_env import MAP_NAME_TO_SCENARIO
    except ImportError as error:
        raise missing_extra("SMAX", "smax", error) from error
    return HeuristicEnemySMAX, MAP_NAME_TO_SCENARIO


@contextlib.contextmanager
def _on_processors() -> Iterator[None]:
    """Makes JAX, if the block imports it, leave GPUs to PyTorch, unless the user chose a platform.

    JAX reads the variable when it is imported. Processes that are started later do not inherit it.
    """
    name = "JAX_PLATFORMS"
    if name in os.environ:
        yield
        return
    os.environ[name] = "cpu"
    try:
        yield
    finally:
        os.environ.pop(name, None)


@contextlib.contextmanager
def _without_output() -> Iterator[None]:
    """Drops what the block prints on standard output, also through the file descriptor."""
    sys.stdout.flush()
    kept = os.dup(1)
    with Path(os.devnull).open("w", encoding="utf-8") as nowhere:
        os.dup2(nowhere.fileno(), 1)
        try:
            yield
        finally:
            sys.stdout.flush()
            if sys.__stdout__ is not None:
                sys.__stdout__.flush()
            os.dup2(kept, 1)
            os.close(kept)


class SmaxBattle:
    """The first of SMAX's battles with SMAC's interface, for `BattleEnv`.

    Args:
        battles: The battles; the first is played. With several, only sizes and layouts can be used.
    """

    def __init__(self, battles: SmaxBattles) -> None:
        self.battles = battles
        self.feature_index = battles.feature_index
        self._shown: Snapshot | None = None
        self._next: Snapshot | None = None

    def get_env_info(self) -> dict[str, int]:
        """The sizes of a battle, under SMAC's names."""
        battles = self.battles
        return {
            "n_agents": battles.n_agents,
            "n_actions": battles.n_actions,
            "obs_shape": battles.observation_size,
            "state_shape": int(battles.env.state_size),
            "episode_limit": battles.episode_limit,
        }

    def reset(self, seed: int | None = None) -> None:
        """Starts a battle."""
        follows = self._next if seed is None else None
        self._shown = follows or self.battles.reset(seed)
        self.battles.reached = self.battles.states
        self._next = None

    def step(self, actions: Sequence[int]) -> tuple[float, bool, dict[str, Any]]:
        """The team's reward, whether the battle has ended, and `battle_won`."""
        outcome = self.battles.step(np.array([actions]))
        self._shown = outcome.last
        ended = bool(outcome.decided[0] or outcome.cut_off[0])
        self._next = outcome.now if ended else None
        return float(outcome.rewards[0]), ended, {"battle_won": bool(outcome.won[0])}

    def get_obs(self) -> Floats:
        """The agents' observations [A, O]; zeros of the dead."""
        assert self._shown is not None
        observations: Floats = self._shown.observations[0]
        return observations

    def get_avail_actions(self) -> Flags:
        """The agents' available actions [A, n_actions]."""
        assert self._shown is not None
        masks: Flags = self._shown.masks[0]
        return masks

    def get_state(self) -> Floats:
        """SMAX's own global state [state_shape]."""
        import jax

        state = jax.tree.map(lambda leaf: leaf[0], self.battles.reached)
        return np.asarray(self.battles.env.get_world_state(state), dtype=np.float32)

    def render(self) -> Pixels:
        """A frame of the battle, [height, width, 3]."""
        return self.battles.last_frame()

    def get_unit_types(self) -> list[str]:
        """The names of our units' types, in the agents' order."""
        return self.battles.unit_types()

    def get_obs_layout(self) -> AgentLayout:
        """The parts of every agent's observation."""
        return self.battles.layout()
