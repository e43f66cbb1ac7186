"""The commands `tune`, `sweep` and `reproduce`: many runs."""

from __future__ import annotations

import json
from pathlib import Path
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
    trust_option,
    workers_option,
)
from cesma_sb3.cli.output import cell, print_failures, print_json, print_table
from cesma_sb3.utils.tables import number

_SEEDS, _WORKERS = Whole(1, 10_000), Whole(1, 1_024)


@cesma.command()
@click.argument("name")
@click.option(
    "--space",
    metavar="NAME|FILE",
    multiple=True,
    help="Search space; repeatable.",
    show_default="those of the experiment's expert and students",
)
@click.option(
    "--trials",
    type=Whole(min=1),
    help="Number of trials, pruned and failed ones included.",
    show_default="20",
)
@click.option(
    "--minutes",
    type=click.FloatRange(min=0, min_open=True),
    help="Stop starting trials after so many minutes.",
)
@click.option("--workers", type=_WORKERS, default=1, show_default=True, help="Trials in parallel.")
@click.option(
    "--storage",
    metavar="URL",
    envvar="CESMA_STORAGE",
    show_envvar=True,
    help="Optuna storage: sqlite:///FILE, journal:///FILE or postgresql://...",
    show_default="a journal in the study's folder",
)
@click.option("--study", metavar="NAME", help="Name of the study.", show_default="EXPERIMENT-SPACE-seedN")
@click.option(
    "--objective",
    type=click.Choice(["students", "expert", "students-and-samples"]),
    default="students",
    show_default=True,
    help="Score to maximize; the last choice also minimizes environment samples.",
)
@click.option(
    "--seeds",
    type=_SEEDS,
    default=1,
    show_default=True,
    help="Runs of each trial, whose mean score counts.",
)
@click.option(
    "--sampler",
    type=click.Choice(["tpe", "cmaes", "random", "gp", "grid"]),
    default="tpe",
    show_default=True,
    help="Optuna sampler.",
)
@click.option(
    "--pruner",
    type=click.Choice(["none", "median", "hyperband", "wilcoxon"]),
    default="none",
    show_default=True,
    help="Optuna pruner, by scores during training; wilcoxon: by scores of a trial's first seeds.",
)
@click.option(
    "--expert",
    type=PATH,
    help="Run folder whose expert is used, so that only students are tuned.",
)
@click.option(
    "--stage-wise", is_flag=True, help="Tune the expert first, then the students of the best expert."
)
@click.option("--seed", type=Whole(min=0), help="First seed of the runs.", show_default="0")
@settings_option("dagger.n_envs=8")
@out_option("Folder of the study.", "runs/tune/STUDY")
@trust_option
@json_option
def tune(
    name: str,
    seed: int | None,
    settings: tuple[str, ...],
    space: tuple[str, ...],
    as_json: bool,
    **options: Any,
) -> None:
    """Tune the hyperparameters of an experiment with Optuna: NAME, or a YAML file.

    The same command on other machines, with the same storage and study, adds workers.
    """
    from cesma_sb3.config.registry import load_experiment
    from cesma_sb3.multirun.tuning.search_space import load_space

    overrides = overrides_of(settings)
    if seed is not None:
        overrides["seed"] = seed
    load_experiment(name, overrides, check_names=False)  # refuse a bad value before PyTorch is loaded
    for each in space:
        load_space(each)

    from cesma_sb3.multirun.tuning import study as study_module

    seed = overrides.pop("seed", 0)
    with print_resume_hint():
        result = study_module.tune(
            name, space=space or None, seed=seed, **options, progress=True, overrides=overrides
        )
    best = result.folder / study_module.BEST
    if as_json:
        print_json({"objective": result.objective, "values": result.values, "best": str(best)})
    else:
        rows = [[key, json.dumps(value)] for key, value in result.values.items()]
        print_table(["key", "best value"], rows)
        click.echo(f"objective: {number(result.objective)}\nbest: {best}")


