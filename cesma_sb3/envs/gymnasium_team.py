"""A Gymnasium environment whose spaces are one for each agent, and rewards that are vectors.

LBF, RWARE and their kin are Gymnasium environments with a Tuple (or Dict) of observation spaces and one of
action spaces: the agents are its members.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from pettingzoo.utils.env import ParallelEnv
from pettingzoo.utils.wrappers import BaseParallelWrapper

from cesma_sb3.envs.return_checks import several
from cesma_sb3.errors import ConfigError, SpaceError, short_repr
from cesma_sb3.spaces.agent_spaces import MASK, ActionColumns
from cesma_sb3.spaces.types import Floats, Info, Space
from cesma_sb3.utils.torch_defaults import own_generators


class OfGymnasium(ParallelEnv):
    """A PettingZoo environment that steps one of Gymnasium; base class.

    Args:
        env: The Gymnasium environment.
        agents: Its agents.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], agents: Sequence[Any]) -> None:
        self.env: Any = env
        self.possible_agents = list(agents)
        self.agents: list[Any] = []
        self.metadata = {"name": type(env.unwrapped).__name__, **(env.metadata or {})}
        self.render_mode = env.render_mode

    def render(self) -> Any:
        """A picture, as the environment draws it."""
        return self.env.render()

    def close(self) -> None:
        """Closes the environment."""
        self.env.close()


def has_members(env: Any) -> bool:
    """Whether the spaces of a Gymnasium environment are both Tuples or both Dicts: members for its agents."""
    if not isinstance(env, gymnasium.Env):
        return False
    both = (env.observation_space, env.action_space)
    return any(all(isinstance(space, kind) for space in both) for kind in (spaces.Tuple, spaces.Dict))


class GymnasiumTeam(OfGymnasium):
    """A Gymnasium environment with a space for each agent as a PettingZoo `ParallelEnv`.

    Members of Tuples are `agent_0`, `agent_1`, ...; members of Dicts have their keys as names.

    What `reset` and `step` return may be in the form of the spaces, or a list. *Rewards* are one for each
    agent, or one number that all get; with `vector_rewards` a vector for each agent, or one vector that all
    get. *Flags* are one for each agent, or one for all. *Infos* are one for each agent, in a list or by name,
    or one info that all get; `action_mask` in that one info holds a mask for each agent. An agent that has
    left the episode sends category 0, or the number nearest to 0.

    Args:
        env: The environment.
        vector_rewards: Whether rewards are vectors, which `WeightedRewards` makes numbers of.

    Raises:
        SpaceError: The spaces are not both Tuples or both Dicts, or are for different agents.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], *, vector_rewards: bool = False) -> None:
        name = type(env.unwrapped).__name__
        seen, done = env.observation_space, env.action_space
        if not has_members(env):
            raise SpaceError(f"{name}: its spaces are {seen} and {done}, expected two Tuples or two Dicts")
        observation_spaces, action_spaces = _by_name(seen), _by_name(done)
        if set(observation_spaces) != set(action_spaces):
            raise SpaceError(
                f"{name}: observations are of {_listed(observation_spaces)}, actions of "
                f"{_listed(action_spaces)}; expected the same agents"
            )
        super().__init__(env, list(observation_spaces))
        self.vector_rewards = vector_rewards
        self._observation_spaces, self._action_spaces = observation_spaces, action_spaces
        self._idle = {agent: _idle(space) for agent, space in action_spaces.items()}
        self.masks_in_infos = self._has_masks()
        """Whether infos have action masks, by those of one reset."""
        self._is_seeded = False

    def _has_masks(self) -> bool:
        # With a seed: episodes of LBF depend on where the agents were in the one before.
        try:
            with own_generators():
                _, infos = self.reset(seed=0)
        except (Exception, SystemExit):  # the first reset of an episode meets it again and reports it
            return False
        finally:
            self.agents = []
        return any(MASK in info for info in infos.values())

    def observation_space(self, agent: Any) -> Space:
        """The agent's member of the observation space."""
        return self._observation_spaces[agent]

    def action_space(self, agent: Any) -> Space:
        """The agent's member of the action space."""
        return self._action_spaces[agent]

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[Any, Any], dict[Any, Any]]:
        """Starts an episode of the environment; without any seed so far, by one that is drawn."""
        if seed is None and not self._is_seeded:  # so that one that is never seeded stays random
            seed = int(np.random.SeedSequence().generate_state(1)[0])
        self._is_seeded = True
        observation, info = several(
            "reset", self.env.reset(seed=seed, options=options), ("observation", "info")
        )
        self.agents = list(self.possible_agents)
        return self._each("observation", observation), self._infos(info)

    def step(self, actions: Mapping[Any, Any]) -> tuple[dict[Any, Any], ...]:
        """One step of the environment."""
        whole = {**self._idle, **actions}
        if isinstance(self.env.action_space, spaces.Tuple):
            answer = self.env.step(tuple(whole[agent] for agent in self.possible_agents))
        else:
            answer = self.env.step({key: whole[key] for key in self.env.action_space.spaces})
        names = ("observation", "reward", "terminated", "truncated", "info")
        observation, reward, terminated, truncated, info = several("step", answer, names)
        over, cut = self._flags("terminated", terminated), self._flags("truncated", truncated)
        rewards = self._rewards(reward)
        agents = self.agents
        self.agents = [agent for agent in agents if not (over[agent] or cut[agent])]
        return (
            self._each("observation", observation),
            {agent: rewards[agent] for agent in agents},
            {agent: over[agent] for agent in agents},
            {agent: cut[agent] for agent in agents},
            self._infos(info),
        )

    def _each(self, what: str, answer: Any) -> dict[Any, Any]:
        """A value for each agent, from a list or by name; ValueError where there are others."""
        if isinstance(answer, Mapping):
            if missing := [agent for agent in self.possible_agents if agent not in answer]:
                raise ValueError(f"{what} of {sorted(map(str, answer))}, without {missing}")
            return {agent: answer[agent] for agent in self.possible_agents}
        if not isinstance(answer, Sequence | np.ndarray) or len(answer) != len(self.possible_agents):
            n = len(self.possible_agents)
            raise ValueError(f"{what} {short_repr(answer)}, expected one for each of {n} agents")
        return dict(zip(self.possible_agents, answer, strict=True))

    def _rewards(self, answer: Any) -> dict[Any, Any]:
        shape = np.shape(answer) if not isinstance(answer, Mapping) else None
        if shape == () or (self.vector_rewards and shape is not None and len(shape) == 1):
            return dict.fromkeys(self.possible_agents, answer)
        return self._each("reward", answer)

    def _flags(self, what: str, answer: Any) -> dict[Any, Any]:
        if isinstance(answer, Mapping) or np.ndim(answer):
            return self._each(what, answer)
        return dict.fromkeys(self.possible_agents, answer)

    def _infos(self, info: Any) -> dict[Any, Info]:
        own = isinstance(info, Mapping) and bool(info) and all(a in info for a in self.possible_agents)
        if own or (info is not None and not isinstance(info, Mapping)):
            return {agent: dict(each or {}) for agent, each in self._each("info", info).items()}
        info = info or {}
        infos = {agent: dict(info) for agent in self.possible_agents}
        if info.get(MASK) is not None:
            for agent, mask in self._each(MASK, info[MASK]).items():
                infos[agent][MASK] = mask
        return infos


