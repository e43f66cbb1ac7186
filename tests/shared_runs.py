"""Four finished runs for all tests that need one: made once, whichever process of the tests asks first.

They are read only: a test that changes a run folder copies it (`shutil.copytree`). A test of running itself
has its own.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from filelock import FileLock

import cesma_sb3
from cesma_sb3.training.run_folder import REPORT

SharedRuns = Callable[[str], Path]
"""The folder of the run of a name."""

RUNS: dict[str, tuple[str, dict[str, Any]]] = {
    # A scripted expert, and students that have learned something: pages, videos, the price, the Hub, sweeps.
    "scripted": (
        "spread-3-scripted",
        {
            "dagger.total_timesteps": 4000,
            "dagger.n_envs": 16,
            "evaluation": {"n_final_episodes": 32, "n_eval_episodes": 8, "eval_freq": 1000, "n_envs": 16},
        },
    ),
    # A trained expert and students on entities: what is evaluated, grown or begun from.
    "trained": (
        "spread-3",
        {
            "seed": 3,
            "expert": {
                "total_timesteps": 600,
                "n_envs": 8,
                "kwargs": {"learning_starts": 100, "batch_size": 16, "gradient_steps": 1},
            },
            "dagger": {"total_timesteps": 640, "n_envs": 16, "batch_size": 32},
            "evaluation": {"n_final_episodes": 20, "n_eval_episodes": 8, "eval_freq": 300, "n_envs": 8},
        },
    ),
    # Students that talk.
    "talking": (
        "speaker-listener-scripted",
        {
            "dagger": {"total_timesteps": 2048, "n_envs": 16, "keep": "last"},
            "evaluation": {"n_final_episodes": 32, "n_eval_episodes": 8, "eval_freq": 1000, "n_envs": 32},
        },
    ),
    # The smallest one: what is copied again and again to be spoiled.
    "small": (
        "spread-3",
        {
            "expert": {"total_timesteps": 64, "n_envs": 8},
            "dagger": {"total_timesteps": 128, "n_envs": 8, "batch_size": 16},
            "students": {"network": "feed-forward", "hidden_sizes": [8]},
            "evaluation": {"n_final_episodes": 2, "n_eval_episodes": 2, "eval_freq": 64, "n_envs": 2},
        },
    ),
}


def make(name: str, root: Path) -> Path:
    """The folder of a run below `root`; other processes that want it wait."""
    experiment, values = RUNS[name]
    with FileLock(root / f"{name}.lock"):
        if not (root / name / REPORT).exists():
            cesma_sb3.run(experiment, out=root / name, **values)
    return root / name
