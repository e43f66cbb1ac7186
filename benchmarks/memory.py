"""Memory of a run does not grow with its length, once the dataset and the replay buffer are full.

Both stages run once at a length at which both caps are reached, and once ten times as long; resident memory
is read throughout. The caps are small so that the long run ends within minutes; what is shown is growth, not
size.
"""

from __future__ import annotations

import gc
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch as th
from imitation.util import logger as imitation_logger
from stable_baselines3.common.callbacks import BaseCallback

from cesma_sb3.algorithms import GumbelSoftmaxDDPG
from cesma_sb3.envs.particle import ParticleVecEnv, Spread
from cesma_sb3.experts import SB3Expert
from cesma_sb3.imitation import BufferConfig, DAggerProgress, MultiAgentDAggerTrainer

CAP = 5_000
SHORT = 10_000
FACTOR = 10


def resident_megabytes() -> float:
    """Resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6


class _Watch(BaseCallback):
    """Reads memory at SHORT, and at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.readings: list[tuple[int, float]] = []

    def _on_step(self) -> bool:
        self.note(self.num_timesteps)
        return True

    def note(self, timesteps: int) -> None:
        """One reading every SHORT timesteps."""
        if timesteps >= SHORT * (len(self.readings) + 1):
            gc.collect()
            self.readings.append((timesteps, resident_megabytes()))


def run_memory() -> dict[str, Any]:
    """`theirs` is megabytes at the short length, `ours` at the long one, by the stage that grew more."""
    th.set_num_threads(1)
    env = ParticleVecEnv(Spread(3), 32, seed=0)
    model = GumbelSoftmaxDDPG(
        "MlpPolicy",
        env,
        buffer_size=CAP,
        batch_size=32,
        policy_kwargs={"team": env.team, "hidden_sizes": (32, 32)},
        seed=0,
    )
    expert_watch = _Watch()
    model.learn(SHORT * FACTOR, callback=expert_watch)

    student_watch = _Watch()

    def watch(progress: DAggerProgress) -> bool:
        student_watch.note(progress.timesteps)
        return True

    with tempfile.TemporaryDirectory() as folder:
        trainer = MultiAgentDAggerTrainer(
            venv=ParticleVecEnv(Spread(3), 32, seed=0),
            expert_policy=SB3Expert(model, env.team, env.view),
            rng=np.random.default_rng(0),
            buffer=BufferConfig(CAP),
            batch_size=64,
            custom_logger=imitation_logger.configure(folder, ["csv"]),
        )
        trainer.train(SHORT * FACTOR, callback=watch)
    stages = {"expert": expert_watch.readings, "decentralize": student_watch.readings}
    growth = {name: readings[-1][1] / readings[0][1] for name, readings in stages.items()}
    worst = max(growth, key=lambda name: growth[name])
    return {
        "ours": stages[worst][-1][1],
        "theirs": stages[worst][0][1],
        "ratio": growth[worst],
        "unit": "megabytes resident, at the long and at the short length",
        "growth": growth,
        "readings": [
            {"timesteps": ours[0], "expert": round(ours[1], 2), "decentralize": round(theirs[1], 2)}
            for ours, theirs in zip(*stages.values(), strict=True)
        ],
        "compared": {
            "ours": f"{SHORT * FACTOR:,} timesteps of each stage",
            "theirs": f"{SHORT:,} timesteps of each stage",
            "caps": f"replay buffer and dataset hold {CAP:,} samples, reached before the first reading",
            "worst stage": worst,
        },
    }
