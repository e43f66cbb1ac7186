"""`OneSide`: a game in which some agents are the team, and somebody else plays the others."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from pettingzoo.utils.wrappers import BaseParallelWrapper

from cesma_sb3.envs.action_validator import ActionRules
from cesma_sb3.envs.return_checks import several
from cesma_sb3.envs.rollouts import reset_actor
from cesma_sb3.errors import ConfigError, EnvError, SpaceError, unknown_name
from cesma_sb3.spaces.agent_spaces import MASK
from cesma_sb3.spaces.declarations import possible_agents
from cesma_sb3.spaces.layout import AgentLayout, ObservationLayout
from cesma_sb3.spaces.random_actions import random_actions
from cesma_sb3.spaces.team_spaces import TeamSpaces
from cesma_sb3.spaces.types import Actor, Flags

Others = Callable[[TeamSpaces, np.random.Generator], Actor]
"""Makes who plays the others: from their spaces, as a team, and a generator for all that it draws, an actor.
It is given batches of one; one with a memory has a method `reset` (`reset_actor`)."""

_STREAM = 0x07E5
"""Beside an environment's seed: the others' generator draws other numbers than the environment's own."""


def random_others(team: TeamSpaces, rng: np.random.Generator) -> Actor:
    """Others that draw uniformly among their available actions."""
    return lambda observations, masks: random_actions(team, len(observations), masks, rng)


class Side(NamedTuple):
    """Who of a game is the team, and who plays the rest."""

    agents: tuple[str, ...]
    """The names of the team's agents."""
    others: Others = random_others
    """Plays all other agents."""


