"""Reading back what a run trained, without running code from its files."""

from __future__ import annotations

from safetensors import SafetensorError
from safetensors.torch import load_file

from cesma_sb3.config import SCRIPTED
from cesma_sb3.errors import StorageError
from cesma_sb3.experts import Expert, SB3Expert
from cesma_sb3.joint.actions import make_view
from cesma_sb3.networks import TeamPolicy, load_team
from cesma_sb3.runs import EXPERT, EXPERT_WEIGHTS, STUDENTS, RunFolder
from cesma_sb3.stages import Evaluator, joint_env, make_model


def load_students(folder: RunFolder) -> TeamPolicy:
    """The students of a run.

    Raises:
        StorageError: The run did not get that far, or a file is torn.
    """
    return load_team(folder.path / STUDENTS)


def load_expert(folder: RunFolder, evaluator: Evaluator) -> Expert:
    """The expert of a run: built anew from the experiment, then given the weights that were kept.

    Raises:
        StorageError: The run did not get that far, or a file is torn.
    """
    experiment = evaluator.experiment
    if experiment.expert.algorithm == SCRIPTED:
        if evaluator.reference is None:
            raise StorageError(f"{folder.path}: there is no scripted expert for env.id {experiment.env.id!r}")
        return evaluator.reference
    config = experiment.expert  # as many environments as in training: some algorithms' arguments count on it
    venv = joint_env(experiment, config.n_envs, experiment.seed, config.action_view)
    path = folder.path / EXPERT / EXPERT_WEIGHTS
    try:
        model = make_model(experiment, venv, experiment.seed)
        model.policy.load_state_dict(load_file(path))
    except (OSError, RuntimeError, ValueError, SafetensorError) as error:
        raise StorageError(f"{path}: cannot be read: {str(error).splitlines()[0]}") from None
    finally:
        venv.close()
    return SB3Expert(model, venv.team, make_view(experiment.expert.action_view, venv.team))
