"""The files that an experiment names, as a run folder keeps them: the run reads these and no others."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from cesma_sb3.config.schema import ONNX, TORCHSCRIPT, Experiment

MODEL, NETWORK, NORMALIZATION = "expert/model.zip", "expert/network", "expert/normalization.pkl"
"""A finished expert's: SB3's file, an exported network (with its suffix), `VecNormalize`."""
STUDENTS_MODEL = "students/model.zip"
"""The SB3 algorithm of a team that learned by itself."""
INITIAL = {"expert": "initial/expert", "students": "initial/students"}
"""What is kept of a run folder whose weights the expert or the students start from: a smaller run folder."""
_INITIAL_FILES = {
    "expert": ("config.yaml", "run.json", "expert/policy.safetensors"),
    "students": ("config.yaml", "run.json", "students/team.safetensors"),
}


def kept_names(experiment: Experiment) -> dict[tuple[str, str], str]:
    """Of each key that names a file or a run folder, the name below the run folder, with `/`."""
    expert, students = experiment.expert, experiment.students
    found = {}
    if expert.path is not None:
        is_network = expert.algorithm in {TORCHSCRIPT, ONNX}
        found["expert", "path"] = NETWORK + Path(expert.path).suffix if is_network else MODEL
    if expert.normalization is not None:
        found["expert", "normalization"] = NORMALIZATION
    for section, inner in (("expert", expert), ("students", students)):
        if inner.init_from is not None:
            found[section, "init_from"] = INITIAL[section]
    return found


def kept_files(experiment: Experiment) -> dict[str, Path]:
    """The files that a run needs: where each is, by its name below the run folder.

    Args:
        experiment: As resolved, before it has a run folder.
    """
    found: dict[str, Path] = {}
    for (section, key), name in kept_names(experiment).items():
        source = Path(getattr(getattr(experiment, section), key))
        if key == "init_from":
            found |= {f"{name}/{each}": source / each for each in _INITIAL_FILES[section]}
        else:
            from cesma_sb3.experts.loading import resolve_file  # imports PyTorch

            found[name] = resolve_file(source)
    return found


def as_kept(experiment: Experiment, folder: Path | None = None) -> Experiment:
    """The experiment whose files are those that a run folder keeps.

    Args:
        experiment: As resolved, wherever its files are.
        folder: The run folder; None: names are relative, as `config.yaml` holds them.
    """
    names = kept_names(experiment).items()
    return with_paths(
        experiment, {key: name if folder is None else str(folder / name) for key, name in names}
    )


def with_paths(experiment: Experiment, paths: Mapping[tuple[str, str], str]) -> Experiment:
    """The experiment with other files."""
    for (section, key), path in paths.items():
        inner = getattr(experiment, section).model_copy(update={key: path})
        experiment = experiment.model_copy(update={section: inner})
    return experiment