@cesma.command("tune-worker", hidden=True)
@click.argument("file", type=PATH)
@click.option("--storage", envvar="CESMA_STORAGE", required=True)
def tune_worker(file: Path, storage: str) -> None:
    """Run trials of a study that `cesma tune --workers N` leads."""
    from cesma_sb3.multirun.tuning.work import run_worker

    run_worker(file, storage)


@cesma.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@seeds_option
@baselines_option
@settings_option("dagger.n_envs=8")
@workers_option
@ray_option
@out_option("Folder of the results.", "runs/sweep")
@json_option
def sweep(names: tuple[str, ...], settings: tuple[str, ...], as_json: bool, **options: Any) -> int:
    """Run experiments with several seeds, and print a table of their results: NAMEs, or YAML files.

    The same command again resumes interrupted runs. The exit status is 1 if a run failed.
    """
    overrides = overrides_of(settings)

    from cesma_sb3.multirun.sweep import sweep as make_sweep

    with print_resume_hint():
        result = make_sweep(names, progress=True, **options, overrides=overrides)
    if as_json:
        failures = [vars(failure) for failure in result.failures]
        print_json({"folder": result.folder, "ran": result.ran, "failures": failures, "rows": result.rows})
    else:
        columns = ("experiment", "kind", "seeds", "return", "return_min", "return_max", "normalized")
        print_table(list(columns), [[cell(row.get(column)) for column in columns] for row in result.rows])
        click.echo(result.folder)
    return print_failures(result.failures)


@cesma.command()
@click.argument("figure", required=False)
@click.option(
    "--budget",
    type=click.Choice(["quick", "registered", "full"]),
    default="quick",
    show_default=True,
    help="Timesteps and seeds: for an hour on two cores; as registered; or as in the paper.",
)
@click.option(
    "--seeds", type=_SEEDS, help="Runs of each line.", show_default="those of the figure and budget"
)
@workers_option
@click.option("--draw-only", is_flag=True, help="Start no runs; draw those that have finished.")
@click.option("--only", metavar="PANEL", multiple=True, help="Panel to draw; repeatable.", show_default="all")
@out_option("Folder of the results, which figures share.", "runs/reproduce/BUDGET")
@json_option
def reproduce(figure: str | None, as_json: bool, **options: Any) -> int:
    """Reproduce a figure of the paper: FIGURE, or a YAML file. Without one, list the figures.

    Its runs are made first. The same command again resumes interrupted ones. The exit status is 1 if a run
    failed; the others are drawn.
    """
    if figure is None:
        return _list_figures(as_json)
    from cesma_sb3.analysis.figures.reproduce import reproduce as reproduce_figure

    with print_resume_hint():
        result = reproduce_figure(figure, progress=True, **options)
    if as_json:
        failures = [vars(failure) for failure in result.failures]
        print_json({"files": result.files, "ran": result.ran, "failures": failures, "rows": result.rows})
    else:
        columns = (
            "panel",
            "line",
            "policy",
            "seeds",
            "return",
            "return_min",
            "return_max",
            "samples_to_match",
        )
        rows = [[cell(row.get(column)) for column in columns] for row in result.rows]
        print_table(list(columns), rows)
        click.echo("\n".join(map(str, result.files)))
    return print_failures(result.failures)


def _list_figures(as_json: bool) -> int:
    from cesma_sb3.analysis.figures.schema import list_figures

    found = list_figures()
    if as_json:
        rows = [
            {
                "name": each.name,
                "title": each.figure.title,
                "source": each.figure.source,
                "panels": [panel.name for panel in each.figure.panels],
            }
            for each in found
        ]
        print_json(rows)
    else:
        table = [
            [each.name, each.figure.title, ", ".join(panel.name for panel in each.figure.panels)]
            for each in found
        ]
        print_table(["figure", "title", "panels"], table)
    return 0
