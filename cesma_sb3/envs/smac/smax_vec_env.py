"""Many battles of SMAX as one SB3 environment, in the joint space of the team."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from cesma_sb3.envs.joint_vec_env import SharedVecEnv
from cesma_sb3.envs.smac.battle import BattleEnv
from cesma_sb3.envs.smac.invalid_actions import available_actions, checked
from cesma_sb3.envs.smac.rendering import battle_frame
from cesma_sb3.envs.smac.smax import SmaxBattle, SmaxBattles, Snapshot
from cesma_sb3.errors import SpaceError, integer
from cesma_sb3.spaces.action_views import ActionView, make_view
from cesma_sb3.spaces.team_spaces import TeamSpaces
from cesma_sb3.spaces.types import Array, Flags, Floats, Masks
from cesma_sb3.utils.stateful import Stateful


class SmaxVecEnv(SharedVecEnv, Stateful):
    """`n_envs` battles of a map of SMAX, stepped by one jitted call.

    The same battles as `joint_vec_env` of the `ParallelEnv` has with the same seeds. The last infos
    of a battle hold `battle_won` and the last `action_mask` [mask_size] besides what SB3 knows.

    Args:
        map_name: `3m`, `2s3z`, `3s5z`, ...
        n_envs: B, how many battles.
        seed: Battle i is seeded with seed + i.
        view: How joint actions look to SB3: a name of `make_view`, or a view of this team.
        episode_limit: Most timesteps of a battle, at least 1; None: SMAX's own limit.
        unavailable: What becomes of an action that is not available: see `BattleEnv`.
        kwargs: Arguments of SMAX: see `SmaxBattles`.

    Raises:
        MissingExtraError: JaxMARL is not installed.
        ConfigError: No battles, a limit below 1, or an unknown map or argument.
        SpaceError: The view is another team's.
    """

    keeps_state = True
    state_attributes = ("battles", "_returns", "_lengths", "_seeds")

    def __init__(
        self,
        map_name: str,
        n_envs: int = 1,
        *,
        seed: int | None = None,
        view: str | ActionView = "joint",
        episode_limit: int | None = None,
        unavailable: str = "refuse",
        **kwargs: Any,
    ) -> None:
        self.unavailable = checked(unavailable)
        self.replaces_unavailable = self.unavailable == "replace"
        n_envs = integer("n_envs", n_envs, 1)
        self.battles = SmaxBattles(map_name, n_envs, **kwargs)
        limit = self.battles.episode_limit
        if episode_limit is not None and integer("episode_limit", episode_limit, 1) < limit:
            self.battles = SmaxBattles(map_name, n_envs, **{**kwargs, "max_steps": episode_limit - 1})
        self.team = smax_team(self.battles)
        self.view = make_view(view, self.team) if isinstance(view, str) else view
        if self.view.team != self.team:
            raise SpaceError(f"action view {self.view.name!r}: made for another team than {self.team}")
        super().__init__(n_envs, self.team.observation_space, self.view.space)
        self._actions: Array | None = None
        self._returns = np.zeros(n_envs)
        self._lengths = np.zeros(n_envs, dtype=np.int64)
        self._start = time.perf_counter()
        self.reset_infos: list[dict[str, Any]] = [{} for _ in range(n_envs)]
        self._now: Snapshot | None = None
        self.seed(seed)

    def state_dict(self) -> dict[str, Any]:
        """The battles, and what was seen of them last."""
        return {**super().state_dict(), "_now": None if self._now is None else self._now._asdict()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Takes over what `state_dict` returned."""
        super().load_state_dict(state_dict)
        now = state_dict["_now"]
        self._now = None if now is None else Snapshot(**now)

    @property
    def shared(self) -> SmaxBattles:
        """See `SharedVecEnv`."""
        return self.battles

    @property
    def picture_mode(self) -> str | None:
        """See `SharedVecEnv`."""
        return "rgb_array"

    @property
    def alive(self) -> Flags:
        """Who is alive in the observations last returned, [B, n_agents]."""
        return self._snapshot.alive

    @property
    def agent_masks(self) -> Masks:
        """Joint masks of the observations last returned, [B, mask_size]."""
        return self._snapshot.masks.reshape(self.num_envs, -1)

    @property
    def _snapshot(self) -> Snapshot:
        if self._now is None:
            raise SpaceError("expected reset before anything else")
        return self._now

    def reset(self) -> Floats:
        """Starts all battles; a seed given to `seed` counts from here."""
        self._now = self.battles.reset(self._seeds[0])
        self._reset_seeds()
        self._reset_options()
        self._returns[:] = 0.0
        self._lengths[:] = 0
        return self._joint(self._now)

    def step_async(self, actions: Array) -> None:
        """Takes the actions [B, ...] in the view's space, for `step_wait` to carry out."""
        self._actions = np.asarray(actions)

    def step_wait(
        self,
    ) -> tuple[Floats, Floats, Flags, list[dict[str, Any]]]:
        """One timestep of every battle.

        Returns:
            Observations [B, joint size] float32, team rewards [B] float32, ends [B] bool, one info a battle.

        Raises:
            SpaceError: The actions do not fit.
            EnvError: An action is not available, and refused.
        """
        if self._actions is None or len(self._actions) != self.num_envs:
            raise SpaceError(f"expected actions for {self.num_envs} battles, given to step_async")
        packed = self.view.decode(self._actions, self.agent_masks)
        self._actions = None
        chosen = available_actions(
            packed.reshape(self.num_envs, self.team.n_agents),
            self._snapshot.masks,
            self.unavailable,
            battle=self.battles.name,
            agents=self.team.agents,
        )
        outcome = self.battles.step(chosen)
        self._returns += outcome.rewards
        self._lengths += 1
        infos: list[dict[str, Any]] = [{} for _ in range(self.num_envs)]
        dones = outcome.decided | outcome.cut_off
        if dones.any():
            last = self._joint(outcome.last)
            elapsed = round(time.perf_counter() - self._start, 6)
            for battle in np.flatnonzero(dones).tolist():
                total = float(self._returns[battle])
                infos[battle] = {
                    "terminal_observation": last[battle],
                    "TimeLimit.truncated": bool(outcome.cut_off[battle]),
                    "battle_won": bool(outcome.won[battle]),
                    "action_mask": outcome.last.masks[battle].reshape(-1),
                    "episode": {"r": total, "l": int(self._lengths[battle]), "t": elapsed},
                    "agent_returns": dict.fromkeys(self.team.agents, total),
                }
            if dones[0] and self.renders_terminal:
                infos[0]["terminal_frame"] = battle_frame(self.battles, self.battles.reached)
            self._returns[dones] = 0.0
            self._lengths[dones] = 0
        self._now = outcome.now
        return self._joint(self._now), outcome.rewards, dones, infos

    def _joint(self, snapshot: Snapshot) -> Floats:
        return snapshot.observations.reshape(self.num_envs, -1)

    def get_images(self) -> list[npt.NDArray[np.uint8]]:
        """The picture [height, width, 3] of the first battle alone."""
        return [battle_frame(self.battles, self.battles.states)]

    def render(self, mode: str | None = None) -> npt.NDArray[np.uint8] | None:
        """The picture of the first battle; there is no window."""
        return self.get_images()[0] if (mode or "rgb_array") == "rgb_array" else None

    def close(self) -> None:
        """Nothing to end."""


def smax_team(battles: SmaxBattles) -> TeamSpaces:
    """The team's spaces: those of `BattleEnv`."""
    return TeamSpaces.from_parallel_env(BattleEnv(SmaxBattle(battles), name=battles.name))
