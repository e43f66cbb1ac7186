"""Experts that a run does not train: scripted, of a class, loaded from a file, or in memory."""

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
from cesma_sb3.config.schema import (
    IN_MEMORY,
    ONNX,
    SCRIPTED,
    TORCHSCRIPT,
    TRAJECTORIES,
    Experiment,
    ExpertConfig,
)
from cesma_sb3.envs import undivided_view
from cesma_sb3.envs.experience import Experience
from cesma_sb3.envs.joint_vec_env import JointVecEnv
from cesma_sb3.errors import ExpertError, NotKeptWarning, StorageError, message_of
from cesma_sb3.experts import Expert, adapt_expert, reference_expert
from cesma_sb3.experts.adapt import known_spaces
from cesma_sb3.experts.loading import load_normalization, load_onnx, load_sb3, load_torchscript, resolve_file
from cesma_sb3.experts.scripted.focus_fire import FocusFireExpert
from cesma_sb3.imitation.recorded_expert import recorded_expert
from cesma_sb3.imitation.recordings import Recording, load_recording, save_recording
from cesma_sb3.imitation.visited_states import VisitedArrays, save_states
from cesma_sb3.spaces.team_spaces import TeamSpaces
from cesma_sb3.training.evaluator import Evaluator
from cesma_sb3.training.experiment_files import (
    EXPERIENCE,
    MODEL,
    NORMALIZATION,
    RECORDING,
    kept_files,
    names_a_team,
)
from cesma_sb3.training.others import find_team
from cesma_sb3.training.run_folder import RunFolder
from cesma_sb3.utils import modules


@dataclasses.dataclass(frozen=True)
class PretrainedExpert:
    """An expert that is not trained in this run."""

    expert: Expert
    model: BaseAlgorithm | BasePolicy | None = None
    """The SB3 algorithm or policy, if it is one."""
    experience: Experience | None = None
    """States that come with it, and have labels; None: there are none."""


@dataclasses.dataclass(frozen=True)
class InMemoryExpert:
    """A controller in memory, as `decentralize` takes it."""

    controller: Any
    """An algorithm or policy of SB3, a function, or another controller that `adapt_expert` takes."""
    normalization: VecNormalize | None = None
    """Statistics that normalize its observations, if they are normalized."""

    @property
    def savers(self) -> dict[str, Callable[[str], object]]:
        """What writes its files, by their names below a run folder."""
        found: dict[str, Callable[[str], object]] = {}
        if isinstance(self.controller, Recording):
            found[f"{RECORDING}.npz"] = partial(save_recording, self.controller.arrays)
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


def keep_input_files(
    folder: RunFolder,
    experiment: Experiment,
    in_memory: InMemoryExpert | None = None,
    states: VisitedArrays | None = None,
) -> None:
    """Copies every file that a run needs into its folder, before its first stage.

    Args:
        folder: The run folder.
        experiment: The experiment as it was before it had a folder: its files are anywhere.
        in_memory: The expert itself, if `decentralize` took one in memory.
        states: States that the expert labels, if `decentralize` took them in memory.

    Raises:
        StorageError: There is no such file, or the controller cannot be saved.
    """
    for run_dir in (experiment.expert.init_from, experiment.students.init_from):
        if run_dir is not None:
            RunFolder.open(run_dir)  # raises an error that says what is wrong with it
    others = experiment.env.others
    if others is not None and names_a_team(others):
        find_team(others)  # as above
    if experiment.expert.algorithm == TRAJECTORIES and in_memory is None:
        load_recording(Path(str(experiment.expert.path)))  # as above
    savers = {} if in_memory is None else in_memory.savers
    if states is not None:
        savers[EXPERIENCE] = partial(save_states, states)
    for name, source in kept_files(experiment).items():
        folder.keep(name, partial(_save, savers[name]) if name in savers else source)
    if experiment.expert.algorithm == IN_MEMORY:
        folder.note(not_kept="the expert, which was in memory alone")
        warnings.warn(
            f"{folder.path}: this expert is in memory alone: without it the run can neither resume nor be "
            "measured again (an SB3 model, or a function of a module, is kept)",
            NotKeptWarning,
            stacklevel=2,
        )


def save_model(model: Any, path: Path | str) -> None:
    """Saves an SB3 model, and closes the file also where that fails, which SB3 does not."""
    with Path(path).open("wb") as file:
        model.save(file)


def _save(save: Callable[[str], object], path: Path) -> None:
    try:
        save(str(path))
    except Exception as error:  # whatever pickling raises
        raise StorageError(f"expert: it cannot be saved with the run: {message_of(error)}") from error


