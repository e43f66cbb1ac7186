"""`compare`: experiments over seeds, from runs to tables with intervals, figures and marl-eval's JSON."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from cesma_sb3.analysis.comparison.grouping import Named, by_task, check_comparable, grouped
from cesma_sb3.analysis.comparison.marl_eval import marl_eval, unequal
from cesma_sb3.analysis.comparison.plots import draw
from cesma_sb3.analysis.comparison.statistics import REPETITIONS
from cesma_sb3.analysis.comparison.systems import (
    METRICS,
    FinishedRun,
    Metric,
    Task,
    chosen_metric,
    read_finished,
    read_folder,
)
from cesma_sb3.analysis.comparison.tables import (
    CALLED,
    doubts,
    improvement_rows,
    sections,
    shown_pairs,
    shown_rows,
    table_rows,
)
from cesma_sb3.analysis.figures.reproduce import markdown
from cesma_sb3.analysis.run_data import Row
from cesma_sb3.config.registry import list_experiments, load_experiment
from cesma_sb3.config.validation import unknown
from cesma_sb3.errors import ConfigError, StorageError, integer
from cesma_sb3.multirun.plan import Failure
from cesma_sb3.multirun.sweep import Sweep, sweep
from cesma_sb3.training.run_files import csv_text, to_json
from cesma_sb3.utils import atomic
from cesma_sb3.utils.file_names import as_path

TABLE, PAIRS, PAGE, MARL_EVAL = "compare.csv", "improvement.csv", "compare.md", "marl-eval.json"


@dataclasses.dataclass(frozen=True)
class Comparison:
    """What `compare` gives."""

    metric: Metric
    rows: list[Row]
    """A row for each system of each task, and then of all tasks together."""
    improvement: list[Row]
    """A row for each two systems: how likely a run of the first has the higher score."""
    notes: tuple[str, ...]
    """What the numbers do not say: missing intervals, runs that were left out."""
    files: tuple[Path, ...]
    ran: int = 0
    """Runs that were made now; the others had been there."""
    failures: tuple[Failure, ...] = ()


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
    **overrides: Any,
) -> Comparison:
    """Compares experiments over seeds: aggregates with 95% intervals, probabilities of improvement, profiles.

    Runs belong to one task if their environments and rewards are the same. Systems that were run on every
    task are also compared over all of them.

    Args:
        names: Registered experiments or YAML files, whose missing runs are made as by `sweep`; run folders,
            or folders of them, whose finished runs are taken. Each may have a label before it, `LABEL=NAME`:
            what is called the same is one system on several tasks.
        seeds: Runs of each experiment that is given by name, seeds 0, 1, ...
        baselines: Also the registered baselines of these; see `sweep`.
        experts: Also each experiment's expert.
        metric: What scores are: `normalized` (0 is a random team, 1 the reference), `return` or `win_rate`.
            None: the normalised score if every environment has a reference, else the return. Returns are not
            aggregated over tasks, for they have no common scale.
        repetitions: Of the bootstrap.
        workers: See `sweep`.
        address: Likewise.
        runs: The results folder where runs are looked for and made; None: `runs/sweep`.
        out: The folder of tables and figures; None: `runs/compare`.
        progress: Tell of each run on standard error.
        **overrides: Values in place of the experiments' that are given by name.

    Raises:
        CesmaError: Bad input, one line, before anything runs; or runs that cannot be compared.
    """
    if metric is not None and metric not in METRICS:
        raise ConfigError(f"metric: {unknown('metric', metric, METRICS)}")
    repetitions = integer("repetitions", repetitions, 1)
    words = [names] if isinstance(names, str | Path) else list(names)
    if not words:
        raise ConfigError("expected the name of an experiment, or a folder of runs")
    given = [_named(word, overrides) for word in words]
    wanted = [each for each in given if each.runs is None]
    if (baselines or overrides) and not wanted:
        raise ConfigError("expected the name of an experiment: baselines and values are of runs to be made")
    folder = Path("runs", "compare") if out is None else as_path(out)
    if not baselines:  # they may be what there is to compare with
        check_comparable(named for each in given for named in each.experiments)
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder}: is a file; expected a folder")
    made = None
    if wanted:
        made = sweep(
            [each.name for each in wanted],
            seeds=seeds,
            baselines=baselines,
            workers=workers,
            address=address,
            out=runs,
            progress=progress,
            **overrides,
        )
    finished, notes = _finished(given, made)
    tasks = by_task(grouped(finished), experts=experts)
    found = _write(tasks, chosen_metric(tasks, metric), repetitions, folder, notes)
    return found if made is None else dataclasses.replace(found, ran=made.ran, failures=made.failures)


class _Given(NamedTuple):
    """What somebody named."""

    label: str | None
    name: str | Path
    experiments: Sequence[Named]
    runs: Sequence[FinishedRun] | None = None
    """Of a folder; None of an experiment, whose runs may have to be made."""
    left_out: Sequence[str] = ()
    """Why other runs of the folder are not taken."""


def _named(word: str | Path, overrides: Mapping[str, Any]) -> _Given:
    """An experiment, or a folder of runs, and its label.

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
        return _Given(label, path, [group.named for group in grouped([(label, runs)])], runs, left_out)
    if len(path.parts) > 1 and not path.suffix:
        raise StorageError(f"{path}: no such folder")
    experiment = load_experiment(name, overrides, check_names=False)
    return _Given(label, name, [Named(label, experiment)])


