"""The command `cesma`: each sub-command is one call of the library, imported where it is needed."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import click

from cesma_sb3.errors import CesmaError, ConfigError, nearest

POLICIES = ("expert", "imitators", "students", "reference", "random")
"""Rows of a result, in the order in which they are shown."""

_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON for a program to read.")


class _Commands(click.Group):
    """Names the nearest command when there is none of that name."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name, names = args[0], self.list_commands(ctx)
        if name in names or name.startswith("-"):
            return super().resolve_command(ctx, args)
        found = nearest(name, names)
        hint = f"did you mean {found[0]!r}? " if found else ""
        raise click.UsageError(f"unknown command {name!r}; {hint}allowed: {', '.join(names)}")


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    invoke_without_command=True,
)
@click.pass_context
def cesma(context: click.Context) -> None:
    """Train one centralized controller for a team, then decentralize it into one policy per agent."""
    if context.invoked_subcommand is None:
        click.echo(context.get_help())


@cesma.command("list")
@_JSON
def list_(as_json: bool) -> None:
    """List the registered experiments."""
    from cesma_sb3.registry import describe_experiments

    rows = list(describe_experiments())
    if as_json:
        _print_json([{"name": name, "description": description} for name, description in rows])
    else:
        _print_table(["experiment", "description"], [[name, description] for name, description in rows])


@cesma.command()
@click.argument("name")
@_JSON
def show(name: str, as_json: bool) -> None:
    """Print an experiment as resolved: NAME, or a YAML file."""
    from cesma_sb3._yaml import write_mapping
    from cesma_sb3.registry import load_experiment

    values = load_experiment(name).to_mapping()
    if as_json:
        _print_json(values)
    else:
        click.echo(write_mapping(values), nl=False)


@cesma.command()
@click.argument("name")
@click.option("--seed", type=click.IntRange(min=0), help="All randomness comes from it.")
@click.option(
    "--set", "settings", metavar="KEY=VALUE", multiple=True, help="Override a value: expert.n_envs=8."
)
@click.option(
    "--out", type=click.Path(path_type=Path), help="The run folder, new or empty; else one under runs/NAME."
)
@_JSON
def run(name: str, seed: int | None, settings: tuple[str, ...], out: Path | None, as_json: bool) -> None:
    """Run an experiment: NAME, or a YAML file."""
    from cesma_sb3.registry import load_experiment

    overrides = _overrides(settings)
    if seed is not None:
        overrides["seed"] = seed
    experiment = load_experiment(
        name, overrides, check_names=False
    )  # tell of a bad value before PyTorch is loaded

    from cesma_sb3 import pipeline

    seed = overrides.pop("seed", None)
    result = pipeline.run(name, seed=seed, out=out, progress=True, **overrides)
    if as_json:
        _print_json({"run_dir": str(result.run_dir), **result.report})
    else:
        _print_result(experiment.name, result.report)
        click.echo(f"run folder: {result.run_dir}")


