"""Export runs as the JSON of marl-eval, whose tools plot and aggregate them beside those of others.

The JSON has the levels environment, task, algorithm and run; a run has steps, with `step_count` and metrics
that are lists, and at last `absolute_metrics`. marl-eval aggregates within an environment, over runs with
equally many steps. So all tasks are put into one environment, and every run is sampled at the same shares of
the task's samples, with its latest measurement there. Before its first measurement (of untrained networks,
such as students whose expert is still learning) a run has that one; after its end it has its last one.

Source: Gorsane et al. 2022, "Towards a Standardised Performance Evaluation Protocol for Cooperative MARL";
https://github.com/instadeepai/marl-eval, README.md, "Data Structure for Raw Experiment data".
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

from cesma_sb3.analysis.comparison.systems import METRICS, Metric, System, Task
from cesma_sb3.utils.plotting import Points

ENVIRONMENT = "cesma_sb3"
STEPS = 50
_NAMES: dict[Metric, str] = {"return": "return", "normalized": "normalized_score", "win_rate": "win_rate"}


def marl_eval(tasks: Sequence[Task], *, steps: int = STEPS) -> dict[str, Any]:
    """Return the content of the file, with those metrics that every run has.

    A value is a mean over the episodes of an evaluation. `absolute_metrics` are those of the final
    evaluation, over the most episodes, of the policy that the run kept.

    Args:
        tasks: What is compared.
        steps: Steps of each run, less one.
    """
    metrics = [metric for metric in METRICS if all(_has(task, metric) for task in tasks)]
    return {
        ENVIRONMENT: {
            task.name: {
                label.replace(",", ""): _runs(system, metrics, _end(task), steps)  # which it refuses
                for label, system in task.systems.items()
            }
            for task in tasks
        }
    }


def why_marl_eval_refuses(tasks: Sequence[Task]) -> str | None:
    """Return why marl-eval would refuse the file; None if it would not."""
    systems = [sorted(task.systems) for task in tasks]
    if any(other != systems[0] for other in systems):
        return "marl-eval.json: marl-eval wants the same systems on every task"
    counts = {len(system.runs) for task in tasks for system in task.systems.values()}
    if len(counts) > 1:
        return (
            f"marl-eval.json: marl-eval wants as many runs of each, these are {min(counts)} to {max(counts)}"
        )
    return None


def _has(task: Task, metric: Metric) -> bool:
    """Return whether every run measured this metric, during training and at its end."""
    return all(
        score is not None and system.curve(seed, metric)
        for system in task.systems.values()
        for seed, score in system.scores(metric).items()
    )


def _end(task: Task) -> float:
    """Return the most samples that a run of this task took."""
    return max(
        system.curve(seed, "return")[-1][0] for system in task.systems.values() for seed in system.runs
    )


def _runs(system: System, metrics: Sequence[Metric], end: float, steps: int) -> dict[str, Any]:
    counts = [round(end * step / steps) for step in range(steps + 1)]
    runs: dict[str, Any] = {}
    for seed in system.runs:
        curves = {_NAMES[metric]: system.curve(seed, metric) for metric in metrics}
        run: dict[str, Any] = {
            f"step_{index}": {
                "step_count": count,
                **{name: [_latest(curve, count)] for name, curve in curves.items()},
            }
            for index, count in enumerate(counts)
        }
        run["absolute_metrics"] = {_NAMES[metric]: [system.scores(metric)[seed]] for metric in metrics}
        runs[f"seed_{seed}"] = run
    return runs


def _latest(curve: Points, count: float) -> float:
    """Return the latest measurement at `count` samples; before the first measurement, the first."""
    at = bisect_right([x for x, _ in curve], count) - 1
    return float(curve[max(at, 0)][1])
