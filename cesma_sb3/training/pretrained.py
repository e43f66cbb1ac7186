"""Experts that a run finds finished: scripted, of a class, read from a file, or handed over."""

from __future__ import annotations

import dataclasses
import inspect
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.vec_env import VecNormalize

from cesma_sb3.config.resolve import controller, saved_class
from cesma_sb3.config.schema import IN_MEMORY, ONNX, SCRIPTED, TORCHSCRIPT, Experiment, ExpertConfig
from cesma_sb3.envs import undivided_view
from cesma_sb3.envs.joint_vec_env import JointVecEnv
from cesma_sb3.errors import ExpertError, NotKeptWarning, StorageError, message_of
from cesma_sb3.experts import Expert, adapt_expert
from cesma_sb3.experts.adapt import known_spaces
from cesma_sb3.experts.loading import found_file, load_normalization, load_onnx, load_sb3, load_torchscript
from cesma_sb3.spaces.team_spaces import TeamSpaces
from cesma_sb3.training.evaluator import Evaluator
from cesma_sb3.training.experiment_files import MODEL, NORMALIZATION, kept_files
from cesma_sb3.training.run_folder import RunFolder
from cesma_sb3.utils import modules


@dataclasses.dataclass(frozen=True)
class Finished:
    """A controller that is not trained here."""

    expert: Expert
    model: BaseAlgorithm | BasePolicy | None = None
    """The SB3 algorithm or policy, if it is one."""


@dataclasses.dataclass(frozen=True)
class Handed:
    """A controller in memory."""

    controller: Any
    """See `adapt_expert`."""
    normalization: VecNormalize | None = None
    """Statistics that its observations are normalized by, if they are."""

    @property
    def savers(self) -> dict[str, Callable[[str], object]]:
        """What writes its files, by their names below a run folder."""
        found: dict[str, Callable[[str], object]] = {}
        if isinstance(self.controller, BaseAlgorithm):
            found[MODEL] = partial(save_model, self.controller)
        if self.normalization is not None:
            found[NORMALIZATION] = self.normalization.save
        return found


def is_trained(config: ExpertConfig) -> bool:
    """Whether the expert is an SB3 algorithm that a run trains.

    Raises:
        ConfigError: `algorithm` names nothing.
    """
    return not config.is_pretrained and controller(config) is None


def keep(folder: RunFolder, experiment: Experiment, handed: Handed | None = None) -> None:
    """Puts every file that a run needs into its folder, before its first stage.

    Args:
        folder: The run's.
        experiment: As it was before it had a folder: its files are anywhere.
        handed: The expert itself, if `decentralize` was given it.

    Raises:
        StorageError: There is no such file, or the controller cannot be saved.
    """
    for run_dir in (experiment.expert.init_from, experiment.students.init_from):
        if run_dir is not None:
            RunFolder.open(run_dir)  # says what is wrong with it
    for name, source in kept_files(experiment).items():
        in_memory = None if handed is None else handed.savers.get(name)
        folder.keep(name, source if in_memory is None else partial(_save, in_memory))
    if experiment.expert.algorithm == IN_MEMORY:
        folder.note(not_kept="the expert, which was in memory alone")
        warnings.warn(
            f"{folder.path}: this expert is in memory alone: without it the run can neither resume nor be "
            "measured again (an SB3 model, or a function of a module, is kept)",
            NotKeptWarning,
            stacklevel=2,
        )


def save_model(model: Any, path: Path | str) -> None:
    """Saves an SB3 model; the file is closed also where that fails, in which SB3 leaves it open."""
    with Path(path).open("wb") as file:
        model.save(file)


def _save(save: Callable[[str], object], path: Path) -> None:
    try:
        save(str(path))
    except Exception as error:  # whatever pickling raises
        raise StorageError(f"expert: it cannot be saved with the run: {message_of(error)}") from error


def finished_expert(config: ExpertConfig, evaluator: Evaluator, handed: Handed | None = None) -> Finished:
    """The expert that an experiment names and does not train: in a first run, in one that resumes, and later.

    Args:
        config: The experiment's values, for which `is_trained` is False. Its files are the run folder's; in
            a first run, those that they are copied from.
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
    if config.algorithm == IN_MEMORY:
        raise StorageError(
            "expert.algorithm: the expert was handed to decentralize() in memory, and no file holds it"
        )
    if config.path is None:
        return Finished(_adapted(config, venv, _made(config, venv.team)))
    return _read(config, venv, found_file(config.path))


def _handed(config: ExpertConfig, venv: JointVecEnv, handed: Handed) -> Finished:
    model = handed.controller if isinstance(handed.controller, BaseAlgorithm) else None
    return Finished(_adapted(config, venv, handed.controller, handed.normalization), model)


def _read(config: ExpertConfig, venv: JointVecEnv, path: Path) -> Finished:
    if config.trust and config.algorithm != ONNX:
        modules.reach()  # what is pickled may be of the user's own modules
    if config.algorithm in {ONNX, TORCHSCRIPT}:
        found = load_onnx(path) if config.algorithm == ONNX else load_torchscript(path, trust=config.trust)
        policy = found if isinstance(found, BasePolicy) else None
        return Finished(_adapted(config, venv, found), policy)
    known = known_spaces(venv.team, undivided_view(venv))
    policy = load_sb3(path, saved_class(config.algorithm), trust=config.trust, known=known)
    statistics = None
    if config.normalization is not None:
        statistics = load_normalization(found_file(config.normalization), trust=config.trust)
    model = policy if isinstance(policy, BasePolicy) else None
    try:
        return Finished(_adapted(config, venv, policy, statistics), model)
    except ExpertError as error:
        raise type(error)(f"{path}: {error}") from None


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
        undivided=undivided_view(venv),
    )
