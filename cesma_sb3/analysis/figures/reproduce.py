"""`reproduce`: a figure of the paper, from the runs that it needs to the drawing and its table."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cesma_sb3.analysis.figures.schema import BUDGETS, Budget, Drawable, Figure, load_figure
from cesma_sb3.analysis.run_data import Row, drawn_panel, read_run, table_rows
from cesma_sb3.config.validation import unknown
from cesma_sb3.errors import ConfigError, integer
from cesma_sb3.multirun.plan import (
    Failure,
    PlannedRun,
    alone,
    cores,
    is_finished,
    make_runs,
    on_this_machine,
    planned,
)
from cesma_sb3.training.run_files import csv_text
from cesma_sb3.utils import atomic
from cesma_sb3.utils.file_names import as_path
from cesma_sb3.utils.plotting import draw_comparison


@dataclasses.dataclass(frozen=True)
class Reproduction:
    """What `reproduce` gives."""

    files: tuple[Path, ...]
    """The figure as .png and .svg, its table as .csv and .md."""
    rows: list[Row]
    """The table."""
    ran: int
    """Runs that were made now; the others had been there."""
    failures: tuple[Failure, ...]


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
    """Makes the runs of a figure that are not there yet, then draws it and writes its table.

    A run that was interrupted or failed goes on from its last checkpoint; one whose experiment has changed
    since is set aside and made again. The figure is drawn from what there is when runs failed.

    Args:
        name: A figure of `figures/` (`figure-5`, or `5`), or a YAML file.
        budget: `quick`: a figure within an hour on two cores. `registered`: experiments as they
            are registered, over three seeds. `full`: the paper's.
        seeds: Runs of each line, seeds 0, 1, ...; None: as many as the figure says.
        workers: Processes at once; None: one for each core.
        out: Where to; None: `runs/reproduce/BUDGET`, so that figures share runs.
        only: Names of panels; none: all.
        draw_only: Make no runs; draw what there is.
        progress: Tell of each run on standard error.

    Raises:
        CesmaError: Bad input: one line, before anything runs.
    """
    if budget not in BUDGETS:
        raise ConfigError(f"budget: {unknown('budget', budget, BUDGETS)}")
    seeds = None if seeds is None else integer("seeds", seeds, 1)
    workers = None if workers is None else integer("workers", workers, 1)
    found = load_figure(name)
    figure = dataclasses.replace(found, figure=found.figure.only(tuple(only)))
    folder = Path("runs", "reproduce", budget) if out is None else as_path(out)
    count = getattr(figure.figure.seeds, budget) if seeds is None else seeds
    plan = plan_runs(figure, budget, count, folder)
    with alone(folder):
        needed = {run.path: run for runs in plan.values() for run in runs}
        missing = [] if draw_only else [run for run in needed.values() if not is_finished(run)]
        failures = make_runs(missing, on_this_machine(workers or cores()), progress=progress)
    stem = "-".join([figure.name, *only])
    rows, files = _write(figure.figure, plan, folder / stem, budget)
    return Reproduction(files, rows, len(missing), failures)


def _write(
    figure: Figure, plan: Mapping[tuple[str, str], Sequence[PlannedRun]], stem: Path, budget: Budget
) -> tuple[list[Row], tuple[Path, ...]]:
    """Draws the figure and writes its table, from the runs that finished."""
    panels, rows, seeds = [], list[Row](), set[int]()
    for panel in figure.panels:
        runs = {
            line.label: [read_run(run.path) for run in plan[panel.name, line.label] if is_finished(run)]
            for line in panel.lines
        }
        seeds |= {len(found) for found in runs.values()}
        panels.append(drawn_panel(panel, runs))
        rows += table_rows(panel, runs)
    told = f"{_count(seeds)}, budget {budget}"
    centers = " and ".join(dict.fromkeys(f"{panel.center}s" for panel in figure.panels))
    note = f"Lines: {centers} over runs ({told}); areas: from the lowest run to the highest."
    files = tuple(stem.with_name(stem.name + suffix) for suffix in (".png", ".svg", ".csv", ".md"))
    for path in files[:2]:
        atomic.write(path, lambda file: draw_comparison(file, panels=panels, title=figure.title, note=note))
    page = f"# {figure.title}\n\nSource: {figure.source}. {told}.\n\n{markdown(rows)}"
    atomic.write(files[2], lambda file: file.write_text(csv_text(rows), encoding="utf-8"))
    atomic.write(files[3], lambda file: file.write_text(page, encoding="utf-8"))
    return rows, files


def _count(seeds: set[int]) -> str:
    """How many runs the lines have: `3 seeds`, `1 to 3 seeds`."""
    least, most = min(seeds), max(seeds)
    return f"{f'{least} to ' * (least < most)}{most} seed{'s' * (most != 1)}"


def markdown(rows: Sequence[Row]) -> str:
    """Rows as a table in Markdown; what a row lacks is left empty."""
    columns = list(dict.fromkeys(column for row in rows for column in row))
    lines = [columns, ["---"] * len(columns)]
    lines += [[shown(row.get(column)) for column in columns] for row in rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def shown(value: Any) -> str:
    """A number as a table shows it: `12,345`, `-17.35`, `0.0123`."""
    if not isinstance(value, float):
        return "" if value is None else str(value)
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.2f}" if abs(value) >= 1 else f"{value:.4g}"


def plan_runs(
    drawable: Drawable, budget: Budget, seeds: int, folder: Path
) -> dict[tuple[str, str], list[PlannedRun]]:
    """The runs of each line, by the panel's name and the line's label.

    Raises:
        ConfigError: An experiment of the figure is wrong; told before anything runs.
    """
    plan: dict[tuple[str, str], list[PlannedRun]] = {}
    lines = ((panel.name, line) for panel in drawable.figure.panels for line in panel.lines)
    for (panel, line), (_, experiment) in zip(lines, drawable.experiments(budget), strict=True):
        plan[panel, line.label] = [
            planned(line.experiment, line.values(budget), experiment, seed, folder) for seed in range(seeds)
        ]
    return plan
