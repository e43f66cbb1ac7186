"""Runs by experiment, and experiments by task: what belongs together, and what it is called there."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from itertools import takewhile
from typing import Any, NamedTuple

from cesma_sb3.analysis.comparison.systems import FinishedRun, System, Task
from cesma_sb3.config.registry import flatten
from cesma_sb3.config.schema import Experiment
from cesma_sb3.errors import ConfigError


class Named(NamedTuple):
    """An experiment that is to be compared."""

    label: str | None
    """What somebody wants it called."""
    experiment: Experiment
    """Of any seed."""
    reward: str | None = None
    """The definition that its reports have; None: not run yet."""


class Place(NamedTuple):
    """Where an experiment belongs."""

    task: str
    label: str
    """What it is called there."""


@dataclasses.dataclass(frozen=True)
class Group:
    """Runs of one experiment, which differ by their seeds."""

    label: str | None
    """What somebody wants it called."""
    runs: Mapping[int, FinishedRun]
    """By seed."""

    @property
    def named(self) -> Named:
        """The experiment."""
        run = next(iter(self.runs.values()))
        return Named(self.label, run.experiment, run.data.report.get("reward"))


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
    return _differ_by_seed(run.experiment, next(iter(runs.values())).experiment)


def _differ_by_seed(one: Experiment, other: Experiment) -> bool:
    return one.model_copy(update={"seed": other.seed}).what_runs() == other.what_runs()


def by_task(groups: Sequence[Group], *, experts: bool = False) -> list[Task]:
    """The tasks, and on each the systems.

    Args:
        groups: Runs of each experiment.
        experts: Also each experiment's expert, as `LABEL, expert`.

    Raises:
        ConfigError: See `places`.
    """
    found: dict[str, dict[str, System]] = {}
    for group, place in zip(groups, places([group.named for group in groups]), strict=True):
        systems = found.setdefault(place.task, {})
        systems[place.label] = System(place.label, "students", group.runs)
        if experts and all("expert" in run.data.report["return"] for run in group.runs.values()):
            label = f"{place.label}, expert"
            systems[label] = System(label, "expert", group.runs)
    return [Task(name, systems) for name, systems in found.items()]


def check_comparable(experiments: Iterable[Named]) -> None:
    """Says before anything runs what cannot be compared.

    Raises:
        ConfigError: See `places`.
    """
    once: list[Named] = []
    for each in experiments:
        if not any(_differ_by_seed(each.experiment, other.experiment) for other in once):
            once.append(each._replace(reward=None))  # which those that are not run yet don't have
    places(once)


def places(named: Sequence[Named]) -> list[Place]:
    """The task of each experiment, and what it is called there.

    One task is one environment with one definition of its reward. A label is what somebody said. Else, on a
    single task, it is the experiment's name; on several, where one system has a name on each, `students` of
    whoever imitates, and of a baseline what its name adds to the task's: `maddpg` of `spread-3-maddpg`.

    Raises:
        ConfigError: Two experiments have one label on a task, or no two belong together.
    """
    tasks: dict[str, list[Experiment]] = {}
    for each in named:
        tasks.setdefault(_key(each), []).append(each.experiment)
    names = dict(zip(tasks, _task_names(list(tasks.values())), strict=True))
    found: dict[Place, str] = {}
    for each in named:
        task, name = names[_key(each)], each.experiment.name
        place = Place(task, each.label or (_derived(each.experiment, task) if len(tasks) > 1 else name))
        if place in found:
            raise ConfigError(
                f"{name}: is called {place.label!r} on {task}, as {found[place]} is; name them apart: "
                f"LABEL={name}"
            )
        found[place] = name
    if 1 < len(named) == len(tasks) == len({place.label for place in found}):
        raise ConfigError(_nothing_to_compare(named[0].experiment, named[1].experiment))
    return list(found)


def _key(named: Named) -> str:
    """What two experiments must have in common for their scores to be compared."""
    return json.dumps([_environment(named.experiment), named.reward], sort_keys=True)


def _environment(experiment: Experiment) -> dict[str, Any]:
    return experiment.env.model_dump(mode="json", exclude={"processes"})  # which changes no result


def _task_names(tasks: Sequence[Sequence[Experiment]]) -> list[str]:
    """What the names on a task begin with; where that is no name for it alone, its arguments too."""
    stems = []
    for experiments in tasks:
        parts = zip(*(experiment.name.split("-") for experiment in experiments), strict=False)
        common = [each[0] for each in takewhile(lambda each: len(set(each)) == 1, parts)]
        stems.append("-".join(common) or experiments[0].env.id)
    names = []
    for stem, experiments in zip(stems, tasks, strict=True):
        told = ", ".join(f"{key}={value}" for key, value in experiments[0].env.kwargs.items())
        names.append(f"{stem} ({told})" if stems.count(stem) > 1 and told else stem)
    return [
        f"{name}, {names[:index].count(name) + 1}" if names.count(name) > 1 else name
        for index, name in enumerate(names)
    ]


def _derived(experiment: Experiment, task: str) -> str:
    if experiment.dagger is not None:
        return "students"
    return experiment.name.removeprefix(task).lstrip("-") or experiment.name


def _nothing_to_compare(first: Experiment, other: Experiment) -> str:
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
