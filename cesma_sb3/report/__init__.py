"""What a run, or several, look like: figures."""

from cesma_sb3.report.comparison import DrawnLine, DrawnPanel, Envelope, draw_comparison, envelope
from cesma_sb3.report.figure import Curve, draw_learning_curves
from cesma_sb3.report.intervals import Bar, BarPanel, draw_intervals

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
