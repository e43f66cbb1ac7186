"""`sweep`: experiments, their baselines and seeds, on this machine or on a Ray cluster."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from cesma_sb3.config.overrides import flatten, nest
from cesma_sb3.config.registry import list_baselines, load_experiment
from cesma_sb3.config.schema import Experiment
from cesma_sb3.errors import ConfigError, integer
from cesma_sb3.multirun.plan import BUSY, Failure, is_finished, make_runs, on_this_machine, planned
from cesma_sb3.multirun.ray import on_ray
from cesma_sb3.training.run_files import csv_text, to_json
from cesma_sb3.training.run_folder import RunFolder
from cesma_sb3.utils import atomic
from cesma_sb3.utils.file_names import as_path
from cesma_sb3.utils.locks import exclusive_lock
from cesma_sb3.utils.processes import cores

TABLE, TABLE_JSON = "sweep.csv", "sweep.json"
Row = dict[str, Any]
_OF_IMITATION = ("students", "dagger", "fine_tuning")
"""Parts of an experiment that a baseline does not have."""


@dataclasses.dataclass(frozen=True)
class Sweep:
    """What `sweep` gives."""

    rows: list[Row]
    """A row for each experiment: means over its finished runs."""
    ran: int
    """Runs that were made now; the others had been there."""
    failures: tuple[Failure, ...]
    folder: Path
    """Holds `runs/NAME/seed-N`, and the rows as `sweep.csv` and `sweep.json`."""
    finished: Mapping[str, tuple[Path, ...]]
    """By experiment, the folders of its finished runs, in the order of seeds."""


def sweep(
    names: str | Path | Sequence[str | Path],
    *,
    seeds: int = 3,
    baselines: bool = False,
    workers: int | None = None,
    address: str | None = None,
    out: Path | str | None = None,
    progress: bool = False,
    overrides: Mapping[str, Any] | None = None,
    **more: Any,
) -> Sweep:
    """Run experiments over several seeds, skipping finished runs, and tabulate them.

    A run that was interrupted or failed is resumed from its last checkpoint; one whose experiment has changed
    since is set aside and made again.

    Args:
        names: Registered experiments, or YAML files.
        seeds: Runs of each, seeds 0, 1, ...
        baselines: Also every registered baseline of these experiments: those whose `baseline_of` is one of
            them. Overrides of students, imitation and fine-tuning do not concern them.
        workers: Processes at once on this machine; None: one for each core.
        address: Of a Ray cluster, on which the runs are made instead: `auto`, `HOST:PORT`, `ray://HOST:PORT`.
        out: The results folder; None: `runs/sweep`.
        progress: Show each run on standard error.
        overrides: Values in place of the experiments' in every run, by dotted key (`{"expert.n_envs": 8}`) or
            nested.
        **more: Further overrides, as keywords: `expert={"n_envs": 8}`.

    Raises:
        CesmaError: Bad input: one line, before anything runs.
    """
    seeds = integer("seeds", seeds, 1)
    workers = None if workers is None else integer("workers", workers, 1)
    if address is not None and workers is not None:
        raise ConfigError("workers: expected none with the address of a cluster, which knows its own")
    names = [names] if isinstance(names, str | Path) else list(names)
    if not names:
        raise ConfigError("expected the name of an experiment")
    overrides = {**(overrides or {}), **more}
    if "seed" in overrides:
        raise ConfigError("override: seed: expected none, for a sweep has seeds of its own")
    folder = Path("runs", "sweep") if out is None else as_path(out)
    plan = {
        each.experiment.name: [
            planned(each.name, each.values, each.experiment, seed, folder) for seed in range(seeds)
        ]
        for each in _wanted(names, overrides, baselines=baselines)
    }
    run_them = on_this_machine(workers or cores()) if address is None else on_ray(address)
    with exclusive_lock(folder, BUSY):
        missing = [run for runs in plan.values() for run in runs if not is_finished(run)]
        failures = make_runs(missing, run_them, progress=progress)
        finished = {name: tuple(run.path for run in runs if is_finished(run)) for name, runs in plan.items()}
        rows = [_row(plan[name][0].experiment, paths) for name, paths in finished.items()]
        text = json.dumps(to_json({"rows": rows}), indent=2) + "\n"
        atomic.write(folder / TABLE, lambda path: path.write_text(csv_text(rows), encoding="utf-8"))
        atomic.write(folder / TABLE_JSON, lambda path: path.write_text(text, encoding="utf-8"))
    return Sweep(rows, len(missing), failures, folder, finished)


@dataclasses.dataclass(frozen=True)
class _Wanted:
    """An experiment, all of whose seeds are run."""

    name: str | Path
    """Its registered name, or its file."""
    values: Mapping[str, Any]
    """What stands in place of its own values."""
    experiment: Experiment
    """As resolved with these."""


def _wanted(names: Iterable[str | Path], overrides: Mapping[str, Any], *, baselines: bool) -> list[_Wanted]:
    """The experiments, then their baselines, each once."""
    values = flatten(nest(overrides))
    found = _experiments(names, values)
    if baselines:
        known = {each.experiment.name for each in found}
        own = {key: value for key, value in values.items() if key.split(".")[0] not in _OF_IMITATION}
        found += _experiments([name for name in list_baselines(known) if name not in known], own)
    return found


def _experiments(names: Iterable[str | Path], values: Mapping[str, Any]) -> list[_Wanted]:
    """Each experiment once.

    Raises:
        ConfigError: Two are called the same and are not the same: their runs would share folders.
    """
    found: dict[str, _Wanted] = {}
    for name in names:
        each = _Wanted(name, values, load_experiment(name, values))
        first = found.setdefault(each.experiment.name, each)
        if first.experiment.fingerprint() != each.experiment.fingerprint():
            called = each.experiment.name
            raise ConfigError(f"{name}: is called {called!r}, as {first.name} is; expected another name")
    return list(found.values())


def _row(experiment: Experiment, finished: Sequence[Path]) -> Row:
    """Means over the finished runs of an experiment."""
    reports = [RunFolder.open(path).report() for path in finished]
    kind = "baseline" if experiment.dagger is None else "students"
    row: Row = {"experiment": experiment.name, "kind": kind}
    row["seeds"] = len(reports)
    if not reports:
        return row
    returns = [report["return"]["students"] for report in reports]
    scores = [report["normalized"]["students"] for report in reports]
    row |= {
        "return": float(np.mean(returns)),
        "return_min": min(returns),
        "return_max": max(returns),
        "normalized": None if None in scores else float(np.mean(scores)),
        "env_samples": float(np.mean([sum(report["env_samples"].values()) for report in reports])),
        "seconds": float(np.mean([sum(report["seconds"].values()) for report in reports])),
    }
    if all("expert" in report["return"] for report in reports):
        row["expert_return"] = float(np.mean([report["return"]["expert"] for report in reports]))
    if all("win_rate" in report for report in reports):
        row["win_rate"] = float(np.mean([report["win_rate"]["students"]["rate"] for report in reports]))
    return row
