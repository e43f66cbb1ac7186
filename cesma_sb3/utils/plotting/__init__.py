"""Plots of one run or of several, with Matplotlib and without pyplot."""

from cesma_sb3.utils.plotting.intervals import Interval, IntervalPanel, draw_intervals
from cesma_sb3.utils.plotting.panels import (
    Envelope,
    PlotLine,
    PlotPanel,
    Points,
    draw_learning_curves,
    draw_panels,
    envelope,
    interpolate,
)

__all__ = [
    "Envelope",
    "Interval",
    "IntervalPanel",
    "PlotLine",
    "PlotPanel",
    "Points",
    "draw_intervals",
    "draw_learning_curves",
    "draw_panels",
    "envelope",
    "interpolate",
]
