"""Many battles that one call steps together."""

from __future__ import annotations

from typing import Any, NamedTuple, Protocol

import numpy as np

from cesma_sb3.envs.smac.feature_index import FeatureIndex
from cesma_sb3.envs.smac.interface import BattleInterface, Step, inside
from cesma_sb3.errors import ConfigError, EnvError, short_repr
from cesma_sb3.spaces.types import Array, Flags, Floats, Index


class Snapshot(NamedTuple):
    """What B teams of A agents observe, and the actions that are available."""

    observations: Floats
    """The agents' observations, [B, A, O]; zeros of the dead."""
    masks: Flags
    """Available actions, [B, A, n_actions]."""
    alive: Flags
    """Which agents are alive, [B, A]."""


class Outcome(NamedTuple):
    """The result of one timestep of B battles."""

    last: Snapshot
    """The snapshot after the step, also where it was the battle's last."""
    now: Snapshot
    """The same, but of the next battle where one has ended."""
    rewards: Floats
    """The team's rewards, [B]."""
    decided: Flags
    """Whether one side is dead, [B]."""
    cut_off: Flags
    """Whether the time limit ended the battle, [B]."""
    won: Flags
    """Whether the enemies are dead and some of our units are not, [B]."""


class Battles(Protocol):
    """B battles, as `BattleVecEnv` steps them; one that has ended starts anew in the same step."""

    name: str
    n_envs: int
    feature_index: FeatureIndex | None
    keeps_last_frame: bool
    """Whether `last_frame` is wanted."""

    @property
    def draws(self) -> bool:
        """Whether there are frames."""

    def reset(self, seed: int | None = None) -> Snapshot:
        """Starts all battles, battle i seeded with seed + i; without a seed their generators continue."""

    def step(self, actions: Index) -> Outcome:
        """One timestep of every battle, for actions [B, A]."""

    def frame(self) -> Any:
        """A frame [height, width, 3] of the first battle."""

    def last_frame(self) -> Any:
        """The frame after the last step, before a battle that had ended started anew."""

    def close(self) -> None:
        """Closes the battles."""


class ManyInterface(BattleInterface):
    """SMAC's interface with one axis more in front, over battles that are stepped together.

    `get_obs() -> [B, n_agents, obs_size]`, `get_avail_actions() -> [B, n_agents, n_actions]`,
    `step(actions)` for integers [B, n_agents], with a reward and flags [B] and an info that has `battle_won`
    [B]; and two more: `n_envs`, which is B, and `reset_battles(ended)`, which starts anew those battles whose
    flag [B] is set, and leaves the others as they are.

    Args:
        battle: The object.
        name: Its name in messages.

    Raises:
        ConfigError: A method or a size is missing.
    """

    def __init__(self, battle: Any, name: str) -> None:
        super().__init__(battle, name)
        self.n_envs = int(self._inside.n_envs)
        self._lead = (self.n_envs,)

    @staticmethod
    def fits(battle: Any) -> bool:
        """Whether an object says that it runs many battles."""
        battle = inside(battle)
        return hasattr(battle, "n_envs") and callable(getattr(battle, "reset_battles", None))

    def column(self, what: str, values: Any) -> Array:
        """Values of the battles, [B].

        Raises:
            EnvError: They are none, or of another shape.
        """
        found = np.asarray(values)
        if found.shape != self._lead or found.dtype == object:
            raise EnvError(
                f"{self.name}: {what} is {short_repr(values)}, expected a number of each battle, {self._lead}"
            )
        return found

    def restart(self, ended: Flags) -> None:
        """Starts battles anew, those that have ended [B]."""
        self._inside.reset_battles(ended)


class FirstInterface(ManyInterface):
    """The first of battles that are stepped together, without their axis.

    It is played alone; with several, only its sizes and its layout can be used.
    """

    def step(self, actions: Any) -> Step:
        """One timestep."""
        reward, terminated, truncated, info = super().step(np.array([actions]))
        first = {key: self.column(key, info[key])[0] for key in ("battle_won",) if key in info}
        flags = self.column("truncated", truncated)[0] if np.ndim(truncated) else truncated
        return Step(
            self.column("the reward", reward)[0], self.column("terminated", terminated)[0], flags, first
        )

    def observations(self) -> Floats:
        """The agents' observations [n_agents, observation_size] float32."""
        first: Floats = super().observations()[0]
        return first

    def masks(self) -> Array:
        """The agents' available actions [n_agents, n_actions] int8."""
        first: Array = super().masks()[0]
        return first

    def state(self) -> Floats:
        """The battle's own global state, float32."""
        first: Floats = super().state()[0]
        return first


class SmacBattles:
    """Battles of an object with SMAC's interface that runs many (`ManyInterface`).

    Args:
        battle: The object.
        name: Its name in messages.
        n_envs: B, how many it was asked for.
        episode_limit: The most timesteps of a battle; None: the object's own, which it must have.

    Raises:
        ConfigError: It does not run as many, or something is missing.
    """

    def __init__(self, battle: Any, name: str, n_envs: int, episode_limit: int | None = None) -> None:
        if not ManyInterface.fits(battle) or inside(battle).n_envs != n_envs:
            raise ConfigError(
                f"{name}: takes n_envs, and made no object with n_envs = {n_envs} and reset_battles(ended)"
            )
        self.name, self.n_envs = name, n_envs
        self.interface = ManyInterface(battle, name)
        self.feature_index = self.interface.feature_index
        self.draws = self.interface.draws
        self.episode_limit = self.interface.limit(episode_limit)
        self.keeps_last_frame = False
        self._last_frame: Any = None
        self._steps: Index = np.zeros(n_envs, dtype=np.int64)

    def reset(self, seed: int | None = None) -> Snapshot:
        """Starts all battles; the object seeds battle i with seed + i."""
        self.interface.reset(seed)
        self._steps[:] = 0
        return self._snapshot()

    def step(self, actions: Index) -> Outcome:
        """One timestep of every battle, for actions [B, A].

        Raises:
            EnvError: The object returned something else than what is expected.
        """
        interface = self.interface
        reward, terminated, truncated, info = interface.step(actions)
        self._steps += 1
        over = interface.column("terminated", terminated).astype(bool)
        late = self._steps >= self.episode_limit
        if np.ndim(truncated):
            late |= interface.column("truncated", truncated).astype(bool)
        won = over & interface.column("battle_won", info.get("battle_won")).astype(bool)
        last = now = self._snapshot()
        cut_off = late & ~(over & (won | ~last.alive.any(axis=1)))
        ended = over | cut_off
        if ended.any():
            if self.keeps_last_frame and ended[0]:
                self._last_frame = interface.render()
            interface.restart(ended)
            self._steps[ended] = 0
            now = self._snapshot()
        rewards = interface.column("the reward", reward).astype(np.float32)
        return Outcome(last, now, rewards, over & ~cut_off, cut_off, won & ~cut_off)

    def _snapshot(self) -> Snapshot:
        masks = np.array(self.interface.masks(), dtype=bool)  # a copy: the object may use its arrays again
        alive: Flags = np.any(masks[..., 1:], axis=-1)
        return Snapshot(np.where(alive[..., None], self.interface.observations(), 0), masks, alive)

    def frame(self) -> Any:
        """A frame of the first battle."""
        return self.interface.render()

    def last_frame(self) -> Any:
        """The frame after the first battle's last step."""
        return self._last_frame

    def close(self) -> None:
        """Closes the object, if it can be closed."""
        self.interface.close()
