"""The command `cesma`: each sub-command is one call of the library, imported where it is needed."""

from cesma_sb3.cli import analysis, comparisons, experiments, studies, teams  # they join the group
from cesma_sb3.cli.group import cesma, main

__all__ = ["analysis", "cesma", "comparisons", "experiments", "main", "studies", "teams"]