class WeightedRewards(BaseParallelWrapper):  # type: ignore[misc, unused-ignore]  # of an untyped package
    """An environment whose agents get vectors, as those of MOMAland do: the weighted sum is the reward.

    Args:
        env: A `ParallelEnv`.
        weights: One for each entry of a reward, finite.

    Raises:
        ConfigError: There are no weights, or one is not finite.
    """

    def __init__(self, env: Any, weights: Sequence[float]) -> None:
        super().__init__(env)
        self.weights: Floats = np.array(weights, dtype=np.float64)
        if not self.weights.size or not np.isfinite(self.weights).all():
            raise ConfigError(f"env.reward_weights: {list(weights)}, expected one finite number at least")

    def step(self, actions: Any) -> Any:
        """One step; the rewards are numbers."""
        observations, rewards, *rest = several(
            "step",
            self.env.step(actions),
            ("observations", "rewards", "terminations", "truncations", "infos"),
        )
        if isinstance(rewards, Mapping):  # else refused by who reads it
            rewards = {agent: self._weighted(agent, reward) for agent, reward in rewards.items()}
        return observations, rewards, *rest

    def _weighted(self, agent: Any, reward: Any) -> float:
        if np.shape(reward) != self.weights.shape:
            n = len(self.weights)
            raise ValueError(
                f"reward of {agent} is {short_repr(reward)}, expected {n} numbers, as env.reward_weights has"
            )
        return float(np.asarray(reward, dtype=np.float64) @ self.weights)


def _by_name(space: Any) -> dict[Any, Space]:
    if isinstance(space, spaces.Dict):
        return dict(space.spaces)
    return {f"agent_{i}": member for i, member in enumerate(space.spaces)}


def _listed(members: Mapping[Any, Space]) -> str:
    shown = ", ".join(map(str, list(members)[:8]))
    return f"{len(members)} agents ({shown}{', ...' if len(members) > 8 else ''})"


def _idle(space: Space) -> Any:
    """The action of an agent that has left: category 0, or the numbers nearest to 0."""
    columns = ActionColumns.of(space)
    return columns.decode(np.clip(np.zeros(columns.n_columns), columns.low, columns.high))
