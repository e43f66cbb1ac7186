"""The pictures of docs/gallery.md: `python -m benchmarks.gallery RUNS`.

RUNS is a folder of finished runs, RUNS/NAME/seed-0, with their weights. Of a task that has no run there,
the scripted controller is shown: a run with hardly any training is made for it in a temporary folder.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import cesma_sb3
from cesma_sb3.analysis.video import write_video

GALLERY = Path(__file__).parents[1] / "docs" / "images" / "gallery"
TASKS = (
    *("spread-3", "spread-3-hetero", "spread-6", "spread-6-hetero", "spread-12", "spread-24"),
    *("speaker-listener", "navigation-comm", "navigation-comm-3"),
    *("smax-3m", "smax-2s3z", "smax-3s5z"),
)
"""Names of the pictures. NAME is that of a registered experiment, or NAME-scripted is."""
WIDTH = 300
"""Pixels of each policy's picture."""
HARDLY_ANY = {
    "dagger.total_timesteps": 512,
    "dagger.n_envs": 8,
    "evaluation": {"eval_freq": 512, "n_eval_episodes": 8, "n_final_episodes": 8, "n_envs": 8},
}


def draw(name: str, runs: Path) -> Path:
    """Draw one episode of a task, from the same initial state for expert and students.

    Args:
        name: One of `TASKS`.
        runs: Finished runs.
    """
    out = GALLERY / f"{name}.gif"
    run_dir = runs / name / "seed-0"
    if (run_dir / "students").exists():
        return write_video(run_dir, out, episodes=1, width=WIDTH, trust=True)
    with tempfile.TemporaryDirectory() as folder:
        made = cesma_sb3.run(f"{name}-scripted", out=Path(folder) / "run", overrides=HARDLY_ANY).run_dir
        return write_video(made, out, policies=["expert"], episodes=1, width=WIDTH)


def main(runs: str, *names: str) -> None:
    """Draw the pictures of some tasks, or of all.

    Args:
        runs: Folder of finished runs.
        *names: Of `TASKS`; none: all.
    """
    GALLERY.mkdir(parents=True, exist_ok=True)
    for name in names or TASKS:
        path = draw(name, Path(runs))
        sys.stdout.write(f"{path.relative_to(GALLERY.parents[2])}: {path.stat().st_size / 1000:.0f} kB\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
