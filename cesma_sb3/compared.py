"""Finished runs by task, and on each task by system: what is compared with what."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np

from cesma_sb3.config import Experiment
from cesma_sb3.errors import ConfigError, StorageError
from cesma_sb3.gathered import RunData, read_run
from cesma_sb3.planned import is_same
from cesma_sb3.registry import flatten
from cesma_sb3.report import Curve
from cesma_sb3.runs import RUN, RunFolder

Metric = Literal["normalized", "return", "win_rate"]
METRICS: tuple[Metric, ...] = get_args(Metric)
Policy = Literal["students", "expert"]
_RUN_FOLDERS = (f"*/{RUN}", f"*/*/{RUN}", f"*/*/*/{RUN}")
"""Below a results folder, which holds `runs/NAME/seed-N`, or below a part of it."""
_ASIDE = "-aside-"


class FinishedRun(NamedTuple):
    """A run folder that has a report."""

    path: Path
    experiment: Experiment
    """Its seed is the run's."""
    data: RunData


@dataclasses.dataclass(frozen=True)
class Group:
    """Runs of one experiment, which differ by their seeds."""

    label: str | None
    """What somebody wants it called."""
    runs: Mapping[int, FinishedRun]
    """By seed."""

    @property
    def experiment(self) -> Experiment:
        """That of the first seed."""
        return next(iter(self.runs.values())).experiment


@dataclasses.dataclass(frozen=True)
class System:
    """What acts in a task: the students of an experiment, or its expert."""

    label: str
    policy: Policy
    runs: Mapping[int, FinishedRun]
    """By seed."""

    def scores(self, metric: Metric) -> dict[int, float | None]:
        """The final score of each seed; None where the run does not know this metric."""
        return {seed: _score(run.data.report, self.policy, metric) for seed, run in self.runs.items()}

    @property
    def samples(self) -> float:
        """Environment samples of all stages up to this policy, as a mean over runs."""
        found = [
            sum(stages.values()) if self.policy == "students" else stages.get("expert", 0)
            for stages in (run.data.report["env_samples"] for run in self.runs.values())
        ]
        return float(np.mean(found))

    def curve(self, seed: int, metric: Metric) -> Curve:
        """What a run measured on the way; students begin where their expert ends."""
        run = self.runs[seed].data
        offset = run.expert_samples if self.policy == "students" else 0
        points = run.curve(self.policy, "win_rate" if metric == "win_rate" else "return")
        if metric == "normalized" and points:
            low, high = (run.report["return"][anchor] for anchor in ("random", "reference"))
            points = [(x, (y - low) / (high - low)) for x, y in points]
        if not points and (score := self.scores(metric)[seed]) is not None:
            points = [(0.0, score)]  # of an expert that was not trained
        return [(x + offset, y) for x, y in points]


@dataclasses.dataclass(frozen=True)
class Task:
    """One environment with one definition of its reward, and what was run in it."""

    name: str
    systems: Mapping[str, System]
    """By label."""


def _score(report: Mapping[str, Any], policy: str, metric: Metric) -> float | None:
    value = report.get(metric, {}).get(policy)
    return value.get("rate") if isinstance(value, Mapping) else value


def read_finished(path: Path) -> FinishedRun:
    """A run folder.

    Raises:
        StorageError: It is none, its run did not finish, or it trained an expert alone.
    """
    data = read_run(path)
    if "students" not in data.report.get("return", {}):
        raise StorageError(f"{path}: a run of the expert alone; expected one with students")
    return FinishedRun(path, RunFolder.open(path).experiment, data)


def read_folder(folder: Path) -> tuple[list[FinishedRun], list[str]]:
    """A run folder, or all that are found below a folder.

    Returns:
        The runs, and why others were left out: they did not finish. What was set aside by a sweep is no run.

    Raises:
        StorageError: It is a run folder whose run did not finish, or no run below it did.
    """
    if (folder / RUN).is_file():
        return [read_finished(folder)], []
    found = sorted({file.parent for pattern in _RUN_FOLDERS for file in folder.glob(pattern)})
    runs, left_out = [], []
    for path in found:
        if _ASIDE in path.name:
            continue
        try:
            runs.append(read_finished(path))
        except StorageError as error:
            left_out.append(str(error))
    if not runs:
        why = f": {left_out[0]}" if left_out else f": expected run folders, each with a {RUN}"
        raise StorageError(f"{folder}: no finished run{why}")
    return runs, left_out


def grouped(named: Iterable[tuple[str | None, Sequence[FinishedRun]]]) -> list[Group]:
    """Runs by experiment; what is given twice counts once.

    Args:
        named: Runs, and what they are to be called.

    Raises:
        ConfigError: Two runs of an experiment have one seed, or its runs have two labels.
    """
    groups: list[tuple[str | None, dict[int, FinishedRun]]] = []
    for label, runs in named:
        for run in runs:
            seed = run.experiment.seed
            of = next((group for group in groups if _is_of(run, group[1])), None)
            if of is None:
                groups.append((label, {seed: run}))
                continue
            if label != of[0]:
                raise ConfigError(f"{run.path}: is called {label!r} and {of[0]!r}; expected one label")
            other = of[1].setdefault(seed, run)
            if other.path.resolve() != run.path.resolve():
                raise ConfigError(f"{run.path}: is seed {seed} of {run.experiment.name}, as {other.path} is")
    return [Group(label, dict(sorted(runs.items()))) for label, runs in groups]


