"""The command `cesma`: each sub-command is one call of the library, imported where it is needed."""

from cesma_sb3.cli import analysis, compare, export, multirun, run  # they join the group
from cesma_sb3.cli.app import cesma, main

__all__ = ["analysis", "cesma", "compare", "export", "main", "multirun", "run"]
