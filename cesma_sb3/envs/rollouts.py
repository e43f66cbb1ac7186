"""Rollouts: one loop in which an actor steps a batched joint environment."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar, NamedTuple

import numpy as np

from cesma_sb3.envs.action_validator import ActionValidator
from cesma_sb3.envs.joint_vec_env import JointVecEnv
from cesma_sb3.spaces.types import Actor, Flags, Floats, Masks, Observations, Packed
from cesma_sb3.utils.stateful import Stateful


class Step(NamedTuple):
    """One step of every environment. B environments; the arrays are copies."""

    observations: Floats
    """Joint observations that the actor saw, [B, observation_size] float32."""
    masks: Masks | None
    """Available categories in these observations, [B, mask_size]; None where there are no masks."""
    alive: Flags
    """Which agents were alive in these observations, [B, n_agents]."""
    starts: Flags
    """Which of these observations are the first of an episode, [B]."""
    actions: Packed
    """Joint actions of the environment's action view, [B, ...]."""
    rewards: Floats
    """Team rewards, [B]."""
    dones: Flags
    """Which episodes ended with this step, [B]; their environments have begun the next one."""
    infos: list[dict[str, Any]]
    """The info of each environment."""


class Rollout(Iterator[Step], Stateful):
    """Endless steps of a batched joint environment, all by one actor.

    An iterator and no generator, whose state could not be stored: a training resumes in the middle of an
    episode.

    Args:
        venv: Batched joint environment.
        act: The actor. One with a memory is reset where episodes begin (`reset_actor`).
    """

    state_attributes = ("act", "_observations", "_starts")

    def __init__(self, venv: JointVecEnv, act: Actor) -> None:
        self.venv = venv
        self.act = act
        self._observations: Floats | None = None
        self._starts = np.ones(venv.num_envs, dtype=bool)

    def reset(self) -> None:
        """Begin new episodes at the next step; others may use the environments until then."""
        self._observations = None

    @property
    def observations(self) -> Floats:
        """Observations that the next step starts from, [B, observation_size]; resets if that is due."""
        if self._observations is None:
            self._observations = np.array(self.venv.reset(), dtype=np.float32)
            self._starts = np.ones(self.venv.num_envs, dtype=bool)
            reset_actor(self.act, None)
        return self._observations

    def __next__(self) -> Step:
        """Step every environment once."""
        observations, starts = self.observations, self._starts
        masks, alive = self.venv.agent_masks, self.venv.alive.copy()
        masks = None if masks is None else masks.copy()
        actions = self.act(observations, masks)
        following, rewards, dones, infos = self.venv.step(actions)
        self._observations = np.array(following, dtype=np.float32)
        self._starts = np.array(dones, dtype=bool)
        reset_actor(self.act, self._starts)
        return Step(observations, masks, alive, starts, actions, rewards, self._starts, list(infos))


class WrappedActor(Stateful):
    """What acts by way of an actor, and is reset as the actor is.

    Args:
        actor: The actor, which keeps the memory.
        call: Observations and masks to actions; None: the actor itself.
    """

    state_attributes: ClassVar[tuple[str, ...]] = ("_actor",)

    def __init__(self, actor: Actor, call: Actor | None = None) -> None:
        self._actor = actor
        self._call = actor if call is None else call

    def __call__(self, observations: Observations, masks: Masks | None = None) -> Packed:
        """Joint observations [B, I] and masks [B, M] to packed joint actions [B, C]."""
        return self._call(observations, masks)

    def reset(self, episode_starts: Flags | None) -> None:
        """Forget the episodes that have ended.

        Args:
            episode_starts: As in `reset_actor`; the actor gets a copy.
        """
        reset_actor(self._actor, None if episode_starts is None else np.array(episode_starts))


class ValidatedActor(Stateful):
    """An actor whose actions are validated before the environment does them.

    Args:
        act: The actor.
        venv: The environment that it acts in.
        name: What error messages call its actions.
    """

    state_attributes = ("_act", "_validate")

    def __init__(self, act: Actor, venv: JointVecEnv, name: str) -> None:
        self._act = act
        self._validate = ActionValidator(venv)
        self._name = name

    def __call__(self, observations: Floats, masks: Masks | None) -> Packed:
        """The actor's actions; where the environment replaces unavailable ones, what it does instead.

        Raises:
            InvalidActionError: An action is not available; the message says whose, in which environment and
                step.
        """
        return self._validate(self._act(observations, masks), self._name)

    def reset(self, episode_starts: Flags | None) -> None:
        """Forget the episodes that have ended.

        Args:
            episode_starts: As in `reset_actor`.
        """
        reset_actor(self._act, episode_starts)
        self._validate.advance(episode_starts)


def reset_actor(act: Actor, episode_starts: Flags | None) -> None:
    """Make an actor with a memory (one that has a method `reset`) forget the episodes that have ended.

    Args:
        act: Any actor.
        episode_starts: In which environments the next observation is an episode's first, [B] bool; None: in
            all of them.
    """
    reset = getattr(act, "reset", None)
    if reset is not None:
        reset(episode_starts)
