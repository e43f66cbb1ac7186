"""Many environments of a particle scenario as one of SB3, in the joint space of the team.

Only the ends of episodes are handled in Python loops: their statistics are Python objects.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, get_args

import numpy as np

from cesma_sb3.envs.batched_vec_env import BatchedVecEnv, of_team
from cesma_sb3.envs.joint_env import TeamReward
from cesma_sb3.envs.joint_vec_env import StepReturn
from cesma_sb3.envs.particle.rendering import Renderer
from cesma_sb3.envs.particle.scenario import Scenario
from cesma_sb3.envs.particle.world import envs_first
from cesma_sb3.errors import RewardError, check_choice, integer
from cesma_sb3.spaces.action_views import ActionView
from cesma_sb3.spaces.types import Doubles, Index, Info, Observations, Pixels
from cesma_sb3.utils.stateful import Stateful


class ParticleVecEnv(BatchedVecEnv, Stateful):
    """`n_envs` environments of a scenario, stepped together.

    Episodes are truncated after the scenario's `max_cycles` steps, or `max_steps` if these are fewer, and
    never terminated; an environment whose episode ended starts the next one in the same step. The last infos
    of an episode hold "terminal_observation", "TimeLimit.truncated", "episode" (`r` the return of the team
    reward, `l` steps, `t` seconds since this environment was made), as SB3 knows them, and "agent_returns"
    (agent -> return of its own reward).

    One generator draws for all environments: the same seed and actions give the same trace.

    Args:
        scenario: The scenario of all environments.
        n_envs: B, the number of environments.
        seed: Of the generator; None takes one from the system.
        view: How joint actions look to SB3: a name of `make_view`, or a view of this scenario's team.
        team_reward: "shared": the one reward that all agents get; "sum" or "mean" of the agents' rewards.
            None means "shared", which a scenario whose agents get different rewards refuses.
        render_mode: The render mode that SB3 reads; frames show the first environment.
        max_steps: Steps of an episode, at most, at least 1; None: `max_cycles` of the scenario.

    Raises:
        ConfigError: No environments, or `max_steps` is below 1.
        SpaceError: The view is another team's.
        RewardError: The agents of this scenario do not share their reward, and `team_reward` is `shared`.
        UnknownNameError: No such view or team reward.
    """

    def __init__(
        self,
        scenario: Scenario,
        n_envs: int = 1,
        *,
        seed: int | None = None,
        view: str | ActionView = "joint",
        team_reward: TeamReward | None = None,
        render_mode: str | None = "rgb_array",
        max_steps: int | None = None,
    ) -> None:
        n_envs = integer("n_envs", n_envs, 1)
        limit = scenario.max_cycles if max_steps is None else integer("max_steps", max_steps, 1)
        self.episode_limit = min(scenario.max_cycles, limit)
        self.scenario = scenario
        self.team_reward = _checked_team_reward(scenario, team_reward)
        super().__init__(n_envs, scenario.team(), view, shared=scenario, render_mode=render_mode)
        self.world = scenario.new_world(n_envs)
        self._rng = np.random.default_rng(None if seed is None else integer("seed", seed))
        self._steps: Index = np.zeros(n_envs, dtype=np.int64)
        self._agent_returns: Doubles = np.zeros((self.team.n_agents, n_envs))
        self._start = time.time()
        self._renderer = Renderer(scenario)

    def reset(self) -> Observations:
        """Starts a new episode in every environment; a seed given to `seed` counts from here."""
        if self._seeds[0] is not None:
            self._rng = np.random.default_rng(self._seeds[0])
        self._reset_seeds()
        self._reset_options()
        self._restart(np.arange(self.num_envs))
        self.reset_infos = [{} for _ in range(self.num_envs)]
        return self.scenario.observe(self.world)

    def step_wait(self) -> StepReturn:
        """Moves every environment by one step.

        Returns:
            Observations [B, joint size] float32, team rewards [B] float32, ends [B] bool, one info for each
            environment.

        Raises:
            SpaceError: The actions do not fit.
        """
        self.world.step(*self.scenario.controls.apply(self._take_actions()))
        rewards = self.scenario.rewards(self.world)
        self._agent_returns += rewards
        self._steps += 1
        observations = self.scenario.observe(self.world)
        infos: list[Info] = [{} for _ in range(self.num_envs)]
        ended = self._steps >= self.episode_limit
        if ended.any():
            which = np.flatnonzero(ended)
            self._report(which, observations, infos)
            if ended[0] and self.renders_terminal:
                infos[0]["terminal_frame"] = self.get_images()[0]
            self._restart(which)
            observations = self.scenario.observe(self.world)
        return observations, of_team(rewards, self.team_reward).astype(np.float32), ended, infos

    def _report(self, which: Index, observations: Observations, infos: list[dict[str, Any]]) -> None:
        elapsed = round(time.time() - self._start, 6)
        returns = of_team(self._agent_returns, self.team_reward)[which].tolist()
        agent_returns = self._agent_returns[:, which].T.tolist()
        ends = zip(
            *(which.tolist(), observations[which], returns, self._steps[which].tolist(), agent_returns),
            strict=True,
        )
        for env, last, total, length, each in ends:
            infos[env] = {
                "terminal_observation": last,
                "TimeLimit.truncated": True,
                "episode": {"r": total, "l": length, "t": elapsed},
                "agent_returns": dict(zip(self.team.agents, each, strict=True)),
            }

    def _restart(self, which: Index) -> None:
        self.scenario.reset(self.world, self._rng, which)
        self._steps[which] = 0
        self._agent_returns[:, which] = 0.0

    def get_state(self) -> dict[str, Any]:
        """A copy of everything that the future depends on.

        Returns:
            `World.get_state`, `steps` [B] int64, `agent_returns` [B, A] and `rng`, the generator's state.
        """
        return self.world.get_state() | {
            "steps": self._steps.copy(),
            "agent_returns": envs_first(self._agent_returns),
            "rng": self._rng.bit_generator.state,
        }

    def set_state(self, state: Mapping[str, Any]) -> Observations:
        """Takes over what `get_state` returned, or a part of it: what is not named stays.

        Returns:
            The observations [B, joint size] of the new state.
        """
        self.world.set_state(state)
        if "steps" in state:
            self._steps[...] = state["steps"]
        if "agent_returns" in state:
            self._agent_returns[...] = np.asarray(state["agent_returns"]).T
        if "rng" in state:
            self._rng.bit_generator.state = state["rng"]
        return self.scenario.observe(self.world)

    def state_dict(self) -> dict[str, Any]:
        """`get_state`, and the seeds that count from the next `reset` on."""
        return {"environments": self.get_state(), "seeds": self._seeds}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Takes over what `state_dict` returned."""
        self.set_state(state_dict["environments"])
        self._seeds = state_dict["seeds"]

    def get_images(self) -> list[Pixels]:
        """A frame [height, width, 3] of the first environment alone."""
        caption = f"step {self._steps[0]} of {self.episode_limit}"
        return [self._renderer.frame(self.world, caption=caption)]

    def render(self, mode: str | None = None) -> Pixels | None:
        """A frame of the first environment; in mode "human" it is shown in a window."""
        mode = mode or self.render_mode
        if mode == "human":
            self._renderer.show(self.world, caption=f"step {self._steps[0]} of {self.episode_limit}")
            return None
        return self.get_images()[0] if mode == "rgb_array" else None

    def close(self) -> None:
        """Closes the window, if there is one."""
        self._renderer.close()


def _checked_team_reward(scenario: Scenario, team_reward: TeamReward | None) -> TeamReward:
    choice = team_reward or "shared"
    check_choice("team reward", choice, get_args(TeamReward))
    if choice == "shared" and not scenario.shared_reward:
        raise RewardError(
            f'the agents of {scenario.name} get different rewards, expected team_reward="sum" or "mean"'
        )
    return choice
