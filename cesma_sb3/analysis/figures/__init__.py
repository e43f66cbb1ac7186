"""Figures of the paper, from their runs to the drawing."""
