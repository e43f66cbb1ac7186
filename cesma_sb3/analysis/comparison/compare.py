"""`compare`: run experiments over seeds, and write tables with intervals, plots and marl-eval's JSON."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from cesma_sb3.analysis.comparison.grouping import Group, check_comparable, group_runs, make_tasks
from cesma_sb3.analysis.comparison.marl_eval import marl_eval, why_marl_eval_refuses
from cesma_sb3.analysis.comparison.plots import draw_comparison
from cesma_sb3.analysis.comparison.statistics import REPETITIONS
from cesma_sb3.analysis.comparison.systems import (
    METRICS,
    Metric,
    Task,
    choose_metric,
    read_finished,
    read_folder,
)
from cesma_sb3.analysis.comparison.tables import (
    METRIC_TITLES,
    aggregate_rows,
    format_pairs,
    format_rows,
    improvement_rows,
    interval_warnings,
    make_sections,
)
from cesma_sb3.analysis.markdown import TableRow, markdown_table
from cesma_sb3.analysis.run_data import RunData
from cesma_sb3.config.registry import list_experiments, load_experiment
from cesma_sb3.errors import ConfigError, StorageError, integer, unknown_name
from cesma_sb3.multirun.plan import Failure
from cesma_sb3.multirun.sweep import Sweep, sweep
from cesma_sb3.training.run_files import csv_text, to_json
from cesma_sb3.utils import atomic
from cesma_sb3.utils.file_names import as_path

TABLE, PAIRS, PAGE, MARL_EVAL = "compare.csv", "improvement.csv", "compare.md", "marl-eval.json"


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Result of `compare`."""

    metric: Metric
    rows: list[TableRow]
    """Aggregates: a row for each system over all tasks, then of each task."""
    improvement: list[TableRow]
    """A row for each two systems: how likely a run of the first has the higher score."""
    notes: tuple[str, ...]
    """What limits the numbers: missing or narrow intervals, runs that were left out."""
    files: tuple[Path, ...]
    ran: int = 0
    """How many runs were made now; the others had finished before."""
    failures: tuple[Failure, ...] = ()
    """Runs that failed."""


def compare(
    names: str | Path | Sequence[str | Path],
    *,
    seeds: int = 3,
    baselines: bool = False,
    experts: bool = False,
    metric: Metric | None = None,
    repetitions: int = REPETITIONS,
    workers: int | None = None,
    address: str | None = None,
    runs: Path | str | None = None,
    out: Path | str | None = None,
    progress: bool = False,
    overrides: Mapping[str, Any] | None = None,
    **more: Any,
) -> Comparison:
    """Compare experiments over seeds: aggregates with 95% intervals, probabilities of improvement, profiles.

    Runs belong to one task if their environments and rewards are the same. Systems that ran on every task are
    also compared over all tasks.

    Args:
        names: Registered experiments or YAML files, whose missing runs are made as by `sweep`; or run
            folders, or folders of them, whose finished runs are read. Each may have a label before it,
            `LABEL=NAME`: what has one label on several tasks is one system.
        seeds: Runs of each experiment that is given by name, with seeds 0, 1, ...
        baselines: Add the registered baselines of these experiments, as `sweep` does.
        experts: Add each experiment's expert.
        metric: What scores are: `normalized` (0 is a random team, 1 the reference), `return` or `win_rate`.
            None: the normalised score if every environment has a reference, else the return. Returns are not
            aggregated over tasks, for they have no common scale.
        repetitions: Draws of the bootstrap.
        workers: Processes at once on this machine; None: one for each core.
        address: Address of a Ray cluster that makes the runs instead: `auto`, `HOST:PORT`, `ray://HOST:PORT`.
        runs: The results folder where runs are looked for and made; None: `runs/sweep`.
        out: The folder of tables and plots; None: `runs/compare`.
        progress: Print a line for each run on standard error.
        overrides: Values in place of those of the experiments that are given by name, by dotted key
            (`{"expert.n_envs": 8}`) or nested.
        **more: Further overrides, as keywords: `expert={"n_envs": 8}`.

    Raises:
        CesmaError: Bad input, before anything runs; or runs that cannot be compared.
    """
    overrides = {**(overrides or {}), **more}
    if metric is not None and metric not in METRICS:
        raise ConfigError(f"metric: {unknown_name('metric', metric, METRICS)}")
    repetitions = integer("repetitions", repetitions, 1)
    words = [names] if isinstance(names, str | Path) else list(names)
    if not words:
        raise ConfigError("expected the name of an experiment, or a folder of runs")
    sources = [_read_source(word, overrides) for word in words]
    to_run = [source.name for source in sources if source.runs is None]
    if (baselines or overrides) and not to_run:
        raise ConfigError("expected the name of an experiment: baselines and values are of runs to be made")
    folder = Path("runs", "compare") if out is None else as_path(out)
    if not baselines:  # else they may be what there is to compare with
        check_comparable(group for source in sources for group in source.groups)
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder}: is a file; expected a folder")
    swept = None
    if to_run:
        swept = sweep(
            to_run,
            seeds=seeds,
            baselines=baselines,
            workers=workers,
            address=address,
            out=runs,
            progress=progress,
            overrides=overrides,
        )
    finished, notes = _finished_runs(sources, swept)
    tasks = make_tasks(group_runs(finished), experts=experts)
    comparison = _write(tasks, choose_metric(tasks, metric), repetitions, folder, notes)
    if swept is None:
        return comparison
    return dataclasses.replace(comparison, ran=swept.ran, failures=swept.failures)