def make_pretrained(
    config: ExpertConfig,
    evaluator: Evaluator,
    in_memory: InMemoryExpert | None = None,
    *,
    capacity: int = 2**53,
) -> PretrainedExpert:
    """Makes the expert that an experiment names and does not train: in a new run, a resumed one, and later.

    Args:
        config: The expert's part of the experiment, for which `is_trained` is False. Its files are the run
            folder's; in a new run, those that they are copied from.
        evaluator: Has the environment, whose team the expert controls, and its scripted expert.
        in_memory: The expert itself, if `decentralize` took one in memory.
        capacity: Of recorded trajectories, the most steps that students learn from, the newest.

    Raises:
        ExpertError: There is no such expert for this environment, or it does not fit the team.
        StorageError: A file is missing or torn, or may not be loaded without trust.
    """
    venv = evaluator.venv
    if config.algorithm == TRAJECTORIES:
        assert config.path is not None
        held = None if in_memory is None else in_memory.controller.arrays
        arrays = load_recording(Path(config.path)) if held is None else held
        whole = undivided_view(venv)
        expert, experience = recorded_expert(
            arrays, venv.team, capacity, view=config.action_view, undivided=whole
        )
        return PretrainedExpert(expert, experience=experience)
    if in_memory is not None:
        model = in_memory.controller if isinstance(in_memory.controller, BaseAlgorithm) else None
        return PretrainedExpert(_adapt(config, venv, in_memory.controller, in_memory.normalization), model)
    if config.algorithm == SCRIPTED:
        if evaluator.reference is None:
            raise ExpertError(
                f"expert.algorithm: there is no scripted expert for env.id {evaluator.env.id!r}"
            )
        return PretrainedExpert(_scripted(config, evaluator, evaluator.reference))
    if config.algorithm == IN_MEMORY:
        raise StorageError(
            "expert.algorithm: the expert was handed to decentralize() in memory, and no file holds it"
        )
    if config.path is None:
        return PretrainedExpert(_adapt(config, venv, _instantiate(config, venv.team)))
    return _load(config, venv, resolve_file(config.path))


def _scripted(config: ExpertConfig, evaluator: Evaluator, reference: Expert) -> Expert:
    """The reference itself, or one with the experiment's arguments in place of the reference's."""
    if not config.kwargs:
        return reference
    if isinstance(reference, FocusFireExpert):
        raise ExpertError(
            f"expert.kwargs: the scripted expert of a battle takes none, got {', '.join(config.kwargs)}"
        )
    kwargs = {"collision_cost": evaluator.config.reference_collision_cost, **config.kwargs}
    expert = reference_expert(evaluator.venv, **kwargs)
    assert expert is not None
    return expert


def _load(config: ExpertConfig, venv: JointVecEnv, path: Path) -> PretrainedExpert:
    if config.trust and config.algorithm != ONNX:
        modules.reach()  # what is pickled may be of the user's own modules
    if config.algorithm in {ONNX, TORCHSCRIPT}:
        loaded = load_onnx(path) if config.algorithm == ONNX else load_torchscript(path, trust=config.trust)
        return PretrainedExpert(
            _adapt(config, venv, loaded), loaded if isinstance(loaded, BasePolicy) else None
        )
    known = known_spaces(venv.team, undivided_view(venv))
    policy = load_sb3(path, saved_class(config.algorithm), trust=config.trust, known=known)
    statistics = None
    if config.normalization is not None:
        statistics = load_normalization(resolve_file(config.normalization), trust=config.trust)
    model = policy if isinstance(policy, BasePolicy) else None
    try:
        return PretrainedExpert(_adapt(config, venv, policy, statistics), model)
    except ExpertError as error:
        raise type(error)(f"{path}: {error}") from None


def _instantiate(config: ExpertConfig, team: TeamSpaces) -> Any:
    """The controller that `module:name` names; a class is instantiated."""
    named = controller(config)
    if not isinstance(named, type):
        return named
    takes_team = "team" in inspect.signature(named).parameters
    try:
        return named(**config.kwargs, **({"team": team} if takes_team else {}))
    except TypeError as error:
        raise ExpertError(f"expert.algorithm: {config.algorithm}: {error}") from error


def _adapt(
    config: ExpertConfig, venv: JointVecEnv, brought: Any, normalization: VecNormalize | None = None
) -> Expert:
    return adapt_expert(
        brought,
        venv.team,
        view=config.action_view,
        outputs=config.outputs,
        communicates=config.communicates,
        normalization=normalization,
        undivided=undivided_view(venv),
    )
