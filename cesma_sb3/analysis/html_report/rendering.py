"""Pages from templates, with their scripts inside: they run no other, and load nothing from elsewhere."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from cesma_sb3.analysis.recording import Episode
from cesma_sb3.utils.installation import missing_extra

PLAYER = ("html_report/theme.js", "html_report/player.js")
"""The scripts of a page with `html_report/player.html`, which plays episodes."""
_ROOT = Path(__file__).parents[1]
"""The folder of all templates and scripts."""
_WIDTH = 400
"""Width of a frame in a file, in pixels, at most."""


def read_scripts(names: Sequence[str]) -> list[str]:
    """Return the texts of scripts, named by their paths in `analysis`."""
    return [(_ROOT / name).read_text(encoding="utf-8") for name in names]


def render(template: str, scripts: Sequence[str], **values: Any) -> str:
    """Return a page.

    Args:
        template: The template's path in `analysis`; it extends `html_report/base.html`.
        scripts: The texts of its scripts, in the order in which they run.
        values: What the template needs: the `title`, whether the page is `watched`, so that it plays by
            itself, and its own.

    Raises:
        MissingExtraError: Jinja is not installed.
    """
    try:
        import jinja2
    except ImportError as error:
        raise missing_extra("a page", "report", error) from None
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_ROOT),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    # The page runs these scripts and refuses any other, by their digests: its data is no script.
    digests = [base64.b64encode(hashlib.sha256(each.encode()).digest()).decode() for each in scripts]
    return environment.get_template(template).render(scripts=scripts, digests=digests, **values)


def for_player(episode: Episode, *, small: bool = True) -> dict[str, Any]:
    """Return an episode as `player.js` reads it.

    Args:
        episode: The episode.
        small: Whether its pictures are made for a file that is kept; else quickly, some three times as large.
    """
    encode = _small_picture if small else _quick_picture
    return {
        "frames": [encode(Image.fromarray(frame)) for frame in episode.frames],
        "steps": episode.steps,
        "returns": episode.returns,
        "won": episode.won,
    }


def _small_picture(picture: Image.Image) -> str:
    if picture.width > _WIDTH:
        height = round(picture.height * _WIDTH / picture.width)
        picture = picture.resize((_WIDTH, height), Image.Resampling.BILINEAR)
    # A third of the time that Pillow's own choice of colours takes.
    few = picture.quantize(128, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    # From 7 to 9, which `optimize` takes, each picture costs four times as long and is 9% smaller.
    return _data_url(few, "PNG", compress_level=7)


def _quick_picture(picture: Image.Image) -> str:
    return _data_url(picture, "JPEG", quality=90, subsampling=0)


def _data_url(picture: Image.Image, kind: str, **options: Any) -> str:
    """Encode a picture as a `data:` URL."""
    content = io.BytesIO()
    picture.save(content, kind, **options)
    return f"data:image/{kind.lower()};base64," + base64.b64encode(content.getvalue()).decode()
