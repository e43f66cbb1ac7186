"""What it costs to do once what the students do, and then as the expert does."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import numpy.typing as npt

from cesma_sb3.envs.particle.vec_env import ParticleVecEnv
from cesma_sb3.experts.protocol import Act

Floats = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Deviations:
    """One deviation at every step of the students' episodes. Shapes: T steps, E episodes, I entries."""

    costs: Floats
    """Return of the expert's action less that of the students', the expert following after either [T, E]."""
    observations: npt.NDArray[np.float32]
    """Where it happened, [T, E, I]."""


def deviations(expert: Act, students: Act, venv: ParticleVecEnv, *, n_episodes: int, seed: int) -> Deviations:
    """Costs of single deviations in the states that the students come to.

    The world is put back after each look, so that costs are differences of two futures of the same state.
    Both policies and the world are deterministic: the costs of an episode add up to the return that the
    expert would have had less that of the students (the performance difference lemma; Kakade and Langford,
    2002, Lemma 6.1), and say where it was lost.

    Args:
        expert: Without a memory.
        students: Likewise; greedy.
        venv: The batched particle world, in the `joint` action view.
        n_episodes: Rounded up to as many in each world.
        seed: Of the initial states.
    """
    venv.seed(seed)
    observations = venv.reset()
    horizon, rounds = venv.scenario.max_cycles, -(-n_episodes // venv.num_envs)
    costs, seen = [], []
    for _ in range(rounds):
        of_round = np.zeros((horizon, venv.num_envs))
        for time in range(horizon):
            state = venv.get_state()
            wanted, done = expert(observations, None), students(observations, None)
            returns = []
            for first in (wanted, done):
                now = venv.set_state(state)
                returns.append(_return(venv, first, expert, horizon - time))
            of_round[time] = returns[0] - returns[1]
            seen.append(now.copy())
            venv.set_state(state)
            observations = np.asarray(venv.step(done)[0], dtype=np.float32)
        costs.append(of_round)
    by_round = np.stack(seen).reshape(rounds, horizon, venv.num_envs, -1)
    return Deviations(np.concatenate(costs, axis=1), np.concatenate(list(by_round), axis=1))


def _return(venv: ParticleVecEnv, first: Any, expert: Act, n_steps: int) -> Floats:
    """The return of an action and of what the expert makes of it, to the episode's end [B]."""
    actions, total = first, np.zeros(venv.num_envs)
    for _ in range(n_steps):
        following, rewards, _, _ = venv.step(actions)
        total += rewards
        actions = expert(np.asarray(following, dtype=np.float32), None)
    return total
