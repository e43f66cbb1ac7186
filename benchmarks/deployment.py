"""What one action costs: an exported agent in onnxruntime, an agent of ours alone, and a whole team."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch as th

from cesma_sb3.config.registry import load_experiment
from cesma_sb3.config.schema import StudentsConfig
from cesma_sb3.deploy.export import export
from cesma_sb3.envs import make_vec_env
from cesma_sb3.policies import TeamPolicy, team_files
from cesma_sb3.policies.networks.factory import NetworkKind
from cesma_sb3.training.run_folder import RunFolder

CALLS = 3_000


def run_deployment() -> dict[str, Any]:
    """`ours` is an exported agent with the default network in onnxruntime, `theirs` the same by PyTorch."""
    import onnxruntime

    th.set_num_threads(1)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    rows = []
    default = StudentsConfig().hidden_sizes
    networks: tuple[tuple[str, NetworkKind, tuple[int, ...]], ...] = (
        ("default", "feed-forward", default),
        ("entities", "entities", default),
        ("recurrent", "recurrent", (64,)),
    )
    for label, network, sizes in networks:
        team = make_vec_env("spread").team
        policy = TeamPolicy(
            team.observation_space,
            team.action_space,
            lambda _: 0.0,
            team=team,
            network=network,
            hidden_sizes=sizes,
        )
        with tempfile.TemporaryDirectory() as folder:
            run = RunFolder.create(load_experiment("spread-3"), Path(folder) / "run")
            run.write_folder("students", team_files(policy))
            file = export(run.path) / "agent_0.onnx"
            session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
            kilobytes = file.stat().st_size / 1000
        agent = policy.agent(0)
        own = np.zeros(team.observation_sizes[0], dtype=np.float32)
        joint = np.zeros(team.observation_size, dtype=np.float32)
        given = {"observation": own[None]}
        if policy.is_recurrent:
            given["state"] = np.zeros((1, sizes[0]), dtype=np.float32)
        rows.append(
            {
                "network": label,
                "exported, microseconds": round(_median(partial(session.run, None, given)), 1),
                "agent alone, microseconds": round(
                    _median(partial(agent.predict, own, deterministic=True)), 1
                ),
                "team of 3, microseconds": round(
                    _median(partial(policy.predict, joint, deterministic=True)), 1
                ),
                "file, kB": round(kilobytes, 1),
            }
        )
    return {
        "ours": rows[0]["exported, microseconds"],
        "theirs": rows[0]["agent alone, microseconds"],
        "unit": "microseconds for one action of one agent: onnxruntime, and AgentPolicy.predict",
        "networks": rows,
        "compared": {
            "measured": f"medians of {CALLS:,} calls, one thread, agents of spread-3, {default} hidden units",
            "team of 3": "TeamPolicy.predict of one joint observation",
        },
    }


def _median(call: Callable[[], Any]) -> float:
    """Microseconds of a call."""
    for _ in range(100):
        call()
    times = []
    for _ in range(CALLS):
        started = time.perf_counter()
        call()
        times.append(time.perf_counter() - started)
    return float(np.median(times) * 1e6)
