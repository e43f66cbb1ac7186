"""Steps per second of the batched world, as SB3 steps it, beside mpe2's world and JaxMARL's jitted one.

All sides step the same task with the same reward in this process, on one core, with random actions drawn
beforehand, and take turns: what else the machine does then slows each of them. A step of B environments
counts as B steps, and begins new episodes where some have ended.
"""

from __future__ import annotations

import os

# ruff: noqa: E402  # NumPy and JAX read these when they are imported.
for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_variable] = "1"
os.environ["JAX_PLATFORMS"] = "cpu"

from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from typing import Any, NamedTuple

import numpy as np

from benchmarks.turns import in_turns
from cesma_sb3.envs.particle import ParticleVecEnv, Spread
from cesma_sb3.envs.pettingzoo import find_builder
from cesma_sb3.spaces.types import Index

BATCH = 256
TURNS = 9
OUR_CALLS = 500
MPE2_STEPS = 1_000
JAX_CALLS = 128
"""Calls of a turn, and steps of a scan, as many as in a rollout of JaxMARL's own baselines for this task."""


class Side(NamedTuple):
    """What steps in turns with the others."""

    what: str
    run: Callable[[], object]
    steps: int
    """Environment steps of one run."""


def world(n_agents: int, others: Callable[[int], list[Side]], *packages: str) -> dict[str, Any]:
    """Measures cooperative navigation.

    Args:
        n_agents: Agents, and landmarks.
        others: Gives what ours is compared with.
        packages: The packages that this needs.

    Returns:
        `ours`, and `theirs`, the fastest of the others (steps per second); their `ratio` and the lowest ratio
        of one turn; all sides, and what was compared. Medians over turns.
    """
    # Threads that JAX starts, as many as it finds cores when it is imported, share one as well.
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    sides = [_ours(n_agents), *others(n_agents)]
    steps = np.array([side.steps for side in sides])
    turns = in_turns(TURNS, *(side.run for side in sides))
    speeds, own = steps / turns.wall, steps / turns.processor
    ratios = speeds[:, :1] / speeds
    theirs = 1 + int(np.median(ratios, axis=0)[1:].argmin())
    return {
        "ours": float(np.median(speeds[:, 0])),
        "theirs": float(np.median(speeds[:, theirs])),
        "ratio": float(np.median(ratios[:, theirs])),
        "lowest_ratio": float(ratios[:, theirs].min()),
        "unit": "environment steps per second of wall-clock time, medians",
        "sides": [
            {
                "side": side.what,
                "steps per second": float(np.median(speeds[:, index])),
                "per processor second": float(np.median(own[:, index])),
                "cores busy": round(float(np.median(turns.processor[:, index] / turns.wall[:, index])), 3),
                "ratio": float(np.median(ratios[:, index])),
                "ratio of processor seconds": float(np.median(own[:, 0] / own[:, index])),
            }
            for index, side in enumerate(sides)
        ],
        "compared": {
            "task": f"{n_agents} agents, 25 steps an episode, mpe2's reward for each agent",
            "batch": BATCH,
            "cores": 1,
            "turns": TURNS,
            "versions": {package: version(package) for package in ("numpy", *packages)},
        },
    }


def _ours(n_agents: int) -> Side:
    env = ParticleVecEnv(Spread(n_agents, reward="mpe2"), BATCH, seed=0, team_reward="mean")
    actions = _actions(OUR_CALLS, BATCH, n_agents)
    env.reset()

    def run() -> None:
        for joint in actions:
            env.step(joint)

    return Side("ours: ParticleVecEnv.step; infos and episode statistics included", run, OUR_CALLS * BATCH)


def mpe2(n_agents: int) -> list[Side]:
    """mpe2's own environment, one at a time."""
    env = find_builder("mpe2.simple_spread_v3")(N=n_agents, max_cycles=25)
    env.reset(seed=0)
    names = env.possible_agents
    actions = [dict(zip(names, row, strict=True)) for row in _actions(MPE2_STEPS, n_agents).tolist()]

    def run() -> None:
        for joint in actions:
            env.step(joint)
            if not env.agents:
                env.reset()

    return [Side("mpe2: simple_spread_v3.parallel_env, one environment", run, MPE2_STEPS)]


def jaxmarl(n_agents: int) -> list[Side]:
    """JaxMARL's own environment, jitted and mapped over the batch: called for each step, and scanned."""
    import jax
    from jaxmarl import make

    env = make("MPE_simple_spread_v3", num_agents=n_agents, num_landmarks=n_agents)
    keys = jax.random.split(jax.random.PRNGKey(0), BATCH)
    start = keys[0], jax.jit(jax.vmap(env.reset))(keys)[1]
    actions = jax.numpy.asarray(_actions(JAX_CALLS, n_agents, BATCH))
    one_by_one = list(actions)

    def step(carry: Any, joint: Any) -> Any:
        key, stepping = jax.random.split(carry[0])
        named = dict(zip(env.agents, joint, strict=True))
        observations, state, rewards, dones, _ = jax.vmap(env.step)(
            jax.random.split(stepping, BATCH), carry[1], named
        )
        return (key, state), (observations, rewards, dones)

    jitted, scanned = jax.jit(step), jax.jit(partial(jax.lax.scan, step))

    def call_by_call() -> None:
        carry = start
        for joint in one_by_one:
            carry, seen = jitted(carry, joint)
            seen[1][env.agents[0]].block_until_ready()

    def scan() -> None:
        _, seen = scanned(start, actions)
        seen[1][env.agents[0]].block_until_ready()

    return [
        Side(
            "JaxMARL: MPE_simple_spread_v3, jit and vmap, a call for each step",
            call_by_call,
            JAX_CALLS * BATCH,
        ),
        Side(f"JaxMARL: the same in one scan of {JAX_CALLS} steps", scan, JAX_CALLS * BATCH),
    ]


def _actions(*shape: int) -> Index:
    return np.random.default_rng(0).integers(0, 5, shape)


def run_world_3() -> dict[str, Any]:
    """Three agents, beside mpe2."""
    return world(3, mpe2, "mpe2", "pettingzoo")


def run_world_6() -> dict[str, Any]:
    """Six agents, beside mpe2."""
    return world(6, mpe2, "mpe2", "pettingzoo")


def run_world_3_jax() -> dict[str, Any]:
    """Three agents, beside JaxMARL."""
    return world(3, jaxmarl, "jax", "jaxmarl")


def run_world_6_jax() -> dict[str, Any]:
    """Six agents, beside JaxMARL."""
    return world(6, jaxmarl, "jax", "jaxmarl")
