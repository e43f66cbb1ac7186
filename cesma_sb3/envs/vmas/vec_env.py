"""Many worlds of a VMAS scenario as one environment of SB3, in the joint space of the team."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, get_args

import numpy as np

from cesma_sb3.envs.batched_vec_env import BatchedVecEnv, of_team
from cesma_sb3.envs.joint_env import TeamReward
from cesma_sb3.envs.joint_vec_env import EpisodeStatistics, StepReturn
from cesma_sb3.envs.vmas.rendering import world_frame
from cesma_sb3.envs.vmas.worlds import Starts, Worlds
from cesma_sb3.errors import EnvError, RewardError, check_choice, integer
from cesma_sb3.spaces.action_views import ActionView
from cesma_sb3.spaces.types import Flags, Floats, Index, Info, Observations, Pixels
from cesma_sb3.utils.stateful import Stateful

MAX_CYCLES = 100
"""Steps of an episode where nothing else is said: of itself, VMAS never truncates."""


class VmasVecEnv(BatchedVecEnv, Stateful):
    """`n_envs` worlds of a scenario of VMAS, stepped together.

    An episode terminates where the scenario says `done`, else it is truncated after `max_cycles` steps. A
    world whose episode is over starts the next one in the same step: all that are over at once, without a
    loop over worlds.

    The first reset and the steps after it are VMAS's own with the same seed. The same seed and actions give
    the same trace, whatever other worlds this process has.

    Args:
        scenario: `balance`, `transport`, `navigation`, `sampling`, or another one of VMAS.
        n_envs: B, the number of worlds.
        kwargs: Arguments of the scenario; `max_cycles` (100), which is VMAS's `max_steps`;
            `continuous_actions` (true); `multidiscrete_actions` (false).
        seed: Of the worlds' generators; None takes one from the system.
        view: The action view in which SB3 acts: a name of `make_view`, or a view of this team.
        team_reward: "shared": the one reward that all agents get; "sum" or "mean" of the agents' rewards.
            None means "shared".
        max_steps: Steps of an episode, at most, at least 1; None: `max_cycles`.

    Raises:
        MissingExtraError: VMAS is not installed.
        ConfigError: No worlds, a limit below 1, or an unknown scenario or argument.
        SpaceError: The view is another team's; or an observation is no array of numbers.
        UnknownNameError: No such view or team reward.
    """

    def __init__(
        self,
        scenario: str,
        n_envs: int = 1,
        kwargs: Mapping[str, Any] | None = None,
        *,
        seed: int | None = None,
        view: str | ActionView = "joint",
        team_reward: TeamReward | None = None,
        max_steps: int | None = None,
    ) -> None:
        n_envs, given = integer("n_envs", n_envs, 1), dict(kwargs or {})
        limits = [integer("env.kwargs.max_cycles", given.pop("max_cycles", MAX_CYCLES), 1)]
        limits += [] if max_steps is None else [integer("max_steps", max_steps, 1)]
        self.episode_limit = min(limits)
        self.team_reward: TeamReward = team_reward or "shared"
        check_choice("team reward", self.team_reward, get_args(TeamReward))
        self.worlds = Worlds(scenario, n_envs, given)
        super().__init__(n_envs, self.worlds.team(), view, shared=self.worlds, render_mode="rgb_array")
        self._make_others = partial(Worlds, scenario, kwargs=given)
        self._starts: Starts | None = None
        self.statistics = EpisodeStatistics(n_envs)
        self._agent_returns = np.zeros((self.team.n_agents, n_envs))
        self._seed = int(np.random.default_rng().integers(2**32))
        self.worlds.seed(self._seed)
        self.seed(seed)

    def reset(self) -> Observations:
        """Starts a new episode in every world; a seed given to `seed` counts from here."""
        if self._seeds[0] is not None:
            self._seed, self._starts = self._seeds[0], None
            self.worlds.seed(self._seed)
        self._reset_seeds()
        self._reset_options()
        self.statistics.reset()
        self._agent_returns[:] = 0.0
        self.reset_infos = [{} for _ in range(self.num_envs)]
        return self.worlds.reset()

    def step_wait(self) -> StepReturn:
        """Moves every world by one step.

        Returns:
            Observations [B, joint size] float32, team rewards [B] float32, ends [B] bool, one info for each
            world.

        Raises:
            SpaceError: The actions do not fit.
            RewardError: The reward is to be `shared`, and the agents' rewards differ.
            EnvError: The scenario returned something that is no number.
        """
        observations, rewards, terminated = self.worlds.step(self._take_actions())
        self._check_shared(rewards)
        team_rewards = of_team(rewards, self.team_reward)
        if not (np.isfinite(observations).all() and np.isfinite(team_rewards).all()):
            raise EnvError(f"{self.worlds.name}: an observation or a reward is not finite")
        self.statistics.add(team_rewards)
        self._agent_returns += rewards
        infos: list[Info] = [{} for _ in range(self.num_envs)]
        dones = terminated | (self.statistics.lengths >= self.episode_limit)
        if dones.any():
            which = np.flatnonzero(dones)
            self._report(which, observations, terminated, infos)
            if dones[0] and self.renders_terminal:
                infos[0]["terminal_frame"] = self._frame(infos[0]["episode"]["l"])
            observations[which] = self._restart(which)
        return observations, team_rewards, dones, infos

    def _check_shared(self, rewards: Floats) -> None:
        """Refuses agents' rewards [N, B] that differ, where the team's is to be the one that all get."""
        if self.team_reward != "shared":
            return
        differs = np.abs(rewards - rewards[0]) > 1e-6 * np.abs(rewards[0])
        if differs.any():
            agent, world = np.argwhere(differs)[0]
            agents = self.team.agents
            raise RewardError(
                f"{self.worlds.name}: team_reward 'shared', but {agents[0]} got {rewards[0, world]:.6g} and "
                f"{agents[agent]} got {rewards[agent, world]:.6g}; use 'sum' or 'mean'"
            )

    def _report(self, which: Index, observations: Floats, terminated: Flags, infos: list[Info]) -> None:
        for world in which.tolist():
            returns = self._agent_returns[:, world].tolist()
            infos[world] = {
                "terminal_observation": observations[world].copy(),
                "TimeLimit.truncated": not terminated[world],
                "episode": self.statistics.end_episode(world),
                "agent_returns": dict(zip(self.team.agents, returns, strict=True)),
            }

    def _restart(self, which: Index) -> Floats:
        if self._starts is None:
            self._starts = Starts(self.worlds, self._make_others, self._seed)
        self._agent_returns[:, which] = 0.0
        return self._starts.take(which)

    def state_dict(self) -> dict[str, Any]:
        """The worlds, the beginnings of episodes to come, and the seeds of the next `reset`."""
        return {
            "worlds": self.worlds.state_dict(),
            "starts": None if self._starts is None else self._starts.state(),
            "statistics": self.statistics.state_dict(),
            "agent_returns": self._agent_returns,
            "seed": self._seed,
            "seeds": self._seeds,
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Takes over what `state_dict` returned."""
        self.worlds.load_state_dict(state_dict["worlds"])
        self.statistics.load_state_dict(state_dict["statistics"])
        self._agent_returns[...] = state_dict["agent_returns"]
        self._seed, self._seeds, self._starts = state_dict["seed"], state_dict["seeds"], None
        if state_dict["starts"] is not None:
            self._starts = Starts(self.worlds, self._make_others, self._seed)
            self._starts.load_state(state_dict["starts"])

    def get_images(self) -> list[Pixels]:
        """A frame [height, width, 3] of the first world alone."""
        return [self._frame(int(self.statistics.lengths[0]))]

    def render(self, mode: str | None = None) -> Pixels | None:
        """A frame of the first world; there is no window."""
        return self.get_images()[0] if (mode or "rgb_array") == "rgb_array" else None

    def _frame(self, step: int) -> Pixels:
        return world_frame(
            self.worlds.env, caption=f"{self.worlds.name}, step {step} of {self.episode_limit}"
        )

    def close(self) -> None:
        """Does nothing: worlds hold no resources."""
