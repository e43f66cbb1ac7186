"""Experiments: listed, shown, run and measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from cesma_sb3.cli.app import cesma
from cesma_sb3.cli.options import (
    Whole,
    json_option,
    overrides_of,
    settings_option,
    told_how_to_resume,
    trust_option,
)
from cesma_sb3.cli.output import print_json, print_result, print_table


@cesma.command("list")
@json_option
def list_(as_json: bool) -> None:
    """List the registered experiments."""
    from cesma_sb3.config.registry import describe_experiments

    rows = list(describe_experiments())
    if as_json:
        print_json([{"name": name, "description": description} for name, description in rows])
    else:
        print_table(["experiment", "description"], [[name, description] for name, description in rows])


@cesma.command()
@click.argument("name")
@json_option
def show(name: str, as_json: bool) -> None:
    """Print an experiment as resolved: NAME, or a YAML file."""
    from cesma_sb3.config.registry import load_experiment
    from cesma_sb3.config.yaml import write_mapping

    values = load_experiment(name).to_mapping()
    if as_json:
        print_json(values)
    else:
        click.echo(write_mapping(values), nl=False)


@cesma.command()
@click.argument("name", required=False)
@click.option("--seed", type=Whole(min=0), help="All randomness comes from it.")
@settings_option("Override a value: expert.n_envs=8.")
@click.option(
    "--out", type=click.Path(path_type=Path), help="The run folder, new or empty; else one under runs/NAME."
)
@click.option(
    "--resume",
    metavar="RUN_DIR",
    type=click.Path(path_type=Path),
    help="Go on with an interrupted run, in its folder; NAME may be left out.",
)
@trust_option
@json_option
def run(name: str | None, seed: int | None, settings: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """Run an experiment: NAME, or a YAML file."""
    from cesma_sb3.config.registry import load_experiment

    overrides = overrides_of(settings)
    if name is None and options["resume"] is None:
        raise click.UsageError("expected the name of an experiment, or a run to resume")
    if seed is not None:
        overrides["seed"] = seed
    shown = None
    if name is not None:  # tell of a bad value before PyTorch is loaded
        shown = load_experiment(name, overrides, check_names=False).name

    from cesma_sb3.training import run as run_module

    with told_how_to_resume():
        result = run_module.run(name, seed=overrides.pop("seed", None), **options, progress=True, **overrides)
    if as_json:
        print_json({"run_dir": str(result.run_dir), **result.report})
    else:
        print_result(shown or result.report["name"], result.report)
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
    type=Whole(min=1),
    default=100_000,
    show_default=True,
    help="Environment timesteps of the decentralization, at most.",
)
@click.option("--seed", type=Whole(min=0), default=0, help="All randomness comes from it.")
@settings_option("A further value: env.team_reward=mean.")
@click.option("--out", type=click.Path(path_type=Path), help="The run folder; else one under runs/.")
@json_option
def decentralize(expert: str, env: str, settings: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """Turn a finished controller into one policy for each agent, and measure both.

    EXPERT is a file (SB3's .zip, TorchScript, ONNX) or module:name; ENV a registered environment or
    package.module:function of a PettingZoo environment.
    """
    overrides = overrides_of(settings)

    from cesma_sb3.training import decentralize as decentralize_module

    with told_how_to_resume():
        result = decentralize_module.decentralize(expert, env, **options, progress=True, **overrides)
    if as_json:
        print_json({"run_dir": str(result.run_dir), **result.report})
    else:
        print_result(result.report["name"], result.report)
        click.echo(f"run folder: {result.run_dir}")


@cesma.command()
@click.argument("run_dir", type=click.Path(path_type=Path))
@click.option("--episodes", type=Whole(min=1), help="Episodes of each policy; else the experiment's.")
@click.option("--seed", type=Whole(min=0), help="Seed of the episodes; else the run's.")
@click.option(
    "--messages",
    type=click.Choice(["shuffled", "zeroed", "random"]),
    help="What the students hear instead of what was said: another world's messages, none, or random ones.",
)
@settings_option("Override a value: env.kwargs.n_agents=12.")
@trust_option
@json_option
def evaluate(run_dir: Path, settings: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """Evaluate the policies of a run folder again, perhaps in another team or environment."""
    from cesma_sb3.training.run_folder import RunFolder

    name = RunFolder.open(run_dir).experiment.name  # tell of a bad folder before PyTorch is loaded
    overrides = overrides_of(settings)

    from cesma_sb3.training import run as run_module

    report = run_module.evaluate_run(run_dir, **options, **overrides)
    if as_json:
        print_json(report)
    else:
        print_result(name, report)