class _Source(NamedTuple):
    """An experiment, or a folder of runs, that the user named."""

    label: str | None
    name: str | Path
    groups: Sequence[Group]
    """Its experiments."""
    runs: Sequence[RunData] | None = None
    """The finished runs of a folder; None for an experiment, whose runs may have to be made."""
    left_out: Sequence[str] = ()
    """Why other runs of the folder are left out."""


def _read_source(word: str | Path, overrides: Mapping[str, Any]) -> _Source:
    """Find an experiment, or read a folder of runs, by `NAME` or `LABEL=NAME`.

    Raises:
        UnknownNameError: There is neither an experiment nor a folder of that name.
        StorageError: There is no such folder, or no finished run in it.
    """
    label: str | None = None
    name = word
    if isinstance(word, str) and "=" in word and not Path(word).exists():
        label, _, name = word.partition("=")
        if not label or not name:
            raise ConfigError(f"{word}: expected LABEL=NAME")
    path = as_path(name)
    if name not in list_experiments() and path.is_dir():
        runs, left_out = read_folder(path)
        return _Source(label, path, group_runs([(label, runs)]), runs, left_out)
    if len(path.parts) > 1 and not path.suffix:
        raise StorageError(f"{path}: no such folder")
    return _Source(label, name, [Group(label, load_experiment(name, overrides, check_names=False))])


def _finished_runs(
    sources: Sequence[_Source], swept: Sweep | None
) -> tuple[list[tuple[str | None, Sequence[RunData]]], list[str]]:
    """Return the finished runs with their labels, in the order of the sources, baselines last; and notes."""
    by_experiment = {} if swept is None else dict(swept.finished)
    notes = [f"{failure.run}: {failure.cause}" for failure in (() if swept is None else swept.failures)]
    finished: list[tuple[str | None, Sequence[RunData]]] = []
    for source in sources:
        runs = source.runs
        if runs is None:
            paths = by_experiment.pop(source.groups[0].experiment.name, ())
            runs = [read_finished(path) for path in paths]
        finished.append((source.label, runs))
        notes += source.left_out
    finished += [(None, [read_finished(path) for path in paths]) for paths in by_experiment.values()]
    if not any(runs for _, runs in finished):
        raise StorageError(f"no finished run: {notes[0]}")
    return finished, [f"left out: {note}" for note in notes]


def _write(
    tasks: Sequence[Task], metric: Metric, repetitions: int, folder: Path, notes: list[str]
) -> Comparison:
    """Write tables, plots and marl-eval's file."""
    sections, left_out = make_sections(tasks, metric)
    rows = [row for section in sections for row in aggregate_rows(section, metric, repetitions)]
    pairs = [row for section in sections for row in improvement_rows(section, repetitions)]
    notes = [*notes, *left_out, *interval_warnings(sections)]
    if (refusal := why_marl_eval_refuses(tasks)) is not None:
        notes.append(refusal)
    texts = {
        TABLE: csv_text(rows),
        PAIRS: csv_text(pairs),
        PAGE: _page(metric, rows, pairs, notes),
        MARL_EVAL: json.dumps(to_json(marl_eval(tasks)), allow_nan=False) + "\n",
    }
    if not pairs:
        del texts[PAIRS]
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"{folder}: cannot be made: {error.strerror}") from None
    for name, text in texts.items():
        atomic.write(folder / name, partial(Path.write_text, data=text, encoding="utf-8"))
    plots = draw_comparison(folder, sections, tasks, metric, rows=rows, pairs=pairs, repetitions=repetitions)
    return Comparison(metric, rows, pairs, tuple(notes), (*(folder / name for name in texts), *plots))


def _page(metric: Metric, rows: Sequence[TableRow], pairs: Sequence[TableRow], notes: Sequence[str]) -> str:
    """Format the tables and notes as a page in Markdown."""
    parts = [
        "# Comparison",
        f"Of the {METRIC_TITLES[metric]}; in brackets 95% intervals of the stratified bootstrap over runs.",
        markdown_table(format_rows(rows, metric)),
    ]
    if pairs:
        parts += ["## Probability of improvement", markdown_table(format_pairs(pairs))]
    if notes:
        parts.append("".join(f"- {note}\n" for note in notes))
    return "\n\n".join(part.rstrip("\n") for part in parts) + "\n"
