"""Loads what a run trained, without running code from its files and without starting an environment.

A pretrained expert is the exception: its files, which the run keeps, are loaded as for a new run
(`pretrained.make_pretrained`).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch as th
from stable_baselines3.common.base_class import BaseAlgorithm
from torch import nn

from cesma_sb3.config.resolve import student_module
from cesma_sb3.config.schema import Experiment
from cesma_sb3.envs import undivided_view
from cesma_sb3.envs.joint_vec_env import attribute
from cesma_sb3.errors import ExpertError, StorageError
from cesma_sb3.experts import Expert
from cesma_sb3.policies import TeamEnsemble, TeamPolicy, load_team
from cesma_sb3.policies.networks.factory import NetworkSpec
from cesma_sb3.policies.save_util import WEIGHTS, check_owners, load_actors, load_weights
from cesma_sb3.spaces.team_spaces import TeamSpaces
from cesma_sb3.training.acting_mode import in_acting_mode
from cesma_sb3.training.evaluator import Evaluator
from cesma_sb3.training.models import StandInVecEnv, as_expert, expert_env, make_model
from cesma_sb3.training.pretrained import InMemoryExpert, is_trained, make_pretrained
from cesma_sb3.training.run_folder import EXPERT, EXPERT_WEIGHTS, RUN, STUDENTS, RunFolder


def load_students(folder: RunFolder, team: TeamSpaces | None = None) -> TeamPolicy | TeamEnsemble:
    """Loads the students of a run.

    Args:
        folder: The run folder.
        team: The team that they are to act for (`load_team`); None: the one that they were trained in.

    Raises:
        StorageError: The run did not get that far, a file is torn, or the weights belong to other agents.
        ConfigError: Custom networks are of a class that does not exist.
        UntrustedError: They are of a class that the folder brings along (`RunFolder.load`).
    """
    folder.check_reached(STUDENTS)
    folder.ask({"students.module"})
    return load_team(folder.path / STUDENTS, team=team, module=student_module(folder.experiment.students))


def load_expert(folder: RunFolder, experiment: Experiment, evaluator: Evaluator) -> Expert:
    """Loads the expert of a run, which acts in the mode that was chosen for it.

    A trained expert is made again from the experiment, on a stand-in for its environments, and is given the
    weights in the folder.

    Args:
        folder: The run folder.
        experiment: As `RunFolder.load` returns it.
        evaluator: Its environment has the team that the expert is to act for.

    Raises:
        StorageError: The run did not get that far, a file is torn, or the expert was never in one.
    """
    config, team = experiment.expert, evaluator.venv.team
    if is_trained(config):
        config = config.model_copy(update={"information_cost": None})
        make = partial(StandInVecEnv, evaluator.venv, config.n_envs)
        stand_in = expert_env(
            make,
            team,
            config,
            experiment.students,
            experiment.seed,
            is_imitated=True,
            undivided=undivided_view(evaluator.venv),
        )
        # The networks only act, which the processor of any machine can.
        model = make_model(config, stand_in, experiment.seed, th.device("cpu"), trains=False)
        file = f"{EXPERT}/{EXPERT_WEIGHTS}"
        load_weights(model.policy, _weights_of(folder, file, model.policy, team.agents))
        expert = as_expert(model, stand_in)
    else:
        if config.path is not None and folder.agents is not None:
            check_owners(folder.agents, team.agents, folder.path / EXPERT)
        try:
            expert = make_pretrained(config, evaluator).expert
        except ExpertError as error:
            raise StorageError(f"{folder.path}: {error}") from error
    return in_acting_mode(expert, config, folder, evaluator)


def load_initial_expert(model: BaseAlgorithm, run_dir: str | None, agents: Sequence[str]) -> None:
    """Gives a new expert the weights of another run's, if a run is named.

    Args:
        model: The new expert.
        run_dir: The other run folder; None changes nothing.
        agents: The new expert's agents, in their order.

    Raises:
        StorageError: There are none, or they belong to other agents or are of another network.
    """
    if run_dir is not None:
        file = f"{EXPERT}/{EXPERT_WEIGHTS}"
        load_weights(model.policy, _weights_of(RunFolder.open(run_dir), file, model.policy, agents))


def load_initial_students(policy: TeamPolicy, run_dir: str | None) -> None:
    """Gives new students the weights of another run's, if a run is named.

    Args:
        policy: The new students.
        run_dir: The other run folder; None changes nothing.

    Raises:
        StorageError: There are none, or they belong to other agents or are of another network.
    """
    if run_dir is not None:
        file = f"{STUDENTS}/{WEIGHTS}"
        load_actors(policy, _weights_of(RunFolder.open(run_dir), file, policy, policy.team.agents))


def _weights_of(folder: RunFolder, name: str, policy: nn.Module, agents: Sequence[str]) -> Path:
    """Returns a file of weights of a run, if these belong to a policy's agents, or fit any agent.

    Args:
        folder: The run folder.
        name: Name of the file.
        policy: The policy that is to have the weights.
        agents: Its agents, in its order.

    Raises:
        StorageError: They belong to other agents, or the run did not get that far.
    """
    folder.check_reached(Path(name).parts[0])
    spec = getattr(policy, "spec", None)
    fits_any_agent = isinstance(spec, NetworkSpec) and spec.fits_any_team
    if folder.agents is not None and not fits_any_agent:
        check_owners(folder.agents, agents, folder.path / name)
    return folder.path / name


def expert_agents(experiment: Experiment, in_memory: InMemoryExpert | None) -> tuple[str, ...] | None:
    """Returns the agents of a pretrained expert, in its order; None where nobody knows.

    A model in memory still has the environments that it was trained in; a file of a run has the run.

    Args:
        experiment: The experiment as it was before it had a folder: its files are anywhere.
        in_memory: The expert itself, if `decentralize` took one in memory.
    """
    model = None if in_memory is None else in_memory.controller
    if isinstance(model, BaseAlgorithm) and model.env is not None and not getattr(model.env, "closed", False):
        team = attribute(model.env, "team")
        return team.agents if isinstance(team, TeamSpaces) else None
    path = None if in_memory is not None or experiment.expert.path is None else Path(experiment.expert.path)
    if path is None or path.parent.name != EXPERT or not (path.parent.parent / RUN).is_file():
        return None
    return RunFolder.open(path.parent.parent).agents


def initial_agents(experiment: Experiment) -> tuple[str, ...] | None:
    """Returns the agents of the run whose weights an experiment starts from, in order; None if there is none.

    Raises:
        StorageError: It is no run.
    """
    for run_dir in (experiment.expert.init_from, experiment.students.init_from):
        if run_dir is not None:
            return RunFolder.open(run_dir).agents
    return None
