"""From an experiment's values to untrained models, and from models to what labels or is the whole team."""

from __future__ import annotations

import inspect
from functools import partial
from typing import Any

import numpy as np
import torch as th
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.noise import NormalActionNoise
from stable_baselines3.common.utils import get_device

from cesma_sb3.config.resolve import (
    activation_class,
    algorithm_class,
    loss_class,
    policy_class,
    student_module,
)
from cesma_sb3.config.schema import DaggerConfig, Experiment, ExpertConfig, StudentsConfig
from cesma_sb3.envs.joint_vec_env import JointVecEnv
from cesma_sb3.envs.vec_wrappers import MessageFreeVecEnv
from cesma_sb3.errors import CesmaError, ConfigError, ExpertError, error_line, message_of
from cesma_sb3.experts import Expert, MessageFreeExpert, SB3Expert
from cesma_sb3.imitation.information_cost import InformationCostVecEnv
from cesma_sb3.policies import TeamPolicy, Visibility
from cesma_sb3.policies.networks.factory import NetworkSpec, make_net
from cesma_sb3.spaces.team_spaces import TeamSpaces
from cesma_sb3.spaces.team_views import has_messages
from cesma_sb3.training.evaluator import joint_env
from cesma_sb3.utils.signatures import arguments_of


def expert_env(experiment: Experiment, team: TeamSpaces, seed: int) -> JointVecEnv:
    """What the expert is trained on: the experiment's environment, in the expert's action view.

    An expert sees the whole team and has no need to talk: messages are left out of what it sees and does,
    unless it is to use them. A baseline's agents do.

    Args:
        experiment: As resolved.
        team: The environment's, whose order of agents this one keeps.
        seed: Of the environments.

    Raises:
        ConfigError: The expert has an information cost, and these students cannot be predicted.

    Source: section 4.4 (the labels are of physical observations, for physical actions).
    """
    config = experiment.expert
    if config.communicates or experiment.dagger is None or not has_messages(team):
        venv = joint_env(experiment, config.n_envs, seed, config.action_view, agents=team.agents)
        return venv if config.information_cost is None else _information_cost(experiment, venv, seed)
    if config.information_cost is not None:
        raise ConfigError(
            "information_cost: expected agents that do not communicate: others tell what one sees not"
        )
    return MessageFreeVecEnv(
        joint_env(experiment, config.n_envs, seed, agents=team.agents), config.action_view
    )


def _information_cost(experiment: Experiment, venv: JointVecEnv, seed: int) -> InformationCostVecEnv:
    config = experiment.expert.information_cost
    assert config is not None
    spec = students_spec(experiment.students)
    try:
        return InformationCostVecEnv(venv, spec=spec, seed=seed, **config.model_dump())
    except ConfigError:
        venv.close()
        raise


def find_device(experiment: Experiment) -> th.device:
    """Where the experiment's networks learn.

    Raises:
        ConfigError: There is no such device here.
    """
    if experiment.device == "auto":
        return get_device("auto")
    try:
        return th.zeros(0, device=experiment.device).device
    except (AssertionError, RuntimeError) as error:  # of a PyTorch without it, or a machine
        wrong = f"{experiment.device} is not here, expected cpu or auto"
        raise ConfigError(f"device: {wrong}: {message_of(error)}") from None


def make_model(experiment: Experiment, venv: JointVecEnv, seed: int) -> BaseAlgorithm:
    """The untrained SB3 algorithm that the experiment names.

    Raises:
        ConfigError: The experiment's device is not here.
        ExpertError: The algorithm refuses an argument, or the environment.
    """
    config = experiment.expert
    algorithm = algorithm_class(config.algorithm)
    policy = policy_class(algorithm, config.policy)
    kwargs, policy_kwargs = dict(config.kwargs), dict(config.policy_kwargs)
    # What YAML cannot say: SB3 wants [4, episode] as a tuple, activations as classes, and noise as an object.
    if isinstance(kwargs.get("train_freq"), list):
        kwargs["train_freq"] = tuple(kwargs["train_freq"])
    if config.learning_rate_final < 1:
        kwargs["learning_rate"] = partial(falling, kwargs["learning_rate"], config.learning_rate_final)
    if isinstance(kwargs.get("action_noise"), float):  # its standard deviation, of actions scaled to [-1, 1]
        size = venv.action_space.shape
        assert size is not None
        kwargs["action_noise"] = NormalActionNoise(np.zeros(size), np.full(size, kwargs["action_noise"]))
    if isinstance(policy_kwargs.get("activation_fn"), str):
        policy_kwargs["activation_fn"] = activation_class(policy_kwargs["activation_fn"])
    if "team" in inspect.signature(policy.__init__).parameters:
        policy_kwargs["team"] = venv.team
    if "device" in arguments_of(algorithm):
        kwargs.setdefault("device", find_device(experiment))
    try:
        return algorithm(policy, venv, policy_kwargs=policy_kwargs, seed=seed, **kwargs)
    except (AssertionError, TypeError, ValueError) as error:  # what SB3 says of arguments, in its own words
        raise ExpertError(f"expert: {algorithm.__name__}: {message_of(error)}") from error


