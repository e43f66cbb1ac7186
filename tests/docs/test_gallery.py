"""docs/gallery.md has every registered task, and a picture of each that is small and moves."""

import re
from pathlib import Path

import pytest
from PIL import Image

from benchmarks.gallery import GALLERY, TASKS
from cesma_sb3.config.registry import list_experiments

PAGE = (GALLERY.parents[1] / "gallery.md").read_text(encoding="utf-8")


def test_every_experiment_is_named_alone_or_by_its_ending():
    named = set(re.findall(r"`([\w-]+)`", PAGE))
    composed = {f"{task}-{ending}" for task in named for ending in named}
    assert set(list_experiments()) <= named | composed, "name it, or its task, in docs/gallery.md"


def test_every_picture_is_shown_and_none_is_missing():
    shown = {Path(path).stem for path in re.findall(r"\(images/gallery/([\w-]+\.gif)\)", PAGE)}
    assert shown == set(TASKS) == {path.stem for path in GALLERY.glob("*.gif")}
    assert sum(path.stat().st_size for path in GALLERY.glob("*.gif")) < 3_000_000


@pytest.mark.parametrize("name", TASKS)
def test_every_picture_moves(name):
    with Image.open(GALLERY / f"{name}.gif") as picture:
        assert picture.n_frames > 10
        first = picture.convert("RGB").tobytes()
        picture.seek(picture.n_frames - 1)
        assert picture.convert("RGB").tobytes() != first
