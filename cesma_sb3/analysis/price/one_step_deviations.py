"""Costs of one-step deviations: the students act once, then the expert until the episode ends."""

from __future__ import annotations

import dataclasses

import numpy as np

from cesma_sb3.analysis.price.estimates import Floats
from cesma_sb3.envs.particle.vec_env import ParticleVecEnv
from cesma_sb3.spaces.types import Actor, Packed


@dataclasses.dataclass(frozen=True)
class Deviations:
    """Costs of one deviation at every step of the students' episodes. Shapes: T steps, E episodes."""

    costs: Floats
    """Return of the expert's action less that of the students', the expert acting after either, [T, E]."""
    random_costs: Floats
    """The same for joint actions drawn uniformly, one in each of these states, [T, E]."""


def measure_deviations(
    expert: Actor, students: Actor, random: Actor, venv: ParticleVecEnv, *, n_episodes: int, seed: int
) -> Deviations:
    """Measure the costs of one-step deviations in the states that the students visit.

    The environment's state is restored after each look ahead, so that a cost is the difference of two futures
    of one state. As both policies and the environment are deterministic, the costs of an episode add up to
    the return that the expert would have had less that of the students (the performance difference lemma;
    Kakade and Langford, 2002, Lemma 6.1), and say where it was lost.

    Args:
        expert: The expert; without a memory.
        students: The students; without a memory, and deterministic.
        random: Draws joint actions.
        venv: The batched particle world, in the `joint` action view.
        n_episodes: Rounded up to as many in each environment.
        seed: Seed of the initial states.
    """
    venv.seed(seed)
    observations = np.asarray(venv.reset(), dtype=np.float32)
    horizon, n_rounds = venv.episode_limit, -(-n_episodes // venv.num_envs)
    costs = np.zeros((2, horizon, n_rounds, venv.num_envs))
    for number in range(n_rounds):
        for time in range(horizon):
            state = venv.get_state()
            actions = students(observations, None)
            returns = []
            for first in (expert(observations, None), actions, random(observations, None)):
                venv.set_state(state)
                returns.append(_return(venv, first, expert, horizon - time))
            costs[:, time, number] = returns[0] - np.stack(returns[1:])
            venv.set_state(state)
            observations = np.asarray(venv.step(actions)[0], dtype=np.float32)
    return Deviations(*costs.reshape(2, horizon, -1))


def _return(venv: ParticleVecEnv, first: Packed, expert: Actor, n_steps: int) -> Floats:
    """Return the undiscounted return of an action and of the expert's actions after it, [B]."""
    actions, total = first, np.zeros(venv.num_envs)
    for _ in range(n_steps):
        observations, rewards, _, _ = venv.step(actions)
        total += rewards
        actions = expert(np.asarray(observations, dtype=np.float32), None)
    return total