class OneSide(BaseParallelWrapper):  # type: ignore[misc, unused-ignore]  # of an untyped package
    """A game with some of its agents; the others are played by a policy, as a part of the environment.

    What `reset` and `step` return is that of the agents alone, and `possible_agents` are these, in the game's
    order. The episode of the team is over when all of them are, whatever the others do then. Of the others
    those that are alive act, each by its own observation (and mask); those that are not have zeros in their
    slots of what the policy is given, as in `JointEnv`.

    Args:
        env: A `ParallelEnv`. Its wrappers are inside.
        agents: The names of the agents that are the team, in any order.
        others: Plays the others. A seed of `reset` seeds its generator too, which then continues.

    Raises:
        ConfigError: There is no such agent (the message has the nearest name), or one is named twice, or
            nobody is left to be played.
        SpaceError: The others' spaces have no joint view, or do not fit who is to play them.
    """

    def __init__(self, env: Any, agents: Sequence[str], others: Others = random_others) -> None:
        super().__init__(env)
        ids = possible_agents(env)
        for place, name in enumerate(agents):
            if name not in ids:
                raise ConfigError(f"env.agents: {unknown_name('agent', name, ids)}")
            if name in agents[:place]:
                raise ConfigError(f"env.agents: {name} is named twice")
        self.possible_agents = [ids[name] for name in ids if name in agents]
        self._ids = {name: agent for name, agent in ids.items() if name not in agents}
        """The environment's ids of the others, by name."""
        if not self._ids:
            raise ConfigError("env.agents: all agents of the game, so that nobody is left for env.others")
        self.agents: list[Any] = []
        own = _part_of(env, self.possible_agents)
        self.masks_in_infos = own.masks_in_infos
        self._layouts = {agent: _of_part(own.layouts[str(agent)], own) for agent in self.possible_agents}
        try:
            self._team = _part_of(env, list(self._ids.values()))
        except SpaceError as error:
            raise type(error)(f"env.others: {error}") from None
        self._rng = np.random.default_rng()
        self._act = others(self._team, self._rng)
        self._rules = ActionRules(self._team, replaces_unavailable=False)
        self._seen: tuple[Any, Any] = {}, {}
        self._alive: Flags = np.zeros(self._team.n_agents, dtype=bool)
        self._step = 0

    def layout(self, agent: Any) -> AgentLayout:
        """The parts of an agent's observation and action, as the game has them.

        A part of kind `agents` that holds others too is one of `entities`.
        """
        return self._layouts[agent]

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[Any, Any], dict[Any, Any]]:
        """Start an episode of the game: the agents' observations and infos."""
        more = {} if options is None else {"options": options}
        observations, infos = several("reset", self.env.reset(seed=seed, **more), ("observations", "infos"))
        if seed is not None:
            self._rng.bit_generator.state = np.random.default_rng([seed, _STREAM]).bit_generator.state
        begins_anew = seed is not None or not self._step  # draws of an ensemble too, not its memory alone
        reset_actor(self._act, None if begins_anew else np.ones(1, dtype=bool))
        self._step = 0
        self._look(observations, infos, {})
        return self._own(observations), self._own(infos)

    def step(self, actions: Mapping[Any, Any]) -> tuple[Any, ...]:
        """One step of the game, in which the others act too.

        Args:
            actions: Those of the agents.

        Raises:
            InvalidActionError: An action of the others is none that they can do.
        """
        answer = self.env.step({**actions, **self._actions()})
        self._step += 1
        reset_actor(self._act, np.zeros(1, dtype=bool))
        names = ("observations", "rewards", "terminations", "truncations", "infos")
        observations, rewards, terminations, truncations, infos = several("step", answer, names)
        over = {
            agent
            for flags in (terminations, truncations)
            if isinstance(flags, Mapping)  # else refused by who reads the agents'
            for agent, flag in flags.items()
            if flag
        }
        self._look(observations, infos, over)
        own = (observations, rewards, terminations, truncations, infos)
        return tuple(self._own(each) for each in own)

    def _look(self, observations: Any, infos: Any, over: Any) -> None:
        """Keep what the others see, and who of all agents is there."""
        there = list(getattr(self.env, "agents", ()))
        self.agents = [agent for agent in there if agent in self.possible_agents]
        self._alive = np.array([agent in there and agent not in over for agent in self._ids.values()], bool)
        self._seen = observations, infos

    def _own(self, answer: Any) -> Any:
        """What is the agents' of an answer by agent; anything else as it is, for its reader to refuse."""
        if not isinstance(answer, Mapping):
            return answer
        others = set(self._ids.values())
        return {agent: value for agent, value in answer.items() if agent not in others}

    def _actions(self) -> dict[Any, Any]:
        """The actions of the others that are alive."""
        if not self._alive.any():
            return {}
        team, (observations, infos) = self._team, self._seen
        flat, masks = {}, {}
        for name, lives in zip(team.agents, self._alive, strict=True):
            agent = self._ids[name]
            if not lives:
                continue
            if not isinstance(observations, Mapping) or agent not in observations:
                raise EnvError(f"{name} is alive and has no observation")
            flat[name] = team.flatten_agent(name, observations[agent])
            sources = (observations[agent], infos.get(agent) if isinstance(infos, Mapping) else None)
            masks[name] = next(
                (each[MASK] for each in sources if isinstance(each, Mapping) and MASK in each), None
            )
        joint = team.join_observations(flat)[None]
        flags = team.join_masks(masks, self._alive)[None] if team.has_masks else None
        chosen: Any = np.asarray(self._act(joint, flags))
        packed = self._rules(chosen, flags, self._alive[None], "env.others", self._place)
        actions = team.split_actions(packed[0])
        return {self._ids[name]: actions[name] for name in flat}

    def _place(self, _: int) -> str:
        return f"step {self._step} of its episode"


def _part_of(env: Any, agents: list[Any]) -> TeamSpaces:
    """The spaces of some agents of a game, as a team."""
    part = BaseParallelWrapper(env)
    part.possible_agents = agents
    return TeamSpaces.from_parallel_env(part)


def _of_part(layout: AgentLayout, team: TeamSpaces) -> AgentLayout:
    """A layout of the game as one of this team: `agents` are the other agents of the team, and no more."""
    parts = tuple(
        dataclasses.replace(part, kind="entities")
        if part.kind == "agents" and part.count != team.n_agents - 1
        else part
        for part in layout.observation.parts
    )
    return dataclasses.replace(layout, observation=ObservationLayout(parts))
