"""Many runs: searches, sweeps and figures."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from cesma_sb3.cli.app import cesma
from cesma_sb3.cli.options import (
    Whole,
    json_option,
    overrides_of,
    settings_option,
    told_how_to_go_on,
    trust_option,
)
from cesma_sb3.cli.output import cell, number, print_json, print_table, tell_failures

_SEEDS, _WORKERS = Whole(1, 10_000), Whole(1, 1_024)


@cesma.command()
@click.argument("name")
@click.option(
    "--space",
    metavar="NAME|FILE",
    multiple=True,
    help="What to tune: a search space; may be given again. Else those of its expert and students.",
)
@click.option("--trials", type=Whole(min=1), help="Runs, finished, pruned or failed; else 20.")
@click.option(
    "--minutes",
    type=click.FloatRange(min=0, min_open=True),
    help="Stop starting trials after so many minutes.",
)
@click.option("--workers", type=_WORKERS, default=1, show_default=True, help="Processes at once.")
@click.option(
    "--storage",
    metavar="URL",
    envvar="CESMA_STORAGE",
    show_envvar=True,
    help="sqlite:///FILE, journal:///FILE or postgresql://...; else a journal in the study's folder.",
)
@click.option("--study", metavar="NAME", help="Name of the study; else EXPERIMENT-SPACE-seedN.")
@click.option(
    "--objective",
    type=click.Choice(["students", "expert", "students-and-samples"]),
    default="students",
    show_default=True,
    help="Whose score is to be high; the last one also wants few samples.",
)
@click.option(
    "--seeds",
    type=_SEEDS,
    default=1,
    show_default=True,
    help="Runs of each trial; their mean.",
)
@click.option(
    "--sampler", type=click.Choice(["tpe", "cmaes", "random", "gp", "grid"]), default="tpe", show_default=True
)
@click.option(
    "--pruner",
    type=click.Choice(["none", "median", "hyperband", "wilcoxon"]),
    default="none",
    show_default=True,
    help="Ends trials early, by scores on the way; wilcoxon by those of the first seeds.",
)
@click.option(
    "--expert", type=click.Path(path_type=Path), help="A run folder: its expert is used, students are tuned."
)
@click.option("--stage-wise", is_flag=True, help="The expert first, then the students of the best one.")
@click.option("--seed", type=Whole(min=0), help="All randomness comes from it.")
@settings_option("Override a value: dagger.n_envs=8.")
@click.option("--out", type=click.Path(path_type=Path), help="The study's folder; else runs/tune/STUDY.")
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
    """Run an experiment with other values, again and again, and find the best: NAME, or a YAML file.

    The same command on other machines, with the same storage and study, works on it too.
    """
    from cesma_sb3.config.registry import load_experiment
    from cesma_sb3.multirun.tuning.search_space import load_space

    overrides = overrides_of(settings)
    if seed is not None:
        overrides["seed"] = seed
    load_experiment(name, overrides, check_names=False)  # tell of a bad value before PyTorch is loaded
    for each in space:
        load_space(each)

    from cesma_sb3.multirun.tuning import study as study_module

    with told_how_to_go_on():
        result = study_module.tune(name, space=space or None, **options, progress=True, **overrides)
    best = result.folder / study_module.BEST
    if as_json:
        print_json({"objective": result.objective, "values": result.values, "best": str(best)})
    else:
        rows = [[key, json.dumps(value)] for key, value in result.values.items()]
        print_table(["key", "best value"], rows)
        click.echo(f"objective: {number(result.objective)}\nbest: {best}")


@cesma.command("tune-worker", hidden=True)
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--storage", envvar="CESMA_STORAGE", required=True)
def tune_worker(file: Path, storage: str) -> None:
    """Run trials of a study that `cesma tune --workers N` leads."""
    from cesma_sb3.multirun.tuning.work import run_worker

    run_worker(file, storage)


@cesma.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option("--seeds", type=_SEEDS, default=3, show_default=True, help="Runs of each.")
@click.option("--baselines", is_flag=True, help="Also the registered baselines of these experiments.")
@settings_option("Override a value: dagger.n_envs=8.")
@click.option("--workers", type=_WORKERS, help="Processes at once; else one for each core.")
@click.option(
    "--ray", "address", metavar="ADDRESS", help="A Ray cluster to run on: auto, HOST:PORT or ray://HOST:PORT."
)
@click.option("--out", type=click.Path(path_type=Path), help="The results folder; else runs/sweep.")
@json_option
def sweep(names: tuple[str, ...], settings: tuple[str, ...], as_json: bool, **options: Any) -> int:
    """Run experiments with several seeds, and tell what each comes to: NAMEs, or YAML files.

    Typed again, it goes on where it was stopped. Exits with 1 if a run failed.
    """
    overrides = overrides_of(settings)

    from cesma_sb3.multirun.sweep import sweep as make_sweep

    with told_how_to_go_on():
        result = make_sweep(names, progress=True, **options, **overrides)
    if as_json:
        failures = [vars(failure) for failure in result.failures]
        print_json({"folder": result.folder, "ran": result.ran, "failures": failures, "rows": result.rows})
    else:
        columns = ("experiment", "kind", "seeds", "return", "return_min", "return_max", "normalized")
        print_table(list(columns), [[cell(row.get(column)) for column in columns] for row in result.rows])
        click.echo(result.folder)
    return tell_failures(result.failures)


@cesma.command()
@click.argument("figure", required=False)
@click.option(
    "--budget",
    type=click.Choice(["quick", "registered", "full"]),
    default="quick",
    show_default=True,
    help="Meant for an hour on two cores; the registry's values; or the paper's.",
)
@click.option("--seeds", type=_SEEDS, help="Runs of each line; else as the figure says.")
@click.option("--workers", type=_WORKERS, help="Processes at once; else one for each core.")
@click.option("--draw-only", is_flag=True, help="Make no runs; draw what there is.")
@click.option("--only", metavar="PANEL", multiple=True, help="This panel; may be given again for more.")
@click.option(
    "--out", type=click.Path(path_type=Path), help="Where to; else runs/reproduce/BUDGET, shared by figures."
)
@json_option
def reproduce(figure: str | None, as_json: bool, **options: Any) -> int:
    """Run what a figure of the paper needs and draw it: FIGURE, or a YAML file; without one, list them.

    Typed again, it goes on where it was stopped. Exits with 1 if a run failed; the others are drawn.
    """
    if figure is None:
        return _list_figures(as_json)
    from cesma_sb3.analysis.figures.reproduce import reproduce as reproduce_figure

    with told_how_to_go_on():
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
    return tell_failures(result.failures)


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
