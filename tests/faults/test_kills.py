"""A real run that is killed with -9 at random moments, and goes on each time."""

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cesma_sb3.training.run_folder import REPORT, RUN, RunFolder
from cesma_sb3.utils import atomic
from tests.faults.interrupted import results

pytestmark = pytest.mark.integration

SETTINGS = (
    *(
        "checkpoint.save_freq=32",
        "evaluation.n_final_episodes=8",
        "evaluation.n_eval_episodes=8",
        "evaluation.eval_freq=128",
    ),
    *("evaluation.n_envs=8", "expert.n_envs=8", "expert.total_timesteps=320", "dagger.n_envs=8"),
    *("expert.kwargs.learning_starts=64", "expert.kwargs.batch_size=32", "dagger.total_timesteps=800"),
    "expert.policy_kwargs.hidden_sizes=[16]",
)


def start(out: Path) -> subprocess.Popen:
    """The run, or what is left of it."""
    settings = [word for setting in SETTINGS for word in ("--set", setting)]
    words = ["--resume", str(out)] if (out / RUN).exists() else ["spread-3", *settings, "--out", str(out)]
    return subprocess.Popen(
        [sys.executable, "-m", "cesma_sb3", "run", *words],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        text=True,
    )


def finish(process: subprocess.Popen) -> None:
    _, told = process.communicate()
    assert process.returncode == 0, told


@pytest.mark.parametrize("kills", [1, pytest.param(20, marks=pytest.mark.slow)])
def test_killed_at_random_moments_it_ends_as_if_it_had_not_been(tmp_path, kills):
    finish(start(tmp_path / "whole"))
    out, moments, killed = tmp_path / "killed", random.Random(kills), 0
    while killed < kills:
        process = start(out)
        while process.poll() is None and not is_at_work(out):
            time.sleep(0.01)
        time.sleep(moments.uniform(0, 0.7))
        process.kill()
        process.communicate()
        killed += 1
        if (out / REPORT).exists():
            break
        assert RunFolder.open(out).status == "running"
    if not (out / REPORT).exists():
        finish(start(out))
    print(f"killed {killed} times")
    assert results(out) == results(tmp_path / "whole")
    assert atomic.leftovers(out) == []


def is_at_work(out: Path) -> bool:
    """Whether the newest log of the run is of the process that is under way."""
    if not (out / RUN).is_file():
        return False
    logs = [path.stat().st_mtime for path in out.glob("logs/*")]
    return bool(logs) and max(logs) >= (out / RUN).stat().st_mtime
