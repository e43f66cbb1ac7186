"""What a study costs beside its trials, and what a second worker is worth.

Trials are runs of `spread-3-scripted`, one thread each, with values that do not change how long a run takes:
else the trials that two workers happen to draw are others, and longer or shorter, than those of one. The
storage is a journal file. The overhead is the wall-clock time of a study with one worker less the time that
its trials took.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path
from typing import Any

from cesma_sb3.multirun.tuning import study as study_module

TRIALS = 4
TIMESTEPS = 150_000
SPACE = """\
dagger.learning_rate: { low: 3e-4, high: 1e-2, log: true }
dagger.learning_rate_final: { choices: [0.01, 0.1, 1.0] }
dagger.weight_decay: { choices: [0.0, 1e-5, 1e-4] }
"""


def run_tuning() -> dict[str, Any]:
    """`ours` is trials per hour with two workers, `theirs` with one."""
    with tempfile.TemporaryDirectory() as folder:
        one, overhead = _study(Path(folder, "one"), workers=1)
        two, _ = _study(Path(folder, "two"), workers=2)
    return {
        "ours": round(two, 1),
        "theirs": round(one, 1),
        "ratio": round(two / one, 2),
        "unit": "trials per hour, two workers and one",
        "seconds of a trial": round(overhead["trial"], 1),
        "overhead s for each trial": round(overhead["each"], 2),
        "overhead of trials of a minute": round(overhead["each"] / (60 + overhead["each"]), 4),
        "compared": {"trials": f"{TRIALS} for each worker, of {TIMESTEPS:,} timesteps"},
    }


def _study(out: Path, workers: int) -> tuple[float, dict[str, float]]:
    """Trials per hour, and seconds beside the trials."""
    space = out / "space.yaml"
    out.mkdir()
    space.write_text(SPACE)
    began = time.perf_counter()
    settings: dict[str, Any] = {"dagger.total_timesteps": TIMESTEPS, "evaluation.eval_freq": 25_000}
    result = study_module.tune(
        "spread-3-scripted",
        space=str(space),
        trials=TRIALS * workers,
        workers=workers,
        storage=f"journal:///{out}/study.journal",
        out=out,
        **settings,
    )
    seconds = time.perf_counter() - began
    trials = [trial for trial in result.study.trials if trial.duration is not None]
    own = sum(trial.duration.total_seconds() for trial in trials if trial.duration is not None)
    per_worker = own / workers
    return 3600 * len(trials) / seconds, {
        "each": (seconds - per_worker) / (len(trials) / workers),
        "trial": own / len(trials),
    }
