"""What a run, or several, look like: figures."""

from cesma_sb3.utils.plotting.intervals import Bar, BarPanel, draw_intervals
from cesma_sb3.utils.plotting.learning_curves import Curve, draw_learning_curves
from cesma_sb3.utils.plotting.panels import DrawnLine, DrawnPanel, Envelope, draw_comparison, envelope

__all__ = [
    "Bar",
    "BarPanel",
    "Curve",
    "DrawnLine",
    "DrawnPanel",
    "Envelope",
    "draw_comparison",
    "draw_intervals",
    "draw_learning_curves",
    "envelope",
]