def check_masks(config: ExpertConfig, venv: JointVecEnv) -> None:
    """Whether an algorithm keeps to the actions that are available, if the environment says which these are.

    sb3-contrib's algorithms that do so have `use_masking` in `learn`; of others, the class says `uses_masks`.

    Args:
        config: Of an expert that is trained.
        venv: The environment; it may be reset.

    Raises:
        ConfigError: It would train on actions that cannot be done.
    """
    algorithm = algorithm_class(config.algorithm)
    if (
        getattr(algorithm, "uses_masks", False)
        or "use_masking" in inspect.signature(algorithm.learn).parameters
    ):
        return
    if not venv.team.has_masks:
        venv.reset()  # masks may come with the infos
    if venv.replaces_unavailable or not (venv.team.has_masks or venv.agent_masks is not None):
        return
    raise ConfigError(
        f"expert.algorithm: {algorithm.__name__} does not know action masks, which this environment has; "
        "expected MaskablePPO or RecurrentFactoredDQN (a class of yours that keeps to them has uses_masks = "
        "True), or an environment that replaces what is unavailable (of battles, env.kwargs.unavailable: "
        "replace)"
    )


def falling(start: float, final_fraction: float, progress_remaining: float) -> float:
    """From `start` linearly down to a fraction of it as the remaining progress goes from 1 to 0."""
    return start * (final_fraction + (1.0 - final_fraction) * progress_remaining)


def as_expert(model: BaseAlgorithm, venv: JointVecEnv, team: TeamSpaces) -> Expert:
    """A model as what labels the whole team's observations.

    Args:
        model: Trained, or to be.
        venv: What it is trained on.
        team: The team that it labels.
    """
    expert = SB3Expert(model, venv.team, venv.view)
    return expert if venv.team == team else MessageFreeExpert(expert, team)


def own_team(model: BaseAlgorithm) -> TeamPolicy:
    """The actors of a model, each on its own agent's observation, as a team that acts.

    Raises:
        ExpertError: They see more, or cannot be taken apart.
    """
    policy = model.policy
    found = policy if isinstance(policy, TeamPolicy) else getattr(policy, "team_policy", None)
    if found is None:
        raise ExpertError(
            f"dagger: null: {type(model).__name__} has no actors of each agent's own; expected an algorithm "
            "with `actor_visibility: own`, or dagger to imitate it"
        )
    team = found if isinstance(found, TeamPolicy) else found()
    if team.actor_visibility != "own":
        raise ExpertError(
            "dagger: null: the actors see the whole team; expected policy_kwargs.actor_visibility: own, or "
            "dagger to imitate them"
        )
    assert isinstance(team, TeamPolicy)
    return team


def make_students(
    experiment: Experiment, team: TeamSpaces, learning_rate: float, sees: Visibility = "own"
) -> TeamPolicy:
    """The untrained students; with `sees="joint"`, as if each saw what all see.

    Raises:
        ConfigError: The experiment's device is not here.
    """
    spec = students_spec(experiment.students)
    policy = TeamPolicy(
        team.observation_space,
        team.action_space,
        lambda _: learning_rate,
        team=team,
        actor_visibility=sees,
        **spec.arguments(),
    )
    if sees == "joint":
        # As many networks as the students have: one that gave the whole team's actions would have less room.
        net = make_net(team, sees, team.output_sizes, spec, for_each_agent=True)
        policy.action_net = net.to(policy.device)
    return policy.to(find_device(experiment))


def make_loss(config: DaggerConfig, policy: TeamPolicy) -> Any:
    """The loss of the user's class that an experiment names, or the name of one of ours.

    Raises:
        ConfigError: The class cannot be made.
    """
    if config.loss_class is None:
        return config.loss
    try:
        return loss_class(config.loss_class)(policy.team, policy.head, **config.loss_kwargs)
    except CesmaError:
        raise
    except Exception as error:  # whatever a foreign class raises
        raise ConfigError(f"dagger.loss_class: {config.loss_class}: {error_line(error)}") from error


def students_spec(config: StudentsConfig) -> NetworkSpec:
    """How the students' networks are built."""
    return NetworkSpec(
        kind=config.network,
        hidden_sizes=config.hidden_sizes,
        activation=activation_class(config.activation),
        share_parameters=config.share_parameters,
        use_agent_id=config.use_agent_id,
        module=student_module(config),
        module_kwargs=config.kwargs,
    )
