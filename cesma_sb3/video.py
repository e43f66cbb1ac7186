"""`cesma video`: a run's policies at work, side by side, as an animated GIF."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from cesma_sb3 import _atomic
from cesma_sb3.errors import ConfigError
from cesma_sb3.rollouts import Picture, Rollout, record

_BAND = 28
_LAST_SECONDS = 1.5


def write_video(
    run_dir: Path | str,
    out: Path | str | None = None,
    *,
    policies: Sequence[str] = ("expert", "students"),
    episodes: int = 3,
    seed: int | None = None,
    fps: float = 8.0,
) -> Path:
    """Draws episodes of a run, its policies side by side from the same initial states.

    Args:
        run_dir: A finished run.
        out: A .gif file; None: `video.gif` in the run folder.
        policies: Whom to show, from left to right; those that the run does not have are left out.
        episodes: One after the other.
        seed: Of the initial states; None: the run's, which shows episodes of its final evaluation.
        fps: Steps of the environment in a second, in (0, 50].

    Raises:
        ConfigError: `out` is no .gif, or a number is out of its range.
        StorageError: A file is missing, or the environment gives no pictures.
    """
    path = Path(run_dir) / "video.gif" if out is None else Path(out)
    if path.suffix.lower() != ".gif":
        raise ConfigError(f"{path}: expected a .gif file")
    if not 0 < fps <= 50 or episodes < 1:  # what viewers of GIFs can show
        raise ConfigError(f"fps {fps:g}, episodes {episodes}: expected more than 0 up to 50, and at least 1")
    shown = record(run_dir, episodes=episodes, seed=seed)
    columns = {name: shown[name] for name in policies if name in shown}
    if not columns:
        raise ConfigError(f"policies: the run has {', '.join(shown)}, not {', '.join(policies)}")
    frames: list[Image.Image] = []
    durations: list[float] = []
    for episode in range(episodes):
        rollouts = {name: column[episode] for name, column in columns.items()}
        length = max(len(rollout.pictures) for rollout in rollouts.values())
        for step in range(length):
            frames.append(_side_by_side(rollouts, step))
            durations.append(1000 / fps if step < length - 1 else 1000 * _LAST_SECONDS)
    content = io.BytesIO()
    frames[0].save(
        content, "GIF", save_all=True, append_images=frames[1:], duration=durations, loop=0, optimize=False
    )
    _atomic.write(path, lambda file: file.write_bytes(content.getvalue()))
    return path


def _side_by_side(rollouts: dict[str, Rollout], step: int) -> Image.Image:
    """Whoever has ended stays as it was."""
    pictures: list[Picture] = []
    for name, rollout in rollouts.items():
        at = min(step, len(rollout.pictures) - 1)
        picture = Image.fromarray(rollout.pictures[at])
        framed = Image.new("RGB", (picture.width, picture.height + _BAND), "white")
        framed.paste(picture, (0, _BAND))
        text = f"{name}: {rollout.returns[at]:.2f}"
        if rollout.won is not None and at == len(rollout.pictures) - 1:
            text += ", won" if rollout.won else ", lost"
        ImageDraw.Draw(framed).text((8, 6), text, fill=(31, 41, 55), font_size=15)
        pictures.append(np.asarray(framed))
    joined = Image.fromarray(np.concatenate(pictures, axis=1))
    return joined.quantize(128, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
