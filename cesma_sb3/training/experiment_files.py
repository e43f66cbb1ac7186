"""The files that an experiment names: a run folder keeps copies of them, and the run reads only these."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from cesma_sb3.config.schema import ONNX, RANDOM, TORCHSCRIPT, TRAJECTORIES, Experiment
from cesma_sb3.training.pretrained_teams import RUN, find_run
from cesma_sb3.utils import modules

MODEL, NETWORK, NORMALIZATION = "expert/model.zip", "expert/network", "expert/normalization.pkl"
"""Files of a pretrained expert: SB3's, an exported network (with its suffix), `VecNormalize`."""
RECORDING = "expert/trajectories"
"""Recorded trajectories: a folder, or with `.npz` a file."""
EXPERIENCE = "expert/experience.safetensors"
"""States that were visited before the run."""
STUDENTS_MODEL = "students/model.zip"
"""The SB3 algorithm of a team that learned by itself."""
OTHERS = "others"
"""Folder of the team that plays the other side of a game."""
INITIAL = {"expert": "initial/expert", "students": "initial/students"}
"""Folders for what is kept of the runs whose weights the expert or the students start from."""
_INITIAL_FILES = {
    "expert": ("config.yaml", "run.json", "expert/policy.safetensors"),
    "students": ("config.yaml", "run.json", "students/team.safetensors"),
}
_TEAM_SUFFIXES = (".json", ".safetensors")
"""Of the files of a saved team, and of the teams of an ensemble, which lie in folders of their own."""


def names_a_team(others: str) -> bool:
    """Whether `env.others` is a saved team or a run; else it is `random`, or `module:name`."""
    return others != RANDOM and modules.NAME.fullmatch(others) is None


def team_folder(others: str) -> Path:
    """Returns the folder of the saved team that `env.others` names: of a run, that of its students."""
    path = find_run(others)
    return path / "students" if (path / RUN).is_file() else path


def kept_names(experiment: Experiment) -> dict[tuple[str, str], str]:
    """Returns the name below the run folder of the file or run folder that each key names, with `/`."""
    expert, students = experiment.expert, experiment.students
    names = {}
    if experiment.env.others is not None and names_a_team(experiment.env.others):
        names["env", "others"] = OTHERS
    if expert.path is not None:
        suffix = Path(expert.path).suffix
        if expert.algorithm == TRAJECTORIES:
            names["expert", "path"] = RECORDING + (suffix if suffix == ".npz" else "")
        else:
            is_network = expert.algorithm in {TORCHSCRIPT, ONNX}
            names["expert", "path"] = NETWORK + suffix if is_network else MODEL
    if expert.normalization is not None:
        names["expert", "normalization"] = NORMALIZATION
    if expert.experience is not None:
        names["expert", "experience"] = EXPERIENCE
    for section, inner in (("expert", expert), ("students", students)):
        if inner.init_from is not None:
            names[section, "init_from"] = INITIAL[section]
    return names


def kept_files(experiment: Experiment) -> dict[str, Path]:
    """Returns where each file is that a run needs, by its name below the run folder.

    Args:
        experiment: As resolved, before it has a run folder.
    """
    sources: dict[str, Path] = {}
    for (section, key), name in kept_names(experiment).items():
        source = Path(getattr(getattr(experiment, section), key))
        if key == "others":
            team = team_folder(str(source))
            inside = [path for path in sorted(team.rglob("*")) if path.suffix in _TEAM_SUFFIXES]
            # Of a team that is not there a file is named all the same: whoever reads it says so.
            inside = inside or [team / "team.json"]
            sources |= {f"{name}/{path.relative_to(team).as_posix()}": path for path in inside}
        elif experiment.expert.algorithm == TRAJECTORIES and key == "path":
            inside = [path for path in sorted(source.rglob("*")) if path.is_file()]
            sources |= {f"{name}/{path.relative_to(source).as_posix()}": path for path in inside}
            sources |= {} if inside else {name: source}
        elif key == "init_from":
            sources |= {f"{name}/{each}": find_run(source) / each for each in _INITIAL_FILES[section]}
        else:
            from cesma_sb3.experts.loading import resolve_file  # imports PyTorch

            sources[name] = resolve_file(source)
    return sources


def as_kept(experiment: Experiment, folder: Path | None = None) -> Experiment:
    """Returns the experiment with the files that a run folder keeps.

    Args:
        experiment: As resolved, wherever its files are.
        folder: The run folder; None: file names are relative, as in `config.yaml`.
    """
    names = kept_names(experiment).items()
    return with_paths(
        experiment, {key: name if folder is None else str(folder / name) for key, name in names}
    )


def with_paths(experiment: Experiment, paths: Mapping[tuple[str, str], str]) -> Experiment:
    """Returns the experiment with other files."""
    for (section, key), path in paths.items():
        inner = getattr(experiment, section).model_copy(update={key: path})
        experiment = experiment.model_copy(update={section: inner})
    return experiment
