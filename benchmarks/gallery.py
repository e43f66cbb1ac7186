"""The pictures of docs/gallery.md: `python -m benchmarks.gallery`, with names of pictures for some of them.

Each is of the pretrained team of its task. Of a task without one, the scripted controller is shown: a run
with hardly any training is made for it in a temporary folder.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import cesma_sb3
from cesma_sb3.analysis.video import write_video
from cesma_sb3.training.pretrained_teams import list_pretrained

GALLERY = Path(__file__).parents[1] / "docs" / "images" / "gallery"
TASKS = (
    *("spread-3", "spread-3-hetero", "spread-6", "spread-6-hetero", "spread-12", "spread-24"),
    *("speaker-listener", "navigation-comm", "navigation-comm-3"),
    *("smax-3m", "smax-2s3z", "smax-3s5z"),
)
"""Names of the pictures: that of a pretrained team, or NAME of a registered NAME-scripted."""
WIDTH = 300
"""Pixels of each policy's picture."""
HARDLY_ANY = {
    "dagger.total_timesteps": 512,
    "dagger.n_envs": 8,
    "evaluation": {"eval_freq": 512, "n_eval_episodes": 8, "n_final_episodes": 8, "n_envs": 8},
}


def draw(name: str) -> Path:
    """Draw one episode of a task, from the same initial state for expert and students.

    Args:
        name: One of `TASKS`.
    """
    out = GALLERY / f"{name}.gif"
    if name in list_pretrained():
        return write_video(name, out, episodes=1, width=WIDTH)
    with tempfile.TemporaryDirectory() as folder:
        made = cesma_sb3.run(f"{name}-scripted", out=Path(folder) / "run", overrides=HARDLY_ANY).run_dir
        return write_video(made, out, policies=["expert"], episodes=1, width=WIDTH)


def main(*names: str) -> None:
    """Draw the pictures of some tasks, or of all.

    Args:
        *names: Of `TASKS`; none: all.
    """
    GALLERY.mkdir(parents=True, exist_ok=True)
    for name in names or TASKS:
        path = draw(name)
        sys.stdout.write(f"{path.relative_to(GALLERY.parents[2])}: {path.stat().st_size / 1000:.0f} kB\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
