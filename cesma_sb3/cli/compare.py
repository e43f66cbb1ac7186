"""The command `compare`."""

from __future__ import annotations

from typing import Any

import click

from cesma_sb3.cli.app import cesma
from cesma_sb3.cli.options import (
    PATH,
    Whole,
    baselines_option,
    json_option,
    out_option,
    overrides_of,
    print_resume_hint,
    ray_option,
    seeds_option,
    settings_option,
    workers_option,
)
from cesma_sb3.cli.output import print_failures, print_json, print_table


@cesma.command()
@click.argument("names", nargs=-1, required=True, metavar="[LABEL=]NAME...")
@seeds_option
@baselines_option
@click.option("--experts", is_flag=True, help="Add each experiment's expert.")
@click.option(
    "--metric",
    type=click.Choice(["normalized", "return", "win_rate"]),
    help="Score to compare.",
    show_default="normalized, or return where an environment has no reference",
)
@click.option(
    "--repetitions",
    type=Whole(min=1),
    default=2000,
    show_default=True,
    help="Bootstrap resamples for the intervals.",
)
@settings_option("dagger.n_envs=8")
@workers_option
@ray_option
@click.option(
    "--runs",
    type=PATH,
    help="Folder of the runs, where missing ones are made.",
    show_default="runs/sweep",
)
@out_option("Folder of the tables and figures.", "runs/compare")
@json_option
def compare(names: tuple[str, ...], settings: tuple[str, ...], as_json: bool, **options: Any) -> int:
    """Compare experiments over seeds: aggregates with 95% intervals, probabilities of improvement, figures.

    NAME is an experiment or a YAML file, whose missing runs are made as by `cesma sweep`; or a folder with
    finished runs. Experiments with the same LABEL on several tasks are also compared over all tasks. The same
    command again resumes interrupted runs. The exit status is 1 if a run failed.
    """
    overrides = overrides_of(settings)

    from cesma_sb3.analysis.comparison import compare as compare_module
    from cesma_sb3.analysis.comparison.tables import format_pairs, format_rows

    with print_resume_hint():
        comparison = compare_module.compare(names, progress=True, **options, overrides=overrides)
    if as_json:
        values = {
            "metric": comparison.metric,
            "rows": comparison.rows,
            "improvement": comparison.improvement,
            "notes": comparison.notes,
            "files": comparison.files,
            "ran": comparison.ran,
            "failures": [vars(failure) for failure in comparison.failures],
        }
        print_json(values)
    else:
        for rows in (format_rows(comparison.rows, comparison.metric), format_pairs(comparison.improvement)):
            if rows:
                print_table(list(rows[0]), [list(row.values()) for row in rows])
        click.echo("\n".join([*(f"note: {note}" for note in comparison.notes), *map(str, comparison.files)]))
    return print_failures(comparison.failures)
