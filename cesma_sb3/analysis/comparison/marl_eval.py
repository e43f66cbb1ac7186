"""Runs in the JSON of marl-eval, whose tools draw and aggregate them beside those of others.

Its form is environment, task, algorithm, run, then steps with `step_count` and metrics, each a list, and last
`absolute_metrics`. It aggregates within an environment, over runs with equally many steps. So all tasks are
of one environment, and every run is told at the same shares of the task's samples: what it had measured last.
Before its first measurement that is this one, of untrained networks, as of students whose expert is learning;
after its end it is the last.

Source: Gorsane et al. 2022, "Towards a Standardised Performance Evaluation Protocol for Cooperative MARL";
https://github.com/instadeepai/marl-eval, README.md, "Data Structure for Raw Experiment data".
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

from cesma_sb3.analysis.comparison.systems import METRICS, Metric, System, Task
from cesma_sb3.utils.plotting import Curve

ENVIRONMENT = "cesma_sb3"
STEPS = 50
_NAMES: dict[Metric, str] = {"return": "return", "normalized": "normalized_score", "win_rate": "win_rate"}


def marl_eval(tasks: Sequence[Task], *, steps: int = STEPS) -> dict[str, Any]:
    """What the file holds. Metrics are those that every run knows: `return`, `normalized_score`, `win_rate`.

    A value is a mean over the episodes of an evaluation. `absolute_metrics` are those of the last one, over
    the most episodes, of the policy that the run kept.

    Args:
        tasks: What is compared.
        steps: Of each run.
    """
    metrics = [metric for metric in METRICS if all(_knows(task, metric) for task in tasks)]
    return {
        ENVIRONMENT: {
            task.name: {
                label.replace(",", ""): _runs(system, metrics, _end(task), steps)  # which it refuses
                for label, system in task.systems.items()
            }
            for task in tasks
        }
    }


def unequal(tasks: Sequence[Task]) -> str | None:
    """Why marl-eval would refuse the file; None if it would not."""
    systems = [sorted(task.systems) for task in tasks]
    if any(other != systems[0] for other in systems):
        return "marl-eval.json: marl-eval wants the same systems on every task"
    counts = {len(system.runs) for task in tasks for system in task.systems.values()}
    if len(counts) > 1:
        return (
            f"marl-eval.json: marl-eval wants as many runs of each, these are {min(counts)} to {max(counts)}"
        )
    return None


def _knows(task: Task, metric: Metric) -> bool:
    return all(
        None not in system.scores(metric).values() and _curves(system, metric)
        for system in task.systems.values()
    )


def _curves(system: System, metric: Metric) -> bool:
    """Whether every run measured it on the way."""
    return all(system.curve(seed, metric) for seed in system.runs)


def _end(task: Task) -> float:
    """The most samples that a run of this task took."""
    return max(
        system.curve(seed, "return")[-1][0] for system in task.systems.values() for seed in system.runs
    )


def _runs(system: System, metrics: Sequence[Metric], end: float, steps: int) -> dict[str, Any]:
    counts = [round(end * step / steps) for step in range(steps + 1)]
    found: dict[str, Any] = {}
    for seed in system.runs:
        curves = {_NAMES[metric]: system.curve(seed, metric) for metric in metrics}
        told: dict[str, Any] = {
            f"step_{index}": {
                "step_count": count,
                **{name: [_last(curve, count)] for name, curve in curves.items()},
            }
            for index, count in enumerate(counts)
        }
        told["absolute_metrics"] = {_NAMES[metric]: [system.scores(metric)[seed]] for metric in metrics}
        found[f"seed_{seed}"] = told
    return found


def _last(curve: Curve, count: float) -> float:
    """What was measured last at `count` samples; before the first measurement, that."""
    at = bisect_right([x for x, _ in curve], count) - 1
    return float(curve[max(at, 0)][1])
