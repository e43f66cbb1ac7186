"""The commands `list`, `show`, `run`, `decentralize` and `evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from cesma_sb3.cli.app import cesma
from cesma_sb3.cli.options import (
    PATH,
    Whole,
    episode_seed_option,
    json_option,
    out_option,
    overrides_of,
    print_resume_hint,
    run_argument,
    settings_option,
    training_page,
    trust_option,
    watch_option,
)
from cesma_sb3.cli.output import print_json, print_result, print_table
from cesma_sb3.errors import Interrupted


@cesma.command("list")
@json_option
def list_(as_json: bool) -> None:
    """List the registered experiments, and which of them have a pretrained team."""
    from cesma_sb3.config.registry import describe_experiments
    from cesma_sb3.training.pretrained_teams import list_pretrained

    rows, teams = list(describe_experiments()), list_pretrained()
    if as_json:
        print_json(
            [
                {"name": name, "description": description, "pretrained": name in teams}
                for name, description in rows
            ]
        )
    else:
        cells = [[name, "yes" if name in teams else "", description] for name, description in rows]
        print_table(["experiment", "pretrained", "description"], cells)


@cesma.command()
@click.argument("name")
@json_option
def show(name: str, as_json: bool) -> None:
    """Print all values of an experiment: NAME, or a YAML file."""
    from cesma_sb3.config.registry import load_experiment
    from cesma_sb3.config.yaml import write_mapping

    values = load_experiment(name).to_mapping()
    if as_json:
        print_json(values)
    else:
        click.echo(write_mapping(values), nl=False)


@cesma.command()
@click.argument("name", required=False)
@click.option("--seed", type=Whole(min=0), help="Seed of the run.", show_default="the experiment's")
@settings_option("expert.n_envs=8")
@out_option("The run folder, new or empty.", "a new one under runs/NAME")
@click.option(
    "--resume",
    metavar="RUN_DIR",
    type=PATH,
    help="Folder of an interrupted run to resume; NAME may be left out.",
)
@watch_option
@trust_option
@json_option
def run(
    name: str | None,
    seed: int | None,
    settings: tuple[str, ...],
    watched: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Train expert and students of an experiment, and evaluate them: NAME, or a YAML file."""
    from cesma_sb3.config.registry import load_experiment

    overrides = overrides_of(settings)
    if name is None and options["resume"] is None:
        raise click.UsageError("expected the name of an experiment, or a run to resume")
    if seed is not None:
        overrides["seed"] = seed
    shown = None
    if name is not None:  # refuse a bad value before PyTorch is loaded
        shown = load_experiment(name, overrides, check_names=False).name

    from cesma_sb3.training import run as run_module

    seed = overrides.pop("seed", None)
    title = shown or str(options["resume"])
    with print_resume_hint(Interrupted), training_page(title, watched) as page:
        result = run_module.run(
            name, seed=seed, **options, progress=True, spectator=page, overrides=overrides
        )
    if as_json:
        print_json({"run_dir": str(result.run_dir), **result.report})
    else:
        print_result(shown or result.report["name"], result.report)
        click.echo(f"run folder: {result.run_dir}")


@cesma.command()
@click.argument("expert")
@click.argument("env")
@click.option("--algorithm", metavar="CLASS", help="Class that saved an SB3 file: PPO, or module:Class.")
@click.option("--normalization", metavar="FILE", help="File of the model's VecNormalize statistics.")
@click.option(
    "--trust",
    is_flag=True,
    help="Allow the files to run code when they are loaded, as SB3's, TorchScript's and pickles can.",
)
@click.option(
    "--total-timesteps",
    type=Whole(min=0),
    show_default="the registered experiment's, else 100000",
    help="Most environment timesteps of the imitation.",
)
@click.option("--seed", type=Whole(min=0), default=0, show_default=True, help="Seed of the run.")
@settings_option("env.team_reward=mean")
@out_option("The run folder, new or empty.", "a new one under runs/decentralized")
@watch_option
@json_option
def decentralize(
    expert: str, env: str, settings: tuple[str, ...], watched: bool, as_json: bool, **options: Any
) -> None:
    """Decentralize a pretrained controller into one policy for each agent, and evaluate both.

    EXPERT is a file (SB3's .zip, TorchScript, ONNX), recorded trajectories (.npz, a folder of imitation's or
    Minari's) or module:name; ENV a registered experiment (its
    environment, students, imitation and evaluation), a registered environment, or package.module:function of
    a PettingZoo environment.
    """
    overrides = overrides_of(settings)

    from cesma_sb3.training import decentralize as decentralize_module

    title = f"{Path(expert).name}, decentralized"
    with print_resume_hint(Interrupted), training_page(title, watched) as page:
        result = decentralize_module.decentralize(
            expert, env, **options, progress=True, spectator=page, overrides=overrides
        )
    if as_json:
        print_json({"run_dir": str(result.run_dir), **result.report})
    else:
        print_result(result.report["name"], result.report)
        click.echo(f"run folder: {result.run_dir}")


@cesma.command()
@run_argument
@click.option(
    "--episodes",
    type=Whole(min=1),
    help="Episodes of each policy.",
    show_default="n_final_episodes of the run",
)
@episode_seed_option
@click.option(
    "--messages",
    type=click.Choice(["shuffled", "zeroed", "random"]),
    help="Messages that students receive in place of those sent: another environment's, zeros, or random.",
)
@settings_option("env.kwargs.n_agents=12")
@trust_option
@json_option
def evaluate(run_dir: Path, settings: tuple[str, ...], as_json: bool, **options: Any) -> None:
    """Evaluate the policies of a run again, also in another team or environment.

    RUN is a run folder, or the name of a pretrained team.
    """
    from cesma_sb3.training.run_folder import RunFolder

    name = RunFolder.open(run_dir).experiment.name  # refuse a bad folder before PyTorch is loaded
    overrides = overrides_of(settings)

    from cesma_sb3.training import evaluate_run as evaluate_module

    report = evaluate_module.evaluate_run(run_dir, **options, overrides=overrides)
    if as_json:
        print_json(report)
    else:
        print_result(name, report)
