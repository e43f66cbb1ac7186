"""Counts the parameters of kept runs again: `python -m benchmarks.parameters`.

Nothing is trained: the networks of each run in docs/reproduced/runs are built from its experiment, and their
parameters are counted and written into its report. All else in it stays.
"""

from __future__ import annotations

import json
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import click
import torch as th

from benchmarks.keep import KEPT
from cesma_sb3.config.schema import Experiment
from cesma_sb3.envs import undivided_view
from cesma_sb3.policies import parameter_counts
from cesma_sb3.training.evaluator import joint_env
from cesma_sb3.training.models import StandInVecEnv, expert_env, make_model, make_students
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
    expert, cpu, is_imitated = experiment.expert, th.device("cpu"), experiment.dagger is not None
    with closing(joint_env(experiment.env, 1, 0)) as venv:
        if is_trained(expert):
            make = partial(StandInVecEnv, venv, expert.n_envs)
            seen = expert_env(
                make,
                venv.team,
                expert,
                experiment.students,
                0,
                is_imitated=is_imitated,
                undivided=undivided_view(venv),
            )
            model = make_model(expert, seen, 0, cpu, trains=False)
            found["expert" if is_imitated else "students"] = parameter_counts(model)
        if is_imitated:
            found["students"] = parameter_counts(make_students(experiment.students, venv.team, cpu))
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
