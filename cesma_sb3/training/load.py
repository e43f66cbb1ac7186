"""Reading back what a run trained, without running code from its files.

An expert that was finished before the run is the exception: its files, which the run keeps, are read as
`given` reads them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from stable_baselines3.common.base_class import BaseAlgorithm
from torch import nn

from cesma_sb3.config.resolve import student_module
from cesma_sb3.config.schema import Experiment
from cesma_sb3.envs.joint_vec_env import attribute
from cesma_sb3.errors import ExpertError, StorageError
from cesma_sb3.experts import Expert
from cesma_sb3.policies import TeamEnsemble, TeamPolicy, load_team
from cesma_sb3.policies.networks.factory import NetworkSpec
from cesma_sb3.policies.save_util import WEIGHTS, check_owners, load_weights
from cesma_sb3.spaces.team_spaces import TeamSpaces
from cesma_sb3.training import state as state_module
from cesma_sb3.training.acting_mode import expert_in_its_way
from cesma_sb3.training.build import as_expert, expert_env, make_loss, make_model, make_students
from cesma_sb3.training.evaluator import Evaluator
from cesma_sb3.training.pretrained import Handed, finished_expert, is_trained
from cesma_sb3.training.run_folder import EXPERT, EXPERT_WEIGHTS, RUN, STUDENTS, RunFolder
from cesma_sb3.utils.closing import closing
from cesma_sb3.utils.torch_defaults import own_generators


def load_students(folder: RunFolder, team: TeamSpaces | None = None) -> TeamPolicy | TeamEnsemble:
    """The students of a run.

    Args:
        folder: The run.
        team: The team that they are to act for (`load_team`); None: the one that they were trained in.

    Raises:
        StorageError: The run did not get that far, a file is torn, or the weights belong to other agents.
        ConfigError: Custom networks are of a class that there is not.
        UntrustedError: They are of a class that the folder brings along: see `RunFolder.load`.
    """
    folder.ask({"students.module"})
    return load_team(folder.path / STUDENTS, team=team, module=student_module(folder.experiment.students))


def load_expert(folder: RunFolder, evaluator: Evaluator) -> Expert:
    """The expert of a run, in its way: built anew from the experiment, then given the weights that were kept.

    Args:
        folder: The run.
        evaluator: Of its experiment, as `RunFolder.load` gives it.

    Raises:
        StorageError: The run did not get that far, a file is torn, or the expert was never in one.
    """
    # The networks only act, which the processor of any machine can.
    experiment, agents = evaluator.experiment.model_copy(update={"device": "cpu"}), evaluator.venv.team.agents
    if not is_trained(experiment.expert):
        if experiment.expert.path is not None and folder.agents is not None:
            check_owners(folder.agents, agents, folder.path / EXPERT)
        try:
            expert = finished_expert(experiment.expert, evaluator).expert
        except ExpertError as error:
            raise StorageError(f"{folder.path}: {error}") from error
        return expert_in_its_way(expert, folder, evaluator)
    # As many environments as in training: some algorithms' arguments count on it.
    with closing(expert_env(experiment, evaluator.venv.team, experiment.seed)) as venv:
        model = make_model(experiment, venv, experiment.seed)
        _load_own(model.policy, agents, folder, f"{EXPERT}/{EXPERT_WEIGHTS}")
        return expert_in_its_way(as_expert(model, venv, evaluator.venv.team), folder, evaluator)


def _load_own(policy: nn.Module, agents: Sequence[str], folder: RunFolder, name: str) -> None:
    """Gives a policy the weights in a file of a run, if they are its agents' or anybody's.

    Args:
        policy: Whose weights are replaced.
        agents: Its agents, in its order.
        folder: The run.
        name: Of the file.

    Raises:
        StorageError: There is no such file, or its weights belong to other agents or are of another network.
    """
    spec = getattr(policy, "spec", None)
    anybodys = isinstance(spec, NetworkSpec) and spec.is_anybodys
    if folder.agents is not None and not anybodys:
        check_owners(folder.agents, agents, folder.path / name)
    load_weights(policy, folder.path / name)


def expert_agents(experiment: Experiment, handed: Handed | None) -> tuple[str, ...] | None:
    """The agents of an expert that is not trained here, in its order; None where nobody says.

    A model in memory still has the environments that it was trained in; a file of a run has the run.

    Args:
        experiment: As it was before it had a folder: its files are anywhere.
        handed: The expert itself, if `decentralize` was given it.
    """
    model = None if handed is None else handed.controller
    if isinstance(model, BaseAlgorithm) and model.env is not None and not getattr(model.env, "closed", False):
        team = attribute(model.env, "team")
        return team.agents if isinstance(team, TeamSpaces) else None
    path = None if handed is not None or experiment.expert.path is None else Path(experiment.expert.path)
    if path is None or path.parent.name != EXPERT or not (path.parent.parent / RUN).is_file():
        return None
    return RunFolder.open(path.parent.parent).agents


def initial_agents(experiment: Experiment) -> tuple[str, ...] | None:
    """The order of agents in the run whose weights an experiment starts from; None if it starts from none.

    Raises:
        StorageError: It is no run.
    """
    for run_dir in (experiment.expert.init_from, experiment.students.init_from):
        if run_dir is not None:
            return RunFolder.open(run_dir).agents
    return None


def start_expert(model: BaseAlgorithm, run_dir: str | None, agents: Sequence[str]) -> None:
    """Gives a new expert of these agents the weights of another run's, if a run is named.

    Raises:
        StorageError: There are none, or they belong to other agents or are of another network.
    """
    if run_dir is not None:
        _load_own(model.policy, agents, RunFolder.open(run_dir), f"{EXPERT}/{EXPERT_WEIGHTS}")


def try_students(experiment: Experiment, team: TeamSpaces) -> None:
    """Builds the students and throws them away: what is wrong with them is told before an expert is trained.

    Raises:
        CesmaError: These networks don't fit the team, there are no weights that they could start from, their
            loss cannot be made, or a checkpoint cannot hold its state or that of the networks.
    """
    if experiment.dagger is None:
        return
    made = []
    brings_classes = experiment.dagger.loss_class is not None or experiment.students.module is not None
    with own_generators():
        for _ in range(2 if brings_classes else 1):
            policy = make_students(experiment, team, experiment.dagger.learning_rate)
            start_students(policy, experiment.students.init_from)
            made.append({"students": policy, "dagger.loss_class": make_loss(experiment.dagger, policy)})
        if brings_classes and experiment.checkpoint.is_written:
            state_module.restore(made[1], *state_module.capture(made[0]))  # as if it were interrupted here


def start_students(policy: TeamPolicy, run_dir: str | None) -> None:
    """Gives new students the weights of another run's, if a run is named.

    Raises:
        StorageError: There are none, or they belong to other agents or are of another network.
    """
    if run_dir is not None:
        _load_own(policy, policy.team.agents, RunFolder.open(run_dir), f"{STUDENTS}/{WEIGHTS}")
