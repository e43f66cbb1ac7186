"""What a run looks like: figures."""

from cesma_sb3.report.figure import Curve, draw_learning_curves

__all__ = ["Curve", "draw_learning_curves"]
