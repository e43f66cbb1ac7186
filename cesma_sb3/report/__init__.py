"""What a run, or several, look like: figures."""

from cesma_sb3.report.comparison import DrawnLine, DrawnPanel, Envelope, draw_comparison, envelope
from cesma_sb3.report.figure import Curve, draw_learning_curves

__all__ = [
    "Curve",
    "DrawnLine",
    "DrawnPanel",
    "Envelope",
    "draw_comparison",
    "draw_learning_curves",
    "envelope",
]
