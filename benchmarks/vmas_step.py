"""A step of VMAS's worlds as SB3 takes it here, beside VMAS's own, with and without new episodes.

All sides step the same scenario in turns of a few steps, in this process, with actions drawn beforehand. An
episode has at most 100 steps. VMAS starts all worlds anew in one call where all episodes are over, else one
by one, as its users do (`reset_at`).
"""

from __future__ import annotations

import os

# PyTorch reads it when it is imported.
os.environ["OMP_NUM_THREADS"] = "1"

from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import numpy as np
import torch as th
from gymnasium import spaces

from benchmarks.turns import in_turns
from cesma_sb3.config.registry import load_experiment
from cesma_sb3.envs import make_vec_env

SCENARIOS = ("balance", "transport", "navigation", "sampling")
BATCHES = (32, 256)
EPISODE = 100
STEPS = 10
"""Steps of a turn: what else the machine does then slows all sides alike."""
TURNS = 30


def run_vmas_step() -> dict[str, Any]:
    """`ours` is the greatest ratio of our step to VMAS's with its own new episodes, `theirs` 1.

    A ratio is that of processor seconds, summed over all turns, so that ends of episodes count.
    """
    th.set_num_threads(1)
    rows = [_row(scenario, batch) for scenario in SCENARIOS for batch in BATCHES]
    return {
        "ours": max(row["ratio"] for row in rows),
        "theirs": 1.0,
        "unit": "processor seconds of a step, relative to VMAS's with new episodes; the largest of all rows",
        "sides": rows,
        "compared": {
            "vmas": version("vmas"),
            "steps": f"{TURNS} turns of {STEPS}, actions uniform in their bounds, seed 0",
            "alone": "VMAS's steps without an end of an episode, where ours still begins new ones",
        },
    }


def _row(scenario: str, batch: int) -> dict[str, Any]:
    th.manual_seed(0)
    sides = _sides(scenario, batch)
    # An episode beforehand: what is made once, at the end of the first, is no part of a step.
    for side in sides:
        for _ in range(EPISODE // STEPS):
            side()
    turns = in_turns(TURNS, *sides)
    ours, whole, alone = 1000 * turns.processor.sum(axis=0) / (TURNS * STEPS)
    return {
        "scenario": scenario,
        "worlds": batch,
        "ours, ms": round(float(ours), 3),
        "VMAS, ms": round(float(whole), 3),
        "alone, ms": round(float(alone), 3),
        "ratio": round(float(ours / whole), 3),
        "ratio to alone": round(float(ours / alone), 3),
    }


def _sides(scenario: str, batch: int) -> tuple[Callable[[], object], ...]:
    """Ours, VMAS's with new episodes, and VMAS's steps alone, each of a turn."""
    import vmas

    env = load_experiment(f"vmas-{scenario}").env
    options = {"num_envs": batch, "max_steps": EPISODE, "seed": 0, **env.kwargs}
    whole, alone = vmas.make_env(scenario, **options), vmas.make_env(scenario, **options)
    venv = make_vec_env(
        env.id, kwargs=env.kwargs, team_reward=env.team_reward, max_steps=EPISODE, n_envs=batch, seed=0
    )
    space = venv.action_space
    assert isinstance(space, spaces.Box)
    drawn = np.random.default_rng(0).uniform(space.low, space.high, (STEPS, batch, *space.shape))
    actions = drawn.astype(np.float32)
    for_vmas = [list(th.from_numpy(each).chunk(venv.team.n_agents, dim=1)) for each in actions]
    venv.reset()

    def step_ours() -> None:
        for each in actions:
            venv.step(each)

    def step_whole() -> None:
        for each in for_vmas:
            *_, dones, _ = whole.step(list(each))
            if dones.all():
                whole.reset()
                continue
            for world in dones.nonzero().flatten().tolist():
                whole.reset_at(world, return_observations=False)
            if dones.any():
                whole.get_from_scenario(
                    get_observations=True, get_rewards=False, get_infos=False, get_dones=False
                )

    def step_alone() -> None:
        for each in for_vmas:
            alone.step(list(each))

    return step_ours, step_whole, step_alone