def _finished(
    given: Sequence[_Given], made: Sweep | None
) -> tuple[list[tuple[str | None, Sequence[FinishedRun]]], list[str]]:
    """The finished runs in the order in which they were named, baselines last, and what was left out."""
    found: list[tuple[str | None, Sequence[FinishedRun]]] = []
    notes = [f"{failure.run}: {failure.cause}" for failure in (made.failures if made else ())]
    swept = dict(made.finished) if made else {}
    for each in given:
        runs = each.runs
        if runs is None:
            paths = swept.pop(each.experiments[0].experiment.name, ())
            runs = [read_finished(path) for path in paths]
        found.append((each.label, runs))
        notes += each.left_out
    found += [(None, [read_finished(path) for path in paths]) for paths in swept.values()]
    if not any(runs for _, runs in found):
        raise StorageError(f"no finished run: {notes[0]}")
    return found, [f"left out: {note}" for note in notes]


def _write(
    tasks: Sequence[Task], metric: Metric, repetitions: int, folder: Path, notes: list[str]
) -> Comparison:
    """Tables, figures and marl-eval's file."""
    found, left_out = sections(tasks, metric)
    rows = [row for section in found for row in table_rows(section, metric, repetitions)]
    pairs = [row for section in found for row in improvement_rows(section, repetitions)]
    refused = unequal(tasks)
    notes = [*notes, *left_out, *doubts(found), *([] if refused is None else [refused])]
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
    figures = draw(folder, found, tasks, metric, rows=rows, pairs=pairs, repetitions=repetitions)
    return Comparison(metric, rows, pairs, tuple(notes), (*(folder / name for name in texts), *figures))


def _page(metric: Metric, rows: Sequence[Row], pairs: Sequence[Row], notes: Sequence[str]) -> str:
    """The tables as a person reads them."""
    parts = [
        "# Comparison",
        f"Of the {CALLED[metric]}; in brackets 95% intervals of the stratified bootstrap over runs.",
        markdown(shown_rows(rows, metric)),
    ]
    if pairs:
        parts += ["## Probability of improvement", markdown(shown_pairs(pairs))]
    parts += ["".join(f"- {note}\n" for note in notes)] if notes else []
    return "\n\n".join(part.rstrip("\n") for part in parts) + "\n"
