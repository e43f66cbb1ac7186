"""Steps per second of the batched world, as SB3 steps it, beside mpe2's `simple_spread_v3`.

Both sides step in this process, on one thread, with random actions drawn beforehand, and take turns: what
else the machine does then slows both. A step of B worlds counts as B steps.
"""

from __future__ import annotations

import os

# ruff: noqa: E402  # NumPy reads these when it is imported.
for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_variable] = "1"

from importlib.metadata import version
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np

from cesma_sb3.envs.particle import ParticleVecEnv, Spread
from cesma_sb3.envs.pettingzoo import find_builder

BATCH = 256
TURNS = 9
OUR_CALLS = 500
THEIR_STEPS = 1000


def world(n_agents: int) -> dict[str, Any]:
    """Measures cooperative navigation.

    Args:
        n_agents: Agents, and landmarks.

    Returns:
        `ours` and `theirs` (medians, steps per second), their `ratio`, the lowest ratio of one turn, and what
        was compared.
    """
    rng = np.random.default_rng(0)
    batched = ParticleVecEnv(Spread(n_agents), BATCH, seed=0)
    single = find_builder("mpe2.simple_spread_v3")(N=n_agents, max_cycles=25)
    names = batched.team.agents
    our_actions = rng.integers(0, 5, (OUR_CALLS, BATCH, n_agents))
    drawn = rng.integers(0, 5, (THEIR_STEPS, n_agents)).tolist()
    their_actions = [dict(zip(names, row, strict=True)) for row in drawn]
    batched.reset()
    single.reset(seed=0)

    def ours() -> float:
        start = perf_counter()
        for actions in our_actions:
            batched.step(actions)
        return OUR_CALLS * BATCH / (perf_counter() - start)

    def theirs() -> float:
        start = perf_counter()
        for actions in their_actions:
            single.step(actions)
            if not single.agents:
                single.reset()
        return THEIR_STEPS / (perf_counter() - start)

    ours(), theirs()  # caches and memory warm
    turns = [(theirs(), ours()) for _ in range(TURNS)]
    slow, fast = (median(side) for side in zip(*turns, strict=True))
    return {
        "ours": fast,
        "theirs": slow,
        "ratio": fast / slow,
        "lowest_ratio": min(b / a for a, b in turns),
        "unit": "environment steps per second, medians",
        "compared": {
            "ours": f"ParticleVecEnv.step, {n_agents} agents, resets, infos and episode statistics included",
            "theirs": f"simple_spread_v3.parallel_env step, {n_agents} agents, resets included",
            "batch": BATCH,
            "threads": 1,
            "turns": TURNS,
            "versions": {package: version(package) for package in ("numpy", "mpe2", "pettingzoo")},
        },
    }


def run_world_3() -> dict[str, Any]:
    """Three agents."""
    return world(3)


def run_world_6() -> dict[str, Any]:
    """Six agents."""
    return world(6)
