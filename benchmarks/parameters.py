"""Counts the parameters of kept runs again: `python -m benchmarks.parameters`.

Nothing is trained: the networks of each run in docs/reproduced/runs are built from its experiment, and their
parameters are counted and written into its report. All else in it stays.
"""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import click

from benchmarks.keep import KEPT
from cesma_sb3.config.schema import Experiment
from cesma_sb3.policies import parameter_counts
from cesma_sb3.training.build import expert_env, make_model, make_students
from cesma_sb3.training.evaluator import joint_env
from cesma_sb3.training.pretrained import is_trained
from cesma_sb3.training.run_folder import REPORT, RunFolder


def count_again(run: RunFolder) -> tuple[dict[str, Any], dict[str, Any]]:
    """The `parameters` of a kept run's report, before and after; where they differ, the report is changed."""
    report = run.report()
    before, after = report["parameters"], counts_of(run.experiment)
    if before != after:
        path = run.path / REPORT
        path.write_text(json.dumps({**report, "parameters": after}, indent=2) + "\n", encoding="utf-8")
    return before, after


def counts_of(experiment: Experiment) -> dict[str, dict[str, int]]:
    """What the report of this experiment says of its networks."""
    found: dict[str, dict[str, int]] = {}
    with closing(joint_env(experiment, 1, 0)) as venv:
        if is_trained(experiment.expert):
            with closing(expert_env(experiment, venv.team, 0)) as seen:
                kwargs = dict(experiment.expert.kwargs)
                if "buffer_size" in kwargs:  # it is no network, and may be large
                    kwargs["buffer_size"] = 1_000
                config = experiment.expert.model_copy(update={"kwargs": kwargs})
                model = make_model(experiment.model_copy(update={"expert": config}), seen, 0)
                found["students" if experiment.dagger is None else "expert"] = parameter_counts(model)
        if experiment.dagger is not None:
            students = make_students(experiment, venv.team, experiment.dagger.learning_rate)
            found["students"] = parameter_counts(students)
    return found


@click.command(help=__doc__)
def main() -> None:
    """Counts, and says what changed."""
    for report in sorted(KEPT.glob(f"runs/*/seed-*/{REPORT}")):
        before, after = count_again(RunFolder.open(report.parent))
        if before != after:
            click.echo(f"{Path(*report.parent.parts[-2:])}: {before} -> {after}")


if __name__ == "__main__":
    main()
