"""Comparisons of experiments over seeds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from cesma_sb3.cli.app import cesma
from cesma_sb3.cli.options import Whole, json_option, overrides_of, settings_option, told_how_to_go_on
from cesma_sb3.cli.output import print_json, print_table, tell_failures


@cesma.command()
@click.argument("names", nargs=-1, required=True, metavar="[LABEL=]NAME...")
@click.option("--seeds", type=Whole(min=1), default=3, show_default=True, help="Runs of each experiment.")
@click.option("--baselines", is_flag=True, help="Also the registered baselines of these experiments.")
@click.option("--experts", is_flag=True, help="Also each experiment's expert.")
@click.option(
    "--metric",
    type=click.Choice(["normalized", "return", "win_rate"]),
    help="What scores are; else the normalised score, or the return where there is no reference.",
)
@click.option(
    "--repetitions",
    type=Whole(min=1),
    default=2000,
    show_default=True,
    help="Of the bootstrap, which makes the intervals.",
)
@settings_option("Override a value: dagger.n_envs=8.")
@click.option("--workers", type=Whole(min=1), help="Processes at once; else one for each core.")
@click.option(
    "--ray", "address", metavar="ADDRESS", help="A Ray cluster to run on: auto, HOST:PORT or ray://HOST:PORT."
)
@click.option(
    "--runs", type=click.Path(path_type=Path), help="Where runs are looked for and made; else runs/sweep."
)
@click.option("--out", type=click.Path(path_type=Path), help="Tables and figures; else runs/compare.")
@json_option
def compare(names: tuple[str, ...], settings: tuple[str, ...], as_json: bool, **options: Any) -> int:
    """Compare experiments over seeds: aggregates with 95% intervals, probabilities of improvement, figures.

    NAME is an experiment or a YAML file, whose missing runs are made as by `cesma sweep`; or a folder with
    finished runs. What has one LABEL on several tasks is also compared over all of them. Typed again, it goes
    on where it was stopped. Exits with 1 if a run failed.
    """
    overrides = overrides_of(settings)

    from cesma_sb3.analysis.comparison import compare as compare_module
    from cesma_sb3.analysis.comparison.tables import format_pairs, format_rows

    with told_how_to_go_on():
        found = compare_module.compare(names, progress=True, **options, **overrides)
    if as_json:
        told = {
            "metric": found.metric,
            "rows": found.rows,
            "improvement": found.improvement,
            "notes": found.notes,
            "files": found.files,
            "ran": found.ran,
            "failures": [vars(failure) for failure in found.failures],
        }
        print_json(told)
    else:
        for rows in (format_rows(found.rows, found.metric), format_pairs(found.improvement)):
            if rows:
                print_table(list(rows[0]), [list(row.values()) for row in rows])
        click.echo("\n".join([*(f"note: {note}" for note in found.notes), *map(str, found.files)]))
    return tell_failures(found.failures)
