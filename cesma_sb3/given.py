"""Experts that a run finds finished: scripted, of a class, read from a file, or handed over."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.vec_env import VecNormalize

from cesma_sb3.algorithms import controller, saved_class
from cesma_sb3.config import GIVEN, ONNX, SCRIPTED, TORCHSCRIPT, ExpertConfig
from cesma_sb3.envs import declared_split
from cesma_sb3.errors import ExpertError, StorageError
from cesma_sb3.experts import Expert, adapt_expert
from cesma_sb3.experts.adapt import known_spaces
from cesma_sb3.experts.files import found_file, load_normalization, load_onnx, load_sb3, load_torchscript
from cesma_sb3.joint.spaces import TeamSpaces
from cesma_sb3.joint.vec_env import JointVecEnv
from cesma_sb3.measure import Evaluator
from cesma_sb3.runs import EXPERT, RunFolder

MODEL, NETWORK, NORMALIZATION = "model.zip", "network", "normalization.pkl"
"""A finished expert's files in a run folder: SB3's, an exported network (with its suffix), `VecNormalize`."""


@dataclasses.dataclass(frozen=True)
class Finished:
    """A controller that is not trained here."""

    expert: Expert
    model: BaseAlgorithm | BasePolicy | None = None
    """The SB3 algorithm or policy, if it is one."""
    files: Mapping[str, Path | VecNormalize] = dataclasses.field(default_factory=dict)
    """What it came from beside the model, by the name that a run keeps it under."""

    def save(self, folder: RunFolder) -> None:
        """Keeps the files with the run, so that its folder is all that is needed."""
        for name, source in self.files.items():
            if isinstance(source, Path):
                folder.write_bytes(f"{EXPERT}/{name}", source.read_bytes())
            else:
                folder.write_with(f"{EXPERT}/{name}", source.save)  # type: ignore[arg-type]  # it opens any path


@dataclasses.dataclass(frozen=True)
class Handed:
    """A controller in memory."""

    controller: Any
    """See `adapt_expert`."""
    normalization: VecNormalize | None = None
    """Statistics that its observations are normalized by; None: those of the algorithm's own."""


def is_trained(config: ExpertConfig) -> bool:
    """Whether the expert is an SB3 algorithm that a run trains.

    Raises:
        ConfigError: `algorithm` names nothing.
    """
    return not config.is_finished and controller(config) is None


def finished_expert(config: ExpertConfig, evaluator: Evaluator, handed: Handed | None = None) -> Finished:
    """The expert that an experiment names and does not train.

    Args:
        config: The experiment's values, for which `is_trained` is False.
        evaluator: Knows the environment, and its scripted expert.
        handed: The expert itself, if `decentralize` was given it.

    Raises:
        ExpertError: There is no such expert for this environment, or it does not fit the team.
        StorageError: A file is missing or torn, or may not be loaded without trust.
    """
    venv = evaluator.venv
    if handed is not None:
        return _handed(config, venv, handed)
    if config.algorithm == SCRIPTED:
        if evaluator.reference is None:
            where = evaluator.experiment.env.id
            raise ExpertError(f"expert.algorithm: there is no scripted expert for env.id {where!r}")
        return Finished(evaluator.reference)
    if config.algorithm == GIVEN:
        raise StorageError(
            "expert.algorithm: the expert was handed to decentralize() in memory, and no file holds it"
        )
    if config.path is None:
        return Finished(_adapted(config, venv, _made(config, venv.team)))
    return _read(config, venv, found_file(config.path))


def _handed(config: ExpertConfig, venv: JointVecEnv, handed: Handed) -> Finished:
    model = handed.controller if isinstance(handed.controller, BaseAlgorithm) else None
    statistics = handed.normalization
    if statistics is None and model is not None:
        statistics = model.get_vec_normalize_env()
    expert = _adapted(config, venv, handed.controller, statistics)
    return Finished(expert, model, {} if statistics is None else {NORMALIZATION: statistics})


def _read(config: ExpertConfig, venv: JointVecEnv, path: Path) -> Finished:
    if config.algorithm in {ONNX, TORCHSCRIPT}:
        found = load_onnx(path) if config.algorithm == ONNX else load_torchscript(path, trust=config.trust)
        policy = found if isinstance(found, BasePolicy) else None
        return Finished(_adapted(config, venv, found), policy, {f"{NETWORK}{path.suffix}": path})
    known = known_spaces(venv.team, declared_split(venv))
    policy = load_sb3(path, saved_class(config.algorithm), trust=config.trust, known=known)
    files, statistics = {MODEL: path}, None
    if config.normalization is not None:
        files[NORMALIZATION] = found_file(config.normalization)
        statistics = load_normalization(files[NORMALIZATION], trust=config.trust)
    model = policy if isinstance(policy, BasePolicy) else None
    try:
        return Finished(_adapted(config, venv, policy, statistics), model, files)
    except ExpertError as error:
        raise type(error)(f"{path}: {error}") from None


def stored_expert(config: ExpertConfig, evaluator: Evaluator, folder: RunFolder) -> Finished:
    """The same expert, from the files that a run kept of it; the run folder's own files are trusted.

    Raises:
        StorageError: A file is missing or torn, no file ever held it, or it does not fit the environment.
    """
    files = folder.path / EXPERT
    changes: dict[str, Any] = {"trust": True}
    if config.path is not None:
        kept = files / MODEL
        if config.algorithm in {ONNX, TORCHSCRIPT}:
            kept = files / f"{NETWORK}{Path(config.path).suffix}"
        changes["path"] = str(kept)
        if config.normalization is not None or (files / NORMALIZATION).exists():
            changes["normalization"] = str(files / NORMALIZATION)
    try:
        return finished_expert(config.model_copy(update=changes), evaluator)
    except ExpertError as error:
        raise StorageError(f"{folder.path}: {error}") from error


def _made(config: ExpertConfig, team: TeamSpaces) -> Any:
    """What `module:name` names: a class is made, anything else is the controller itself."""
    found = controller(config)
    if not isinstance(found, type):
        return found
    takes_team = "team" in inspect.signature(found).parameters
    try:
        return found(**config.kwargs, **({"team": team} if takes_team else {}))
    except TypeError as error:
        raise ExpertError(f"expert.algorithm: {config.algorithm}: {error}") from error


def _adapted(
    config: ExpertConfig, venv: JointVecEnv, found: Any, normalization: VecNormalize | None = None
) -> Expert:
    return adapt_expert(
        found,
        venv.team,
        view=config.action_view,
        outputs=config.outputs,
        communicates=config.communicates,
        normalization=normalization,
        split=declared_split(venv),
    )
