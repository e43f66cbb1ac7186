"""A scenario, its expert and an experiment for cesma_sb3, in a package of their own."""

from importlib.resources import files

EXPERIMENTS = files(__name__) / "experiments"
