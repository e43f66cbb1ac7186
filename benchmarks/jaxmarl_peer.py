"""One of JaxMARL's own learners in a SMAX battle: `python -m benchmarks.jaxmarl_peer mappo 3s5z 2200000 0`.

The variable JAXMARL names a checkout of JaxMARL, whose extra `algs` is installed. The learners' own scripts
train, with the values that are published beside them; only battle, samples and seed are set here.
What they would send to Weights & Biases is read in its place.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml

PEERS = {
    "ippo": ("IPPO/ippo_rnn_smax.py", "IPPO/config/ippo_rnn_smax.yaml"),
    "mappo": ("MAPPO/mappo_rnn_smax.py", "MAPPO/config/mappo_homogenous_rnn_smax.yaml"),
    "pqn-vdn": ("QLearning/pqn_vdn_rnn.py", "QLearning/config/alg/pqn_vdn_rnn_smax.yaml"),
}
"""Script and values of each learner, below `baselines` of the checkout."""


def train(peer: str, map_name: str, samples: int, seed: int) -> list[dict[str, float]]:
    """Train a learner.

    Args:
        peer: A name of `PEERS`.
        map_name: The battle.
        samples: Environment timesteps, rounded down to whole updates of 128 steps of 128 environments.
        seed: Seed of all randomness.

    Returns:
        After each update `samples`, `win_rate` of the battles in it (of greedy play where the script tests
        that), and `seconds` and `processor_seconds` so far, compilation included.
    """
    jax: Any = importlib.import_module("jax")

    rows: list[dict[str, float]] = []
    started = time.perf_counter()

    def log(metrics: Mapping[str, Any], **_: Any) -> None:
        won = next(metrics[key] for key in ("test_returned_won_episode", "win_rate") if key in metrics)
        rows.append(
            {
                "samples": (len(rows) + 1) * config["NUM_ENVS"] * config["NUM_STEPS"],
                "win_rate": float(won),
                "seconds": time.perf_counter() - started,
                "processor_seconds": time.process_time(),
            }
        )

    recorder = ModuleType("wandb")
    vars(recorder)["log"] = log
    sys.modules["wandb"] = recorder
    script, values = (Path(os.environ["JAXMARL"], "baselines", name) for name in PEERS[peer])
    config: dict[str, Any] = yaml.safe_load(values.read_text())
    config |= {"MAP_NAME": map_name, "SEED": seed, "TOTAL_TIMESTEPS": samples, "WANDB_MODE": "online"}
    spec = importlib.util.spec_from_file_location("peer", script)
    assert spec is not None
    assert spec.loader is not None
    module: Any = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    if peer == "pqn-vdn":
        learn = module.make_train(config, module.env_from_config(config)[0])
    else:
        learn = module.make_train(config)
    jax.block_until_ready(jax.jit(learn)(jax.random.PRNGKey(seed)))
    jax.effects_barrier()  # for what is still to be logged
    return rows


if __name__ == "__main__":
    print(json.dumps(train(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))))
