"""What checkpoints cost a run, and how long it takes to resume from one."""

from __future__ import annotations

import contextlib
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

from cesma_sb3.errors import Interrupted
from cesma_sb3.training import run as run_module
from cesma_sb3.training.checkpoint import ResumePoint, StageCheckpoints

NAME = "spread-3"
VALUES: dict[str, Any] = {"checkpoint.minutes": 1.0}


def run_checkpoints() -> dict[str, Any]:
    """`ours` is the share of a run's wall-clock time that is spent on checkpoints, one a minute."""
    written: list[float] = []
    sizes: list[int] = []
    save, restore = StageCheckpoints.save, StageCheckpoints.restore
    save_if_due = StageCheckpoints.save_if_due

    def timed_save(self: StageCheckpoints, timesteps: int, *, ended: bool = False) -> None:
        began = time.perf_counter()
        save(self, timesteps, ended=ended)
        written.append(time.perf_counter() - began)
        newest = self._paths()[-1]
        sizes.append(sum(path.stat().st_size for path in newest.iterdir()))

    resumed: list[float] = []

    def timed_restore(self: StageCheckpoints, root: object, **kwargs: Any) -> ResumePoint | None:
        began = time.perf_counter()
        found = restore(self, root, **kwargs)
        if found is not None:
            resumed.append(time.perf_counter() - began)
        return found

    def stop_late(self: StageCheckpoints, timesteps: int) -> None:
        save_if_due(self, timesteps)
        if self.name == "expert" and timesteps >= 45_000:
            self.save(timesteps)
            raise KeyboardInterrupt

    with (
        tempfile.TemporaryDirectory() as folder,
        patch.object(StageCheckpoints, "save", timed_save),
        patch.object(StageCheckpoints, "restore", timed_restore),
    ):
        began = time.perf_counter()
        run_module.run(NAME, out=Path(folder, "run"), **VALUES)
        seconds, of_run, count = time.perf_counter() - began, sum(written), len(written)
        with patch.object(StageCheckpoints, "save_if_due", stop_late), contextlib.suppress(Interrupted):
            run_module.run(NAME, out=Path(folder, "stopped"), **VALUES)
        run_module.run(resume=Path(folder, "stopped"))
    return {
        "ours": round(of_run / seconds, 5),
        "theirs": 0.03,
        "ratio": round(of_run / seconds / 0.03, 3),
        "unit": "share of the wall-clock time, and what is allowed",
        "seconds of the run": round(seconds, 1),
        "checkpoints": count,
        "seconds of the longest": round(max(written), 3),
        "largest, MB": round(max(sizes) / 1e6, 1),
        "seconds to restore one (45,000 of 50,000 steps)": round(max(resumed), 3),
        "compared": {"run": f"{NAME} as registered, a checkpoint each minute and after each stage"},
    }
