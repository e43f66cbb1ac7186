"""`reproduce`: make the runs of a figure of the paper, plot them, and write the table."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from cesma_sb3.analysis.figures.panels import plot_panel, table_rows
from cesma_sb3.analysis.figures.schema import BUDGETS, Budget, Figure, NamedFigure, load_figure
from cesma_sb3.analysis.markdown import TableRow, markdown_table
from cesma_sb3.analysis.run_data import read_run
from cesma_sb3.errors import ConfigError, integer, unknown_name
from cesma_sb3.multirun.plan import (
    BUSY,
    Failure,
    PlannedRun,
    is_finished,
    make_runs,
    on_this_machine,
    planned,
)
from cesma_sb3.training.run_files import csv_text
from cesma_sb3.utils import atomic
from cesma_sb3.utils.file_names import as_path
from cesma_sb3.utils.locks import exclusive_lock
from cesma_sb3.utils.plotting import draw_panels
from cesma_sb3.utils.processes import cores


@dataclasses.dataclass(frozen=True)
class Reproduction:
    """Result of `reproduce`."""

    files: tuple[Path, ...]
    """The plot as .png and .svg, its table as .csv and .md."""
    rows: list[TableRow]
    """The table: a row for each policy of each line."""
    ran: int
    """How many runs were made now; the others had finished before."""
    failures: tuple[Failure, ...]
    """Runs that failed."""


def reproduce(
    name: str | Path,
    *,
    budget: Budget = "quick",
    seeds: int | None = None,
    workers: int | None = None,
    out: Path | str | None = None,
    only: Sequence[str] = (),
    draw_only: bool = False,
    progress: bool = False,
) -> Reproduction:
    """Make the runs of a figure that have not finished yet, then plot it and write its table.

    A run that was interrupted or failed resumes from its last checkpoint; one whose experiment has changed
    since is set aside and made again. Where runs fail, the plot shows the others.

    Args:
        name: A figure of `figures/` (`figure-5`, or `5`), or a YAML file.
        budget: `quick`: a figure within an hour on two cores. `registered`: experiments as they
            are registered. `full`: the paper's.
        seeds: Runs of each line, seeds 0, 1, ...; None: as many as the figure's file sets.
        workers: Processes at once; None: one for each core.
        out: The results folder; None: `runs/reproduce/BUDGET`, so that figures share runs.
        only: Names of panels; empty: all panels.
        draw_only: Make no runs; plot those that have finished.
        progress: Print a line for each run on standard error.

    Raises:
        CesmaError: Bad input; raised before anything runs.
    """
    if budget not in BUDGETS:
        raise ConfigError(f"budget: {unknown_name('budget', budget, BUDGETS)}")
    seeds = None if seeds is None else integer("seeds", seeds, 1)
    workers = None if workers is None else integer("workers", workers, 1)
    named = load_figure(name)
    figure = dataclasses.replace(named, figure=named.figure.only(tuple(only)))
    folder = Path("runs", "reproduce", budget) if out is None else as_path(out)
    count = getattr(figure.figure.seeds, budget) if seeds is None else seeds
    plan = plan_runs(figure, budget, count, folder)
    with exclusive_lock(folder, BUSY):
        needed = {run.path: run for runs in plan.values() for run in runs}
        missing = [] if draw_only else [run for run in needed.values() if not is_finished(run)]
        failures = make_runs(missing, on_this_machine(workers or cores()), progress=progress)
    stem = "-".join([figure.name, *only])
    rows, files = _write(figure.figure, plan, folder / stem, budget)
    return Reproduction(files, rows, len(missing), failures)


def _write(
    figure: Figure, plan: Mapping[tuple[str, str], Sequence[PlannedRun]], stem: Path, budget: Budget
) -> tuple[list[TableRow], tuple[Path, ...]]:
    """Plot the runs that finished, and write the table."""
    panels, rows, seeds = [], list[TableRow](), set[int]()
    for panel in figure.panels:
        runs = {
            line.label: [read_run(run.path) for run in plan[panel.name, line.label] if is_finished(run)]
            for line in panel.lines
        }
        seeds |= {len(of_line) for of_line in runs.values() if of_line}
        panels.append(plot_panel(panel, runs))
        rows += table_rows(panel, runs)
    runs_made = f"{_count(seeds or {0})}, budget {budget}"
    centers = " and ".join(dict.fromkeys(f"{panel.center}s" for panel in figure.panels))
    note = f"Lines: {centers} over runs ({runs_made}); areas: from the lowest run to the highest."
    files = tuple(stem.with_name(stem.name + suffix) for suffix in (".png", ".svg", ".csv", ".md"))
    for path in files[:2]:
        atomic.write(path, lambda file: draw_panels(file, panels=panels, title=figure.title, note=note))
    page = f"# {figure.title}\n\nSource: {figure.source}. {runs_made}.\n\n{markdown_table(rows)}"
    atomic.write(files[2], lambda file: file.write_text(csv_text(rows), encoding="utf-8"))
    atomic.write(files[3], lambda file: file.write_text(page, encoding="utf-8"))
    return rows, files


def _count(seeds: set[int]) -> str:
    """Format how many runs the lines have: `3 seeds`, `1 to 3 seeds`."""
    least, most = min(seeds), max(seeds)
    return f"{f'{least} to ' * (least < most)}{most} seed{'s' * (most != 1)}"


def plan_runs(
    figure: NamedFigure, budget: Budget, seeds: int, folder: Path
) -> dict[tuple[str, str], list[PlannedRun]]:
    """Plan the runs of each line, by the panel's name and the line's label.

    Raises:
        ConfigError: An experiment of the figure is wrong.
    """
    return {
        (panel.name, line.label): [
            planned(line.experiment, line.values(budget), experiment, seed, folder) for seed in range(seeds)
        ]
        for panel, line, experiment in figure.experiments(budget)
    }