def _is_of(run: FinishedRun, runs: Mapping[int, FinishedRun]) -> bool:
    other = next(iter(runs.values())).experiment
    return is_same(run.experiment.model_copy(update={"seed": other.seed}), other)


def by_task(groups: Sequence[Group], *, experts: bool = False) -> list[Task]:
    """The tasks, and on each what is compared.

    A label is what somebody said. Else, on a single task, it is the experiment's name; on several, where one
    system has a name in each, `students` of whoever imitates, and of a baseline what its name adds to the
    task's: `maddpg` of `spread-3-maddpg`.

    Args:
        groups: Runs of each experiment.
        experts: Also each experiment's expert, as `LABEL, expert`.

    Raises:
        ConfigError: Two experiments have one label on a task, or no two belong together.
    """
    tasks: dict[str, list[Group]] = {}
    for group in groups:
        tasks.setdefault(_task_key(group), []).append(group)
    names = _task_names(list(tasks.values()))
    found = [
        Task(name, _systems(name, of, several=len(tasks) > 1, experts=experts))
        for name, of in zip(names, tasks.values(), strict=True)
    ]
    labels = [label for task in found for label in task.systems]
    if len(groups) > 1 and len(tasks) == len(groups) and len(set(labels)) == len(labels):
        raise ConfigError(_nothing_to_compare(groups))
    return found


def _task_key(group: Group) -> str:
    """What two runs must have in common for their scores to be compared."""
    run = next(iter(group.runs.values()))
    return json.dumps([_environment(run.experiment), run.data.report.get("reward")], sort_keys=True)


def _environment(experiment: Experiment) -> dict[str, Any]:
    return experiment.env.model_dump(mode="json", exclude={"processes"})  # which changes no result


def _task_names(tasks: Sequence[Sequence[Group]]) -> list[str]:
    """What the names on a task begin with; where that is no name for it alone, its arguments too."""
    stems = []
    for groups in tasks:
        parts = zip(*(group.experiment.name.split("-") for group in groups), strict=False)
        common = [each[0] for each in takewhile(lambda each: len(set(each)) == 1, parts)]
        stems.append("-".join(common) or groups[0].experiment.env.id)
    names = []
    for stem, groups in zip(stems, tasks, strict=True):
        told = ", ".join(f"{key}={value}" for key, value in groups[0].experiment.env.kwargs.items())
        names.append(f"{stem} ({told})" if stems.count(stem) > 1 and told else stem)
    return [
        f"{name}, {names[:index].count(name) + 1}" if names.count(name) > 1 else name
        for index, name in enumerate(names)
    ]


def _systems(task: str, groups: Sequence[Group], *, several: bool, experts: bool) -> dict[str, System]:
    systems: dict[str, System] = {}
    for group in groups:
        name = group.experiment.name
        label = group.label or (_derived(group.experiment, task) if several else name)
        if label in systems:
            other = next(iter(systems[label].runs.values())).experiment.name
            raise ConfigError(
                f"{name}: is called {label!r} on {task}, as {other} is; name them apart: LABEL={name}"
            )
        systems[label] = System(label, "students", group.runs)
        if experts and all("expert" in run.data.report["return"] for run in group.runs.values()):
            systems[f"{label}, expert"] = System(f"{label}, expert", "expert", group.runs)
    return systems


def _derived(experiment: Experiment, task: str) -> str:
    if experiment.dagger is not None:
        return "students"
    return experiment.name.removeprefix(task).lstrip("-") or experiment.name


def _nothing_to_compare(groups: Sequence[Group]) -> str:
    first, other = (group.experiment for group in groups[:2])
    values = [
        {".".join(path): value for path, value in flatten({"env": _environment(experiment)})}
        for experiment in (first, other)
    ]
    keys = [key for key in {**values[0], **values[1]} if values[0].get(key) != values[1].get(key)]
    differ = f"{keys[0]}: {values[0].get(keys[0])} and {values[1].get(keys[0])}" if keys else "other rewards"
    return (
        f"{first.name} and {other.name} are different tasks ({differ}), whose scores say nothing of each "
        "other; expected two experiments of a task, or systems with a label on several: LABEL=NAME"
    )


def chosen_metric(tasks: Sequence[Task], metric: Metric | None) -> Metric:
    """The metric that all runs know: as asked for, else the normalised score, else the return.

    Raises:
        ConfigError: A run does not know what was asked for.
    """
    for each in (metric,) if metric else METRICS[:2]:
        lacking = [
            f"{task.name}, {label}"
            for task in tasks
            for label, system in task.systems.items()
            if None in system.scores(each).values()
        ]
        if not lacking:
            return each
    why = {"normalized": "its environment has no reference", "win_rate": "there is nothing to win"}
    raise ConfigError(
        f"metric: {metric}: {lacking[0]} has none: {why.get(str(metric), 'its report is torn')}"
    )