@cesma.command()
@click.argument("expert")
@click.argument("env")
@click.option("--algorithm", metavar="CLASS", help="What an SB3 file was saved by: PPO, or module:Class.")
@click.option("--normalization", metavar="FILE", help="The file of the model's VecNormalize.")
@click.option(
    "--trust",
    is_flag=True,
    help="The files may run code when they are loaded: SB3's, TorchScript's, pickles.",
)
@click.option(
    "--timesteps",
    "total_timesteps",
    type=click.IntRange(min=1),
    default=100_000,
    show_default=True,
    help="Environment timesteps of the decentralization, at most.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, help="All randomness comes from it.")
@click.option(
    "--set", "settings", metavar="KEY=VALUE", multiple=True, help="A further value: env.team_reward=mean."
)
@click.option("--out", type=click.Path(path_type=Path), help="The run folder; else one under runs/.")
@_JSON
def decentralize(expert: str, env: str, settings: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """Turn a finished controller into one policy for each agent, and measure both.

    EXPERT is a file (SB3's .zip, TorchScript, ONNX) or module:name; ENV a registered environment or
    package.module:function of a PettingZoo environment.
    """
    overrides = _overrides(settings)

    from cesma_sb3 import bring

    result = bring.decentralize(expert, env, **options, progress=True, **overrides)
    if as_json:
        _print_json({"run_dir": str(result.run_dir), **result.report})
    else:
        _print_result(result.report["name"], result.report)
        click.echo(f"run folder: {result.run_dir}")


@cesma.command()
@click.argument("run_dir", type=click.Path(path_type=Path))
@click.option(
    "--format",
    type=click.Choice(["onnx", "torchscript", "sb3"]),
    default="onnx",
    show_default=True,
    help="Of the files; sb3 is of plain networks alone.",
)
@click.option(
    "--out", type=click.Path(path_type=Path), help="The folder, new or empty; else in the run folder."
)
def export(run_dir: Path, **options: Any) -> None:
    """Write one file for each agent, which runs without this package, and a JSON beside it that says how."""
    from cesma_sb3 import export as exporting

    for path in sorted(exporting.export(run_dir, **options).iterdir()):
        click.echo(path)


@cesma.command()
@click.argument("run_dir", type=click.Path(path_type=Path))
@click.argument("repo_id", metavar="USER/NAME|FOLDER")
@click.option("--private", is_flag=True, help="If the repository is made.")
@click.option("--message", help="Of the commit.")
def push(run_dir: Path, repo_id: str, **options: Any) -> None:
    """Publish the students of a run on the Hugging Face Hub, with a card that holds its report.

    With a path such as ./FOLDER in place of USER/NAME, what would be uploaded is written there.
    """
    from cesma_sb3 import hub

    if repo_id.startswith((".", "/", "~")):
        click.echo(hub.write_published(run_dir, Path(repo_id).expanduser()))
    else:
        click.echo(hub.push_to_hub(run_dir, repo_id, **options))


@cesma.command()
@click.argument("name")
@click.option(
    "--space",
    metavar="NAME|FILE",
    multiple=True,
    help="What to tune: a search space; may be given again. Else those of its expert and students.",
)
@click.option("--trials", type=click.IntRange(min=1), help="Runs, finished, pruned or failed; else 20.")
@click.option("--minutes", type=click.FloatRange(min=0, min_open=True), help="After these, no trial begins.")
@click.option(
    "--workers", type=click.IntRange(min=1), default=1, show_default=True, help="Processes at once."
)
@click.option(
    "--storage",
    metavar="URL",
    help="sqlite:///FILE, journal:///FILE or postgresql://...: the same again goes on with the study.",
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
    type=click.IntRange(min=1),
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
@click.option("--seed", type=click.IntRange(min=0), help="All randomness comes from it.")
@click.option(
    "--set", "settings", metavar="KEY=VALUE", multiple=True, help="Override a value: dagger.n_envs=8."
)
@click.option("--out", type=click.Path(path_type=Path), help="The study's folder; else runs/tune/STUDY.")
@click.option("--as-worker", is_flag=True, hidden=True)
@_JSON
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
    from cesma_sb3.registry import load_experiment
    from cesma_sb3.search_space import load_space

    overrides = _overrides(settings)
    if seed is not None:
        overrides["seed"] = seed
    load_experiment(name, overrides, check_names=False)  # tell of a bad value before PyTorch is loaded
    for each in space:
        load_space(each)

    from cesma_sb3 import tuning

    try:
        result = tuning.tune(name, space=space or None, **options, progress=True, **overrides)
    except KeyboardInterrupt:
        from cesma_sb3.runs import command_line

        if options["storage"] is not None:
            click.echo(f"to go on: {command_line()}", err=True)
        raise
    if options["as_worker"]:
        return
    best = result.folder / tuning.BEST
    if as_json:
        _print_json({"objective": result.objective, "values": result.values, "best": str(best)})
    else:
        rows = [[key, json.dumps(value)] for key, value in result.values.items()]
        _print_table(["key", "best value"], rows)
        click.echo(f"objective: {_number(result.objective)}\nbest: {best}")


@cesma.command()
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@click.option("--seeds", type=click.IntRange(min=1), default=3, show_default=True, help="Runs of each.")
@click.option("--baselines", is_flag=True, help="Also the registered baselines of these experiments.")
@click.option(
    "--set", "settings", metavar="KEY=VALUE", multiple=True, help="Override a value: dagger.n_envs=8."
)
@click.option("--workers", type=click.IntRange(min=1), help="Processes at once; else one for each core.")
@click.option(
    "--ray", "address", metavar="ADDRESS", help="A Ray cluster to run on: auto, HOST:PORT or ray://HOST:PORT."
)
@click.option("--out", type=click.Path(path_type=Path), help="The results folder; else runs/sweep.")
@_JSON
def sweep(names: tuple[str, ...], settings: tuple[str, ...], as_json: bool, **options: Any) -> int:
    """Run experiments with several seeds, and tell what each comes to: NAMEs, or YAML files.

    Typed again, it goes on where it was stopped. Exits with 1 if a run failed.
    """
    overrides = _overrides(settings)

    from cesma_sb3.sweep import sweep as make_sweep

    try:
        result = make_sweep(names, progress=True, **options, **overrides)
    except KeyboardInterrupt:
        from cesma_sb3.runs import command_line

        click.echo(f"to go on: {command_line()}", err=True)
        raise
    if as_json:
        failures = [vars(failure) for failure in result.failures]
        _print_json({"folder": result.folder, "ran": result.ran, "failures": failures, "rows": result.rows})
    else:
        columns = ("experiment", "kind", "seeds", "return", "return_min", "return_max", "normalized")
        _print_table(list(columns), [[_cell(row.get(column)) for column in columns] for row in result.rows])
        click.echo(result.folder)
    for failure in result.failures:
        click.echo(f"failed: {failure.run}: {failure.cause} (log: {failure.log})", err=True)
    return 1 if result.failures else 0


@cesma.command()
@click.argument("run_dir", type=click.Path(path_type=Path))
@click.option(
    "--episodes", type=click.IntRange(min=1), help="Episodes of each policy; else the experiment's."
)
@click.option("--seed", type=click.IntRange(min=0), help="Seed of the episodes; else the run's.")
@click.option(
    "--messages",
    type=click.Choice(["shuffled", "zeroed", "random"]),
    help="What the students hear instead of what was said: another world's messages, none, or random ones.",
)
@click.option(
    "--set", "settings", metavar="KEY=VALUE", multiple=True, help="Override a value: env.n_agents=12."
)
@_JSON
def evaluate(run_dir: Path, settings: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """Evaluate the policies of a run folder again, perhaps in another team or environment."""
    from cesma_sb3.runs import RunFolder

    name = RunFolder.open(run_dir).experiment.name  # tell of a bad folder before PyTorch is loaded
    overrides = _overrides(settings)

    from cesma_sb3 import pipeline

    report = pipeline.evaluate_run(run_dir, **options, **overrides)
    if as_json:
        _print_json(report)
    else:
        _print_result(name, report)


@cesma.command()
@click.argument("figure", required=False)
@click.option(
    "--budget",
    type=click.Choice(["quick", "registered", "full"]),
    default="quick",
    show_default=True,
    help="Meant for an hour on two cores; the registry's values; or the paper's.",
)
@click.option("--seeds", type=click.IntRange(min=1), help="Runs of each line; else as the figure says.")
@click.option("--workers", type=click.IntRange(min=1), help="Processes at once; else one for each core.")
@click.option("--draw-only", is_flag=True, help="Make no runs; draw what there is.")
@click.option("--only", metavar="PANEL", multiple=True, help="This panel; may be given again for more.")
@click.option(
    "--out", type=click.Path(path_type=Path), help="Where to; else runs/reproduce/BUDGET, shared by figures."
)
@_JSON
def reproduce(figure: str | None, as_json: bool, **options: Any) -> int:
    """Run what a figure of the paper needs and draw it: FIGURE, or a YAML file; without one, list them.

    Typed again, it goes on where it was stopped. Exits with 1 if a run failed; the others are drawn.
    """
    if figure is None:
        return _list_figures(as_json)
    from cesma_sb3.reproduce import reproduce as reproduce_figure

    try:
        result = reproduce_figure(figure, progress=True, **options)
    except KeyboardInterrupt:
        from cesma_sb3.runs import command_line

        click.echo(f"to go on: {command_line()}", err=True)
        raise
    if as_json:
        failures = [vars(failure) for failure in result.failures]
        _print_json({"files": result.files, "ran": result.ran, "failures": failures, "rows": result.rows})
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
        rows = [[_cell(row.get(column)) for column in columns] for row in result.rows]
        _print_table(list(columns), rows)
        click.echo("\n".join(map(str, result.files)))
    for failure in result.failures:
        click.echo(f"failed: {failure.run}: {failure.cause} (log: {failure.log})", err=True)
    return 1 if result.failures else 0


def _list_figures(as_json: bool) -> int:
    from cesma_sb3.figures import list_figures

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
        _print_json(rows)
    else:
        table = [
            [each.name, each.figure.title, ", ".join(panel.name for panel in each.figure.panels)]
            for each in found
        ]
        _print_table(["figure", "title", "panels"], table)
    return 0


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """The entry point: exit 0, 1 if a figure's run failed, 2 with one line for bad input, 130 after Ctrl-C.

    A bug keeps its traceback.
    """
    try:
        code = cesma.main(arguments, standalone_mode=False) or 0
        sys.stdout.flush()
    except click.exceptions.Exit as error:
        code = error.exit_code
    except click.ClickException as error:
        code = _fail(error.format_message(), 2)
    except CesmaError as error:
        code = _fail(str(error), 2)
    except (click.Abort, KeyboardInterrupt):
        code = _fail("interrupted", 130)
    except BrokenPipeError:  # the reader has gone, as in `cesma list | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    sys.exit(code)


def _fail(message: str, code: int) -> int:
    click.echo(f"error: {' '.join(message.split())}", err=True)
    return code


def _overrides(settings: tuple[str, ...]) -> dict[str, Any]:
    """Dotted keys and their values, from `key.path=value`."""
    from cesma_sb3._yaml import read_value

    overrides: dict[str, Any] = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or not all(key.split(".")):
            raise ConfigError(f"--set {setting}: expected KEY=VALUE, such as expert.n_envs=8")
        overrides[key] = read_value(value, f"--set {setting}")
    return overrides


def _print_result(name: str, report: Mapping[str, Any]) -> None:
    """Return and normalised score of each policy."""
    returns, scores, wins = report["return"], report["normalized"], report.get("win_rate")
    header = [name, "return", "normalized", *([] if wins is None else ["win rate", "95%"])]
    rows = []
    for policy in (policy for policy in POLICIES if policy in returns):
        row = [policy, _number(returns[policy]), _number(scores.get(policy))]
        if wins is not None:
            won = wins[policy]
            row += [_number(won["rate"]), f"{_number(won['low'])} to {_number(won['high'])}"]
        rows.append(row)
    _print_table(header, rows, numbers=True)
    for policy, counts in report.get("parameters", {}).items():
        parts = ", ".join(f"{part} {count:,}" for part, count in counts.items())
        click.echo(f"parameters, {policy}: {parts}")


def _number(value: float | None) -> str:
    return "-" if value is None or value != value else f"{value:.2f}"  # noqa: PLR0124  # NaN


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:,.2f}" if isinstance(value, float) else str(value)


def _print_table(header: list[str], rows: list[list[str]], *, numbers: bool = False) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for index, title in enumerate(header):
        right = numbers and index > 0
        table.add_column(title, justify="right" if right else "left", no_wrap=index == 0 or right)
    for row in rows:
        table.add_row(*map(Text, row))
    console = Console()
    if not console.is_terminal:  # a file or a program has no width to keep to
        console = Console(width=200)
    console.print(table)


def _print_json(value: Any) -> None:
    from cesma_sb3.runs import to_json

    click.echo(json.dumps(to_json(value), indent=2, allow_nan=False))
