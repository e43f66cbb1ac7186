"""Keeps what figures are drawn from, without weights and logs: `python -m benchmarks.keep FOLDER`.

FOLDER is one that `cesma reproduce --out FOLDER` has worked in. Of its finished runs, experiment, report,
evaluations and losses are copied to docs/reproduced/runs, some 10 kB each. `cesma reproduce FIGURE --budget
registered --out docs/reproduced` then draws from them, and makes only those runs that are not there.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from benchmarks.__main__ import PACKAGES
from cesma_sb3.analysis.run_data import LOSSES
from cesma_sb3.errors import StorageError
from cesma_sb3.training.run_folder import CONFIG, EVALUATIONS, REPORT, RUN, RunFolder

KEPT = Path(__file__).parents[1] / "docs" / "reproduced"


def keep(folder: Path, kept: Path = KEPT) -> list[Path]:
    """Copies the results of finished runs; a newer run takes the place of an older one.

    Args:
        folder: What `cesma reproduce` calls `--out`.
        kept: The same, with results alone.

    Returns:
        The folders that were written, sorted.
    """
    written = []
    for report in sorted(folder.glob(f"runs/*/seed-*/{REPORT}")):
        try:
            run = RunFolder.open(report.parent)
        except StorageError:  # set aside by a newer schema, say
            continue
        if run.status != "finished":
            continue
        copy = kept / report.parent.relative_to(folder)
        keep_files(run, copy, results(run))
        written.append(copy)
    return written


def results(run: RunFolder) -> list[str]:
    """The names of the files that figures and curves are drawn from, but for `run.json`."""
    # The losses of a baseline are its SB3 algorithm's, and no figure's.
    logs = sorted(path.relative_to(run.path).as_posix() for path in run.path.glob(f"logs/{LOSSES}"))
    return [CONFIG, REPORT, EVALUATIONS, *(logs if run.experiment.dagger else [])]


def keep_files(run: RunFolder, copy: Path, names: Iterable[str]) -> None:
    """Replaces a folder by these files of a run, and what its `run.json` says that matters elsewhere."""
    shutil.rmtree(copy, ignore_errors=True)
    for name in names:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(run.file(name), copy / name)
    (copy / RUN).write_text(json.dumps(_told(run), indent=2) + "\n", encoding="utf-8")


def _told(run: RunFolder) -> dict[str, Any]:
    """What `run.json` says that matters elsewhere: where the run lay does not."""
    command = re.sub(r" --out \S+", "", run.info["command"])
    # Distributions spell their names with - or _, as they were built.
    known = {name.lower().replace("_", "-"): number for name, number in run.info["versions"].items()}
    versions = {name: known[name] for name in ("python", *PACKAGES)}
    return {**run.info, "command": command, "versions": versions}


@click.command(help=__doc__)
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
def main(folder: Path) -> None:
    """Copies, and says what."""
    for copy in keep(folder):
        click.echo(copy.relative_to(KEPT))


if __name__ == "__main__":
    main()
