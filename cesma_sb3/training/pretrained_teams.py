"""Teams that come with this package: small run folders, found by name wherever a run folder is expected.

`teams/NAME` holds what evaluating a team needs: its weights, its expert's (safetensors), the experiment, the
report and what it was measured on. No file of it runs code. `python -m benchmarks.pretrained` makes them.
"""

from __future__ import annotations

from pathlib import Path

from cesma_sb3.config.documents import data_folder
from cesma_sb3.config.registry import list_experiments
from cesma_sb3.errors import did_you_mean
from cesma_sb3.training.run_files import BEGINNING
from cesma_sb3.utils.file_names import as_path

RUN = BEGINNING[-1]


def list_pretrained() -> list[str]:
    """Return the names of the teams that come with this package, sorted."""
    return sorted(file.parent.name for file in data_folder("teams").glob(f"*/{RUN}"))


def find_run(path: Path | str) -> Path:
    """Return a run folder's path: of a pretrained team, given by its name, or `path` itself.

    A run folder of that name in the current folder comes first.
    """
    path = as_path(path)
    is_name = not (path / RUN).is_file() and str(path) in list_pretrained()
    return data_folder("teams") / path if is_name else path


def is_pretrained(path: Path) -> bool:
    """Whether a run folder is that of a pretrained team, to which nothing is written."""
    return path.resolve().parent == data_folder("teams")


def other_names(path: Path) -> str:
    """Return the end of a message about a folder that is not there: what could have been meant."""
    name = str(path)
    if path.is_absolute() or len(path.parts) != 1:
        return ""
    pretrained = list_pretrained()
    if name in list_experiments():
        named = ", ".join(pretrained)
        return f", and no pretrained team of this experiment ({named}); `cesma run {name}` trains one"
    return f", and no pretrained team{did_you_mean(name, pretrained)}"
