"""The figure of the learning curves."""

import sys

import pytest

from cesma_sb3.utils.plotting import draw_learning_curves, style

ANCHORS = {"reference": -15.2, "random": -52.4}
EXPERT = [(0, -50.0), (1000, -30.0), (2000, -20.0)]
STUDENTS = [(2000, -51.0), (3000, -21.0)]


@pytest.mark.parametrize(
    ("expert", "students", "anchors"),
    [
        (EXPERT, STUDENTS, ANCHORS),
        ([(0, -15.2)], [(0, -51.0), (1000, -18.0)], ANCHORS),
        (EXPERT, [], {}),
        ([(0, -1.0)], [(0, -1.0)], {"random": -1.0}),
        ([], [], {}),
    ],
)
def test_it_is_drawn(expert, students, anchors, tmp_path):
    for suffix, start in ((".png", b"\x89PNG"), (".svg", b"<?xml")):
        path = tmp_path / f"figure{suffix}"
        draw_learning_curves(
            path,
            expert=expert,
            students=students,
            reference_returns=anchors,
            title="spread-3",
            reward="minus distances " * 12,
        )
        assert path.read_bytes().startswith(start)


def test_pyplot_is_left_alone(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)  # importing it would fail
    draw_learning_curves(
        tmp_path / "f.png", expert=EXPERT, students=STUDENTS, reference_returns=ANCHORS, title="", reward="x"
    )


@pytest.mark.parametrize(("value", "text"), [(0, "0"), (500, "500"), (150_000, "150k"), (2_500_000, "2.5M")])
def test_samples_are_short(value, text):
    assert style.thousands(value) == text
