"""Reading back what a run trained, without running code from its files.

An expert that was finished before the run is the exception: its own files are read as `given` reads them.
"""

from __future__ import annotations

import torch as th
from stable_baselines3.common.base_class import BaseAlgorithm

from cesma_sb3._closing import closing
from cesma_sb3.algorithms import student_module
from cesma_sb3.config import Experiment
from cesma_sb3.experts import Expert
from cesma_sb3.given import is_trained, stored_expert
from cesma_sb3.joint.spaces import TeamSpaces
from cesma_sb3.measure import Evaluator
from cesma_sb3.models import as_expert, expert_env, make_model, make_students
from cesma_sb3.networks import TeamEnsemble, TeamPolicy, load_policy
from cesma_sb3.networks.storage import WEIGHTS, load_weights
from cesma_sb3.runs import EXPERT, EXPERT_WEIGHTS, STUDENTS, RunFolder


def load_students(folder: RunFolder, team: TeamSpaces | None = None) -> TeamPolicy | TeamEnsemble:
    """The students of a run.

    Args:
        folder: The run.
        team: A team of another size that they are to act for; None: the one that they were trained in.

    Raises:
        StorageError: The run did not get that far, a file is torn, or the networks are made for their team.
        ConfigError: Custom networks are of a class that there is not.
    """
    return load_policy(folder.path / STUDENTS, team=team, module=student_module(folder.experiment.students))


def load_expert(folder: RunFolder, evaluator: Evaluator) -> Expert:
    """The expert of a run: built anew from the experiment, then given the weights that were kept.

    Raises:
        StorageError: The run did not get that far, a file is torn, or the expert was never in one.
    """
    # The networks only act, which the processor of any machine can.
    experiment = evaluator.experiment.model_copy(update={"device": "cpu"})
    if not is_trained(experiment.expert):
        return stored_expert(experiment.expert, evaluator, folder).expert
    # As many environments as in training: some algorithms' arguments count on it.
    with closing(expert_env(experiment, evaluator.venv.team, experiment.seed)) as venv:
        model = make_model(experiment, venv, experiment.seed)
        load_weights(model.policy, folder.path / EXPERT / EXPERT_WEIGHTS)
        return as_expert(model, venv, evaluator.venv.team)


def start_expert(model: BaseAlgorithm, run_dir: str | None) -> None:
    """Gives a new expert the weights of another run's, if a run is named.

    Raises:
        StorageError: There are none, or they are of another network.
    """
    if run_dir is not None:
        load_weights(model.policy, RunFolder.open(run_dir).path / EXPERT / EXPERT_WEIGHTS)


def try_students(experiment: Experiment, team: TeamSpaces) -> None:
    """Builds the students and throws them away: what is wrong with them is told before an expert is trained.

    Raises:
        CesmaError: These networks don't fit the team, or there are no weights that they could start from.
    """
    if experiment.dagger is None:
        return
    with th.random.fork_rng(devices=[]):
        policy = make_students(experiment, team, experiment.dagger.learning_rate)
        start_students(policy, experiment.students.initial)


def start_students(policy: TeamPolicy, run_dir: str | None) -> None:
    """Gives new students the weights of another run's, if a run is named.

    Raises:
        StorageError: There are none, or they are of another network.
    """
    if run_dir is not None:
        load_weights(policy, RunFolder.open(run_dir).path / STUDENTS / WEIGHTS)
