"""Environments in which something acts at random, and what they show meanwhile."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from gymnasium import spaces

from cesma_sb3.envs.experience import Experience, RecordedVecEnv, States
from cesma_sb3.envs.joint_vec_env import JointVecEnv


def random_actions(venv: JointVecEnv, rng: np.random.Generator) -> np.ndarray:
    """Available actions in the environment's view, [B, ...]."""
    space, masks = venv.view.space, venv.action_masks()
    if isinstance(space, spaces.Discrete):
        return np.array([rng.choice(np.flatnonzero(row)) for row in masks])
    if isinstance(space, spaces.MultiDiscrete):
        columns = np.split(masks, np.cumsum(space.nvec)[:-1], axis=1)
        return np.array([[rng.choice(np.flatnonzero(row)) for row in own] for own in columns]).T
    assert isinstance(space, spaces.Box)
    return rng.uniform(space.low, space.high, (venv.num_envs, *space.shape)).astype(np.float32)


def shown(venv: JointVecEnv, n_steps: int, resets: Sequence[int] = (0,), seed: int = 0) -> States:
    """What environments show in so many states; they are reset before the states with these numbers."""
    rng, found = np.random.default_rng(seed), []
    for step in range(n_steps):
        if step in resets:
            observations, starts = venv.reset(), np.ones(venv.num_envs, dtype=bool)
        else:
            observations, _, starts, _ = venv.step(random_actions(venv, rng))
        masks = venv.agent_masks
        masks = None if masks is None else masks.copy()
        found.append((observations.copy(), venv.alive.copy(), starts.copy(), masks, step in resets))
    return States(*(None if each[0] is None else np.stack(each) for each in zip(*found, strict=True)))


def recorded(venv: JointVecEnv, n_steps: int, capacity: int = 100_000, **kwargs) -> Experience:
    """The experience of an environment in which something acted at random (`shown`)."""
    experience = Experience(venv.team, venv.num_envs, capacity)
    shown(RecordedVecEnv(venv, experience), n_steps, **kwargs)
    return experience
