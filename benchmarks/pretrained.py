"""Makes the teams that come with the package: `python -m benchmarks.pretrained FOLDER [NAME]...`.

FOLDER is one that `cesma reproduce --out FOLDER` has worked in. Of the finished runs of each experiment,
the one whose students have the median score (the lower one of two) is copied to `teams/NAME`: neither the
luckiest run nor a bad one. Without names, the teams that are there already are made anew.

What only training needs stays behind: optimizers, SB3's `model.zip`, all logs but the losses. The experts
come along as weights (safetensors), so that nothing in the wheel runs code when it is loaded.
"""

from __future__ import annotations

from pathlib import Path

import click

from benchmarks.keep import keep_files, results
from cesma_sb3.errors import StorageError
from cesma_sb3.training.acting_mode import ACTING_MODES
from cesma_sb3.training.pretrained_teams import list_pretrained
from cesma_sb3.training.run_folder import EXPERT, EXPERT_WEIGHTS, REPORT, STUDENTS, RunFolder
from cesma_sb3.training.trust import code_of

TEAMS = Path(__file__).parents[1] / "teams"
EPISODES = "episodes.json"


def median_run(folder: Path, name: str) -> RunFolder:
    """The finished run of an experiment whose students have the median normalised score.

    Raises:
        StorageError: There is none.
    """
    found = [RunFolder.open(path.parent) for path in sorted(folder.glob(f"runs/{name}/seed-*/{REPORT}"))]
    runs = sorted(found, key=lambda run: float(run.report()["normalized"]["students"]))
    if not runs:
        raise StorageError(f"{folder / 'runs' / name}: no finished run")
    return runs[(len(runs) - 1) // 2]


def keep_team(run: RunFolder, teams: Path = TEAMS) -> Path:
    """Copies what evaluating a run needs, and returns the folder.

    Raises:
        StorageError: Its files could run code, or files that are needed are not there.
    """
    if code := code_of(run.experiment):
        raise StorageError(
            f"{run.path}: would run {', '.join(code.values())}; expected a run of weights alone"
        )
    expert = [] if run.experiment.dagger is None else [f"{EXPERT}/{EXPERT_WEIGHTS}"]
    students = sorted((run.path / STUDENTS).rglob("*.*"))
    weights = [path.relative_to(run.path).as_posix() for path in students if path.suffix != ".zip"]
    modes = [ACTING_MODES] * (run.path / ACTING_MODES).is_file()
    keep_files(run, teams / run.experiment.name, [*results(run), EPISODES, *modes, *expert, *weights])
    return teams / run.experiment.name


@click.command(help=__doc__)
@click.argument("folder", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.argument("names", nargs=-1)
def main(folder: Path, names: tuple[str, ...]) -> None:
    """Copies, and says what and how large it is."""
    for name in names or list_pretrained():
        run = median_run(folder, name)
        files = [path for path in keep_team(run).rglob("*") if path.is_file()]
        score = run.report()["normalized"]["students"]
        size = sum(path.stat().st_size for path in files)
        click.echo(f"{name}: seed {run.experiment.seed}, score {score:.3f}, {size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
