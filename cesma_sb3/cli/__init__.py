"""The command `cesma`: each sub-command is one call of the library, imported where it is needed."""

try:
    from cesma_sb3.cli import analysis, compare, doctor, export, multirun, run  # they join the group
    from cesma_sb3.cli.app import cesma, main
except ImportError as error:
    if (error.name or "").partition(".")[0] != "click":
        raise
    from cesma_sb3.cli.without_click import main

__all__ = ["analysis", "cesma", "compare", "doctor", "export", "main", "multirun", "run"]
