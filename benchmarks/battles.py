"""What a step and an update cost in battles of 3, 8 and 27 units.

Each battle is measured in a process of its own, with one thread for PyTorch: SMAX's compiled step with all
that the joint environment adds, and updates of the recurrent learner on whole episodes, as
`registry/smax-*.yaml` has them.
"""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

MAPS = ("3m", "3s5z", "27m_vs_30m")
N_ENVS = 32
STEPS = 60
UPDATES = 20

_MEASURE = f"""
import json, sys, time
import numpy as np, torch as th
from cesma_sb3.envs import make_vec_env
from cesma_sb3.experts import RecurrentFactoredDQN
th.set_num_threads(1)
name = sys.argv[1]
started = time.perf_counter()
venv = make_vec_env(f"smax-{{name}}", n_envs={N_ENVS}, seed=0)
team, rng = venv.team, np.random.default_rng(0)

def play(n):
    seconds = []
    for _ in range(n):
        masks = venv.agent_masks.reshape({N_ENVS}, team.n_agents, -1)
        actions = (rng.random(masks.shape) * masks).argmax(axis=2)
        before = time.perf_counter()
        venv.step(actions)
        seconds.append(time.perf_counter() - before)
    return seconds

venv.reset()
play(2)
compiled = time.perf_counter() - started
steps = play({STEPS})
policy_kwargs = {{"team": team, "network": "recurrent", "hidden_sizes": (64,)}}
agent = RecurrentFactoredDQN(
    "MlpPolicy", venv, policy_kwargs=policy_kwargs, buffer_size=20_000, learning_starts=10**9, seed=0
)
agent.learn({N_ENVS} * 120)
updates, acts, observations = [], [], venv.reset()
for _ in range({UPDATES}):
    before = time.perf_counter()
    agent.train(1, 32)
    updates.append(time.perf_counter() - before)
    before = time.perf_counter()
    agent.predict(observations, deterministic=True, action_masks=venv.agent_masks)
    acts.append(time.perf_counter() - before)
print(json.dumps({{
    "map": name,
    "agents": team.n_agents,
    "joint observation": team.observation_size,
    "compile s": round(compiled, 1),
    "steps per second": round({N_ENVS} / np.median(steps)),
    "step us": round(np.median(steps) / {N_ENVS} * 1e6),
    "act us": round(np.median(acts) / {N_ENVS} * 1e6, 1),
    "updates per second": round(1 / np.median(updates), 1),
    "longest episode": int(agent.replay_buffer.sample(32).acted.shape[0]),
}}))
"""


def run_battles() -> dict[str, Any]:
    """`ours` is the steps per second with 3 units, `theirs` with 27."""
    rows = [_measure(name) for name in MAPS]
    few, many = rows[0], rows[-1]
    size = many["joint observation"] / few["joint observation"]
    return {
        "ours": few["steps per second"],
        "theirs": many["steps per second"],
        "unit": "environment steps per second, 3 against 3 and 27 against 30",
        "ratio": round(few["steps per second"] / many["steps per second"], 2),
        "growth of the joint observation": round(size, 1),
        "battles": rows,
        "compared": {
            "steps": f"{N_ENVS} battles in one jitted call, random available actions; medians",
            "act": "of the expert's greedy actions for one battle",
            "updates": "of the sum-of-Q expert, 32 whole episodes each; medians",
            "compile s": "of the first reset and step",
        },
    }


def _measure(name: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", _MEASURE, name],
        check=True,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    row: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return row
