"""The figure of several lines in several panels."""

import re

import numpy as np
import pytest

from cesma_sb3.utils.plotting import PlotLine, PlotPanel, draw_panels, envelope
from cesma_sb3.utils.plotting.panels import _heights

CURVE = envelope([[(0, -50.0), (100, -20.0)], [(0, -48.0), (80, -22.0)]])
LINES = (
    PlotLine("CESMA", (CURVE, envelope([[(100, -50.0), (120, -21.0)]])), extends=True),
    PlotLine("MADDPG", (envelope([[(0, -50.0), (200, -30.0)]]),)),
    PlotLine("DDPG", level=-35.0),
    PlotLine("agent_0", points=((0.3, -40.0), (0.1, -20.0)), path=((0.3, -40.0), (0.1, -20.0))),
)


def draw(path, panels, title="A figure"):
    draw_panels(path, panels=panels, title=title, note="means")
    return path.read_bytes()


@pytest.mark.parametrize("count", [1, 3, 7])
def test_as_many_axes_as_panels(tmp_path, count):
    panels = [PlotPanel(f"panel {index}", "episodes", "return", LINES) for index in range(count)]
    drawn = draw(tmp_path / "f.svg", panels).decode()
    assert len(re.findall(r'id="axes_\d+"', drawn)) == count
    assert drawn.count("legend_1") >= 1


def test_a_panel_of_no_lines(tmp_path):
    assert draw(tmp_path / "f.png", [PlotPanel("", "x", "y", ())]).startswith(b"\x89PNG")


def test_one_seed_is_its_own_envelope():
    found = envelope([[(0, 1.0), (5, 2.0)]])
    np.testing.assert_array_equal(found.low, found.high)
    np.testing.assert_array_equal(found.center, [1.0, 2.0])


def test_what_untrained_networks_begin_with_sets_no_scale():
    far = envelope([[(0, -500.0), (10, -50.0), (20, -20.0)]])
    assert _heights(PlotPanel("", "x", "y", (PlotLine("a", (far,)),))) == (-50.0, -20.0)
    assert _heights(PlotPanel("", "x", "y", (PlotLine("a", (far,)), PlotLine("b", level=-70.0)))) == (
        -70.0,
        -20.0,
    )
    once = envelope([[(0, -500.0)]])
    assert _heights(PlotPanel("", "x", "y", (PlotLine("a", (once,)),))) == (-500.0, -500.0)
