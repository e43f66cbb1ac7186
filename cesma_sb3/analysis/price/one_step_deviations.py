"""What it costs to do once what the students do, and then as the expert does."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from cesma_sb3.envs.particle.vec_env import ParticleVecEnv
from cesma_sb3.experts.base import Actor

Floats = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Deviations:
    """One deviation at every step of the students' episodes. Shapes: T steps, E episodes."""

    costs: Floats
    """Return of the expert's action less that of the students', the expert following after either [T, E]."""
    of_others: Floats
    """The same of joint actions drawn uniformly, one in each of these states [T, E]."""


def deviations(
    expert: Actor, students: Actor, others: Actor, venv: ParticleVecEnv, *, n_episodes: int, seed: int
) -> Deviations:
    """Costs of single deviations in the states that the students come to.

    The world is put back after each look, so that costs are differences of two futures of the same state.
    Both policies and the world are deterministic: the costs of an episode add up to the return that the
    expert would have had less that of the students (the performance difference lemma; Kakade and Langford,
    2002, Lemma 6.1), and say where it was lost.

    Args:
        expert: Without a memory.
        students: Likewise; greedy.
        others: Draws actions.
        venv: The batched particle world, in the `joint` action view.
        n_episodes: Rounded up to as many in each world.
        seed: Of the initial states.
    """
    venv.seed(seed)
    observations = venv.reset()
    horizon, rounds = venv.episode_limit, -(-n_episodes // venv.num_envs)
    costs = np.zeros((2, horizon, rounds, venv.num_envs))
    for number in range(rounds):
        for time in range(horizon):
            state = venv.get_state()
            done = students(observations, None)
            returns = []
            for first in (expert(observations, None), done, others(observations, None)):
                venv.set_state(state)
                returns.append(_return(venv, first, expert, horizon - time))
            costs[:, time, number] = returns[0] - np.stack(returns[1:])
            venv.set_state(state)
            observations = np.asarray(venv.step(done)[0], dtype=np.float32)
    return Deviations(*costs.reshape(2, horizon, -1))


def _return(venv: ParticleVecEnv, first: Any, expert: Actor, n_steps: int) -> Floats:
    """The return of an action and of what the expert makes of it, to the episode's end [B]."""
    actions, total = first, np.zeros(venv.num_envs)
    for _ in range(n_steps):
        following, rewards, _, _ = venv.step(actions)
        total += rewards
        actions = expert(np.asarray(following, dtype=np.float32), None)
    return total
