"""`cesma video`: a run's policies at work, side by side, as an animated GIF or an MP4 file."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeAlias

from PIL import Image, ImageDraw

from cesma_sb3.analysis.frames import Rollout, record
from cesma_sb3.errors import ConfigError, MissingExtraError
from cesma_sb3.utils import atomic
from cesma_sb3.utils.file_names import as_path

Frames: TypeAlias = list[tuple[Image.Image, float]]
"""Pictures, and for how many seconds each is shown."""

_BAND = 28
_LAST_SECONDS = 1.5
_TICKS = 1000
"""In a second, of an MP4 file's clock."""


def write_video(
    run_dir: Path | str,
    out: Path | str | None = None,
    *,
    policies: Sequence[str] = ("expert", "students"),
    episodes: int = 3,
    seed: int | None = None,
    fps: float = 8.0,
    trust: bool = False,
) -> Path:
    """Draws episodes of a run, its policies side by side from the same initial states.

    Args:
        run_dir: A finished run.
        out: A .gif file, or .mp4, which needs PyAV (extra `video`) and is far smaller; None: `video.gif` in
            the run folder.
        policies: Whom to show, from left to right; those that the run does not have are left out.
        episodes: One after the other.
        seed: Of the initial states; None: the run's, which shows episodes of its final evaluation.
        fps: Steps of the environment in a second, in (0, 50].
        trust: That the folder may run the code that it names or holds, though it was made elsewhere.

    Raises:
        ConfigError: `out` is neither, or a number is out of its range.
        MissingExtraError: PyAV is not installed.
        StorageError: A file is missing, or the environment gives no pictures.
        UntrustedError: The folder would run code, and was not made here.
    """
    path = as_path(run_dir) / "video.gif" if out is None else as_path(out)
    encode = _writer(path)
    if not 0 < fps <= 50 or episodes < 1:  # what viewers of GIFs can show
        raise ConfigError(f"fps {fps:g}, episodes {episodes}: expected more than 0 up to 50, and at least 1")
    shown = record(run_dir, episodes=episodes, seed=seed, trust=trust)
    columns = {name: shown[name] for name in policies if name in shown}
    if not columns:
        raise ConfigError(f"policies: the run has {', '.join(shown)}, not {', '.join(policies)}")
    frames: Frames = []
    for episode in range(episodes):
        rollouts = {name: column[episode] for name, column in columns.items()}
        length = max(len(rollout.pictures) for rollout in rollouts.values())
        for step in range(length):
            seconds = 1 / fps if step < length - 1 else _LAST_SECONDS
            frames.append((_side_by_side(rollouts, step), seconds))
    content = encode(_of_one_size(frames))
    atomic.write(path, lambda file: file.write_bytes(content))
    return path


def _writer(path: Path) -> Callable[[Frames], bytes]:
    formats = {".gif": _gif, ".mp4": _mp4}
    suffix = path.suffix.lower()
    if suffix not in formats:
        raise ConfigError(f"{path}: expected a {' or '.join(formats)} file")
    if suffix == ".mp4":
        _import_av()  # before the episodes are played
    return formats[suffix]


def _gif(frames: Frames) -> bytes:
    pictures = [
        picture.quantize(128, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
        for picture, _ in frames
    ]
    durations = [1000 * seconds for _, seconds in frames]
    content = io.BytesIO()
    pictures[0].save(
        content, "GIF", save_all=True, append_images=pictures[1:], duration=durations, loop=0, optimize=False
    )
    return content.getvalue()


def _mp4(frames: Frames) -> bytes:
    """H.264, which every browser plays, each picture at its own time."""
    av = _import_av()
    content = io.BytesIO()
    width, height = frames[0][0].size
    with av.open(content, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=_TICKS, options={"crf": "20"})
        stream.width, stream.height = width - width % 2, height - height % 2  # which this pixel format wants
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = Fraction(1, _TICKS)
        at = 0.0
        # A picture lasts until the next one: the last is given again where it ends.
        for picture, seconds in [*frames, (frames[-1][0], 0.0)]:
            frame = av.VideoFrame.from_image(picture.crop((0, 0, stream.width, stream.height)))
            frame.pts, frame.time_base = round(at * _TICKS), Fraction(1, _TICKS)
            container.mux(stream.encode(frame))
            at += seconds
        container.mux(stream.encode())
    return content.getvalue()


def _import_av() -> Any:
    try:
        import av
    except ImportError:
        raise MissingExtraError("PyAV is not installed: pip install 'cesma-sb3[video]'") from None
    return av


def _of_one_size(frames: Frames) -> Frames:
    """The frames, each on white as large as the largest: pictures may grow, and a film has one size."""
    width, height = (max(picture.size[axis] for picture, _ in frames) for axis in (0, 1))
    found: Frames = []
    for picture, seconds in frames:
        canvas = Image.new("RGB", (width, height), "white")
        canvas.paste(picture)
        found.append((canvas, seconds))
    return found


def _side_by_side(rollouts: dict[str, Rollout], step: int) -> Image.Image:
    """Whoever has ended stays as it was."""
    pictures: list[Image.Image] = []
    for name, rollout in rollouts.items():
        now = min(step, len(rollout.pictures) - 1)
        picture = Image.fromarray(rollout.pictures[now])
        framed = Image.new("RGB", (picture.width, picture.height + _BAND), "white")
        framed.paste(picture, (0, _BAND))
        text = f"{name}: {rollout.returns[now]:.2f}"
        if rollout.won is not None and now == len(rollout.pictures) - 1:
            text += ", won" if rollout.won else ", lost"
        ImageDraw.Draw(framed).text((8, 6), text, fill=(31, 41, 55), font_size=15)
        pictures.append(framed)
    row = Image.new("RGB", (sum(p.width for p in pictures), max(p.height for p in pictures)), "white")
    at = 0
    for framed in pictures:
        row.paste(framed, (at, 0))
        at += framed.width
    return row
