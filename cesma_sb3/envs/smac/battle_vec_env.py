"""Many battles as one SB3 environment, in the joint space of the team."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from cesma_sb3.envs.batched_vec_env import BatchedVecEnv
from cesma_sb3.envs.joint_vec_env import EpisodeStatistics, StepReturn
from cesma_sb3.envs.smac.battle import BattleEnv
from cesma_sb3.envs.smac.battles import Battles, Snapshot
from cesma_sb3.envs.smac.invalid_actions import available_actions, checked
from cesma_sb3.envs.smac.smax import SmaxBattle, SmaxBattles
from cesma_sb3.errors import SpaceError, integer
from cesma_sb3.spaces.action_views import ActionView
from cesma_sb3.spaces.team_spaces import TeamSpaces
from cesma_sb3.spaces.types import Flags, Floats, Info, Masks
from cesma_sb3.utils.stateful import Stateful


class BattleVecEnv(BatchedVecEnv):
    """B battles that one call steps together.

    The last infos of a battle hold `battle_won` and the last `action_mask` [mask_size] besides what SB3
    knows.

    Args:
        battles: The battles.
        one: One of them, for the team's spaces.
        seed: Battle i is seeded with seed + i.
        view: The action view in which SB3 acts: a name of `make_view`, or a view of this team.
        unavailable: The treatment of unavailable actions: `refuse` or `replace`.

    Raises:
        SpaceError: The view is another team's.
        UnknownNameError: `unavailable` is neither; or there is no such view.
    """

    keeps_state = False

    def __init__(
        self,
        battles: Battles,
        one: BattleEnv,
        *,
        seed: int | None = None,
        view: str | ActionView = "joint",
        unavailable: str = "refuse",
    ) -> None:
        self.unavailable = checked(unavailable)
        self.replaces_unavailable = self.unavailable == "replace"
        self.battles = battles
        team = TeamSpaces.from_parallel_env(one)
        super().__init__(
            battles.n_envs, team, view, shared=battles, render_mode="rgb_array" if battles.draws else None
        )
        self.statistics = EpisodeStatistics(battles.n_envs)
        self._now: Snapshot | None = None
        self.seed(seed)

    @property
    def alive(self) -> Flags:
        """Which agents are alive in the observations last returned, [B, n_agents]."""
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
        self.statistics.reset()
        return self._joint(self._now)

    def step_wait(self) -> StepReturn:
        """One timestep of every battle.

        Returns:
            Observations [B, joint size] float32, team rewards [B] float32, ends [B] bool, one info a battle.

        Raises:
            SpaceError: The actions do not fit.
            EnvError: An action is not available, and refused.
        """
        chosen = available_actions(
            self._take_actions().reshape(self.num_envs, self.team.n_agents),
            self._snapshot.masks,
            self.unavailable,
            battle=self.battles.name,
            agents=self.team.agents,
        )
        outcome = self.battles.step(chosen)
        self.statistics.add(outcome.rewards)
        infos: list[Info] = [{} for _ in range(self.num_envs)]
        dones = outcome.decided | outcome.cut_off
        if dones.any():
            last = self._joint(outcome.last)
            for battle in np.flatnonzero(dones).tolist():
                episode = self.statistics.end_episode(battle)
                infos[battle] = {
                    "terminal_observation": last[battle],
                    "TimeLimit.truncated": bool(outcome.cut_off[battle]),
                    "battle_won": bool(outcome.won[battle]),
                    "action_mask": outcome.last.masks[battle].reshape(-1),
                    "episode": episode,
                    "agent_returns": dict.fromkeys(self.team.agents, episode["r"]),
                }
            if dones[0] and self.battles.draws and self.renders_terminal:
                infos[0]["terminal_frame"] = self.battles.last_frame()
        self._now = outcome.now
        return self._joint(self._now), outcome.rewards, dones, infos

    def _joint(self, snapshot: Snapshot) -> Floats:
        return snapshot.observations.reshape(self.num_envs, -1)

    def render_terminal(self, on: bool = True) -> None:
        """Has the last info of the first battle hold `terminal_frame`, or no longer."""
        super().render_terminal(on)
        self.battles.keeps_last_frame = on

    def get_images(self) -> list[Any]:
        """A frame [height, width, 3] of the first battle alone; none if battles are not drawn."""
        return [self.battles.frame()] if self.battles.draws else []

    def render(self, mode: str | None = None) -> Any:
        """A frame of the first battle; there is no window."""
        drawn = self.battles.draws and (mode or "rgb_array") == "rgb_array"
        return self.battles.frame() if drawn else None

    def close(self) -> None:
        """Closes the battles."""
        self.battles.close()


class SmaxVecEnv(BattleVecEnv, Stateful):
    """`n_envs` battles of a map of SMAX, stepped by one jitted call.

    The same battles as `joint_vec_env` of the `ParallelEnv` has with the same seeds.

    Args:
        map_name: `3m`, `2s3z`, `3s5z`, ...
        n_envs: B, the number of battles.
        seed: Battle i is seeded with seed + i.
        view: The action view in which SB3 acts: a name of `make_view`, or a view of this team.
        episode_limit: The most timesteps of a battle, at least 1; None: SMAX's own limit.
        unavailable: The treatment of unavailable actions: `refuse` or `replace`.
        kwargs: Arguments of SMAX (`HeuristicEnemySMAX`).

    Raises:
        MissingExtraError: JaxMARL is not installed.
        ConfigError: No battles, a limit below 1, or an unknown map or argument.
        SpaceError: The view is another team's.
    """

    keeps_state = True
    state_attributes = ("battles", "statistics", "_seeds")

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
        checked(unavailable)  # before a map is compiled
        n_envs = integer("n_envs", n_envs, 1)
        battles = SmaxBattles(map_name, n_envs, **kwargs)
        limit = battles.episode_limit
        if episode_limit is not None and integer("episode_limit", episode_limit, 1) < limit:
            battles = SmaxBattles(map_name, n_envs, **{**kwargs, "max_steps": episode_limit - 1})
        one = BattleEnv(SmaxBattle(battles), name=battles.name)
        super().__init__(battles, one, seed=seed, view=view, unavailable=unavailable)

    def state_dict(self) -> dict[str, Any]:
        """The battles, and the snapshot that was returned last."""
        return {**super().state_dict(), "_now": None if self._now is None else self._now._asdict()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Takes over what `state_dict` returned."""
        super().load_state_dict(state_dict)
        now = state_dict["_now"]
        self._now = None if now is None else Snapshot(**now)
