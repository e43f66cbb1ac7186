"""The command `cesma`: each sub-command is one call of the library, imported where it is needed."""

from cesma_sb3.cli import experiments, studies, teams  # they join the group
from cesma_sb3.cli.group import cesma, main

__all__ = ["cesma", "experiments", "main", "studies", "teams"]
