"""Write episodes of a run, its policies side by side, as an animated GIF or an MP4 file."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeAlias

from PIL import Image, ImageDraw

from cesma_sb3.analysis.recording import Episode, record_episodes
from cesma_sb3.errors import ConfigError
from cesma_sb3.training.run_folder import RunFolder
from cesma_sb3.utils import atomic
from cesma_sb3.utils.file_names import as_path
from cesma_sb3.utils.installation import missing_extra

Frames: TypeAlias = list[tuple[Image.Image, float]]
"""Pictures, and how many seconds each is shown."""

_CAPTION_HEIGHT = 28
"""Height of the caption above each picture, in pixels."""
_LAST_SECONDS = 1.5
"""How long the end of an episode is shown."""
_COLORS = 128
"""Colours of a GIF, the same in all of its pictures: what stays the same from one to the next is left out."""
_SAMPLED = 16
"""Pictures at most that a GIF's colours are chosen from."""
_TICKS = 1000
"""Ticks of an MP4 file's clock in a second."""


def write_video(
    run_dir: Path | str,
    out: Path | str | None = None,
    *,
    policies: Sequence[str] = ("expert", "students"),
    episodes: int = 3,
    seed: int | None = None,
    fps: float = 8.0,
    width: int | None = None,
    trust: bool = False,
) -> Path:
    """Write a video of a run: its policies side by side, from the same initial states.

    Args:
        run_dir: The folder of a finished run, or the name of a pretrained team.
        out: A .gif file, or an .mp4 file, which needs PyAV (extra `video`) and is far smaller; None:
            `video.gif` in the run folder (`RunFolder.outputs`).
        policies: The policies to show, from left to right; those that the run does not have are left out.
        episodes: How many episodes are shown, one after the other.
        seed: Seed of the initial states; None: the run's, which shows episodes of its final evaluation.
        fps: Environment steps shown in a second, in (0, 50].
        width: Width of each policy's picture in pixels, from 100 up; None: as the environment draws it.
        trust: Let the folder run the code that it names or holds, though it was made elsewhere.

    Raises:
        ConfigError: `out` has another suffix, or a number is out of its range.
        MissingExtraError: PyAV is not installed.
        StorageError: A file is missing, or the environment cannot be rendered.
        UntrustedError: The folder would run code, and was not made here.
    """
    path = RunFolder.open(run_dir).outputs / "video.gif" if out is None else as_path(out)
    encode = _writer(path)
    if not 0 < fps <= 50 or episodes < 1:  # what viewers of GIFs can show
        raise ConfigError(f"fps {fps:g}, episodes {episodes}: expected more than 0 up to 50, and at least 1")
    if width is not None and width < 100:  # where the caption has room
        raise ConfigError(f"width {width}: expected at least 100 pixels")
    recorded = record_episodes(run_dir, episodes=episodes, seed=seed, trust=trust)
    columns = {name: recorded[name] for name in policies if name in recorded}
    if not columns:
        raise ConfigError(f"policies: the run has {', '.join(recorded)}, not {', '.join(policies)}")
    frames: Frames = []
    for number in range(episodes):
        row = {name: column[number] for name, column in columns.items()}
        length = max(len(episode.frames) for episode in row.values())
        for index in range(length):
            seconds = 1 / fps if index < length - 1 else _LAST_SECONDS
            frames.append((_side_by_side(row, index, width), seconds))
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
    step = -(-len(frames) // _SAMPLED)
    sample = [picture for picture, _ in frames[::step]]
    height = sample[0].height
    palette = Image.new("RGB", (sample[0].width, height * len(sample)))
    for number, picture in enumerate(sample):
        palette.paste(picture, (0, height * number))
    palette = palette.quantize(_COLORS, method=Image.Quantize.MEDIANCUT)
    pictures = [picture.quantize(palette=palette, dither=Image.Dither.NONE) for picture, _ in frames]
    durations = [1000 * seconds for _, seconds in frames]
    content = io.BytesIO()
    pictures[0].save(
        content, "GIF", save_all=True, append_images=pictures[1:], duration=durations, loop=0, optimize=True
    )
    return content.getvalue()


def _mp4(frames: Frames) -> bytes:
    """Encode as H.264, which every browser plays, each picture at its own time."""
    av = _import_av()
    content = io.BytesIO()
    width, height = frames[0][0].size
    with av.open(content, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=_TICKS, options={"crf": "20"})
        stream.width, stream.height = width - width % 2, height - height % 2  # which this pixel format wants
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = Fraction(1, _TICKS)
        at = 0.0
        # A picture lasts until the next one: the last is repeated where it ends.
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
    except ImportError as error:
        raise missing_extra("a video in MP4", "video", error) from None
    return av


def _of_one_size(frames: Frames) -> Frames:
    """Paste every picture on white of the largest size: pictures may grow, and a video has one size."""
    width, height = (max(picture.size[axis] for picture, _ in frames) for axis in (0, 1))
    padded: Frames = []
    for picture, seconds in frames:
        canvas = Image.new("RGB", (width, height), "white")
        canvas.paste(picture)
        padded.append((canvas, seconds))
    return padded


def _side_by_side(episodes: dict[str, Episode], index: int, width: int | None) -> Image.Image:
    """Draw one point of several recordings; those that have ended keep their last frame."""
    pictures: list[Image.Image] = []
    for name, episode in episodes.items():
        now = min(index, len(episode.frames) - 1)
        frame = Image.fromarray(episode.frames[now])
        if width is not None:
            height = round(frame.height * width / frame.width)
            frame = frame.resize((width, max(1, height)), Image.Resampling.LANCZOS)
        picture = Image.new("RGB", (frame.width, frame.height + _CAPTION_HEIGHT), "white")
        picture.paste(frame, (0, _CAPTION_HEIGHT))
        caption = f"{name}: {episode.returns[now]:.2f}"
        if episode.won is not None and now == len(episode.frames) - 1:
            caption += ", won" if episode.won else ", lost"
        ImageDraw.Draw(picture).text((8, 6), caption, fill=(31, 41, 55), font_size=15)
        pictures.append(picture)
    row = Image.new("RGB", (sum(p.width for p in pictures), max(p.height for p in pictures)), "white")
    left = 0
    for picture in pictures:
        row.paste(picture, (left, 0))
        left += picture.width
    return row
