"""Group runs by experiment, and experiments by task, and label the systems of each task."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Sequence
from itertools import takewhile
from typing import Any

from cesma_sb3.analysis.comparison.systems import System, Task
from cesma_sb3.analysis.run_data import RunData
from cesma_sb3.config.schema import Experiment, differences
from cesma_sb3.errors import ConfigError


@dataclasses.dataclass(frozen=True)
class Group:
    """Runs of one experiment, which differ only in their seeds."""

    label: str | None
    """The name that the user gave to it."""
    experiment: Experiment
    """With any of the seeds."""
    runs: dict[int, RunData] = dataclasses.field(default_factory=dict)
    """Finished runs by seed; empty before anything ran."""

    @property
    def task_key(self) -> str:
        """What two experiments must share for their scores to be comparable: environment and reward."""
        reward = next((run.report.get("reward") for run in self.runs.values()), None)
        return json.dumps([_environment(self.experiment), reward], sort_keys=True)


def group_runs(labelled: Iterable[tuple[str | None, Sequence[RunData]]]) -> list[Group]:
    """Group runs by experiment; a run that is given twice counts once.

    Args:
        labelled: Runs, each with the name that the user gave to them.

    Raises:
        ConfigError: Two runs of an experiment have one seed, or its runs have two labels.
    """
    groups: dict[str, Group] = {}
    for label, runs in labelled:
        for run in runs:
            group = groups.setdefault(_without_seed(run.experiment), Group(label, run.experiment))
            if label != group.label:
                raise ConfigError(f"{run.path}: is called {label!r} and {group.label!r}; expected one label")
            seed = run.experiment.seed
            other = group.runs.setdefault(seed, run)
            if other.path.resolve() != run.path.resolve():
                raise ConfigError(f"{run.path}: is seed {seed} of {run.experiment.name}, as {other.path} is")
    return [dataclasses.replace(group, runs=dict(sorted(group.runs.items()))) for group in groups.values()]


def _without_seed(experiment: Experiment) -> str:
    """Return what runs of one experiment have in common."""
    return json.dumps({**experiment.fingerprint(), "seed": None}, sort_keys=True)


def make_tasks(groups: Sequence[Group], *, experts: bool = False) -> list[Task]:
    """Return the tasks, and the systems of each.

    Args:
        groups: Finished runs of each experiment.
        experts: Add each experiment's expert as a system, `LABEL, expert`.

    Raises:
        ConfigError: Two experiments have one label on a task, or no two can be compared.
    """
    tasks = []
    for name, by_label in _by_task(groups).items():
        systems: dict[str, System] = {}
        for label, group in by_label.items():
            systems[label] = System(label, "students", group.runs)
            if experts and all("expert" in run.report["return"] for run in group.runs.values()):
                systems[f"{label}, expert"] = System(f"{label}, expert", "expert", group.runs)
        tasks.append(Task(name, systems))
    return tasks


def check_comparable(groups: Iterable[Group]) -> None:
    """Refuse, before anything runs, experiments that cannot be compared.

    Raises:
        ConfigError: Two experiments have one label on a task, or no two can be compared.
    """
    # Without their runs: an experiment that did not run yet has no definition of its reward.
    once: dict[str, Group] = {}
    for group in groups:
        once.setdefault(_without_seed(group.experiment), dataclasses.replace(group, runs={}))
    _by_task(list(once.values()))


def _by_task(groups: Sequence[Group]) -> dict[str, dict[str, Group]]:
    """Return the groups by the name of their task, and by their label there.

    A label is what the user said. Else, on a single task, it is the experiment's name. On several tasks,
    where one system has a name on each, it is `students` for imitation, and for a baseline what its name adds
    to the task's: `maddpg` of `spread-3-maddpg`.
    """
    tasks: dict[str, list[Group]] = {}
    for group in groups:
        tasks.setdefault(group.task_key, []).append(group)
    names = _task_names([[group.experiment for group in of_task] for of_task in tasks.values()])
    labelled: dict[str, dict[str, Group]] = {}
    for task, of_task in zip(names, tasks.values(), strict=True):
        by_label = labelled[task] = dict[str, Group]()
        for group in of_task:
            name = group.experiment.name
            label = group.label or (_derived_label(group.experiment, task) if len(tasks) > 1 else name)
            if label in by_label:
                raise ConfigError(
                    f"{name}: is called {label!r} on {task}, as {by_label[label].experiment.name} is; "
                    f"name them apart: LABEL={name}"
                )
            by_label[label] = group
    n_labels = len({label for by_label in labelled.values() for label in by_label})
    if 1 < len(groups) == len(tasks) == n_labels:
        raise ConfigError(_nothing_to_compare(groups[0].experiment, groups[1].experiment))
    return labelled


def _environment(experiment: Experiment) -> dict[str, Any]:
    return experiment.env.model_dump(mode="json", exclude={"processes"})  # which changes no result


def _task_names(tasks: Sequence[Sequence[Experiment]]) -> list[str]:
    """Name tasks by the common start of their experiments' names; where tasks share it, add arguments."""
    stems = []
    for experiments in tasks:
        parts = zip(*(experiment.name.split("-") for experiment in experiments), strict=False)
        common = takewhile(lambda each: len(set(each)) == 1, parts)
        stems.append("-".join(part for part, *_ in common) or experiments[0].env.id)
    names: list[str] = []
    for stem, experiments in zip(stems, tasks, strict=True):
        arguments = ", ".join(f"{key}={value}" for key, value in experiments[0].env.kwargs.items())
        names.append(f"{stem} ({arguments})" if stems.count(stem) > 1 and arguments else stem)
    return [
        f"{name}, {names[:index].count(name) + 1}" if names.count(name) > 1 else name
        for index, name in enumerate(names)
    ]


def _derived_label(experiment: Experiment, task: str) -> str:
    if experiment.dagger is not None:
        return "students"
    return experiment.name.removeprefix(task).lstrip("-") or experiment.name


def _nothing_to_compare(first: Experiment, other: Experiment) -> str:
    found = differences(_environment(first), _environment(other), "env") or ["other rewards"]
    return (
        f"{first.name} and {other.name} are different tasks ({found[0]}), whose scores say nothing of each "
        "other; expected two experiments of a task, or systems with a label on several: LABEL=NAME"
    )
