"""Makes untrained models and students from an experiment's values, and experts and teams from models."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch as th
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.noise import NormalActionNoise
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.vec_env.base_vec_env import VecEnvIndices

from cesma_sb3.config.resolve import (
    activation_class,
    algorithm_class,
    loss_class,
    policy_class,
    student_module,
)
from cesma_sb3.config.schema import DaggerConfig, ExpertConfig, StudentsConfig
from cesma_sb3.envs.joint_vec_env import JointVecEnv, StepReturn
from cesma_sb3.envs.vec_wrappers import JointVecEnvWrapper, TeamViewVecEnv
from cesma_sb3.errors import CesmaError, ConfigError, ExpertError, error_line, message_of
from cesma_sb3.experts import Expert, SB3Expert, TranslatedExpert
from cesma_sb3.imitation.information_cost import InformationCostVecEnv
from cesma_sb3.policies import TeamPolicy, Visibility
from cesma_sb3.policies.networks.factory import NetworkSpec, make_net
from cesma_sb3.spaces.action_views import make_view
from cesma_sb3.spaces.team_spaces import TeamSpaces
from cesma_sb3.spaces.team_views import TeamView, has_messages, message_free_view
from cesma_sb3.spaces.types import Array, Flags, Masks, Observations
from cesma_sb3.utils.signatures import arguments_of
from cesma_sb3.utils.stateful import Stateful


class StandInVecEnv(JointVecEnvWrapper, Stateful):
    """Stands in for many environments that nobody steps: it has their spaces, and no state.

    No environment is started for it. Models are made on it; their stage then gives them real environments
    (`model.set_env`).

    Args:
        venv: An open environment of the same kind, which answers what a model asks of environments.
        n_envs: Number of environments that it stands for.
        view: Name of the action view.
    """

    def __init__(self, venv: JointVecEnv, n_envs: int, view: str = "joint") -> None:
        super().__init__(venv, view=make_view(view, venv.team))
        self.num_envs = n_envs

    @property
    def alive(self) -> Flags:
        """Everybody, [n_envs, n_agents]."""
        return np.ones((self.num_envs, self.team.n_agents), dtype=bool)

    @property
    def agent_masks(self) -> Masks | None:
        """Everything is available, [n_envs, mask_size]; None if the team has no masks."""
        return np.ones((self.num_envs, self.team.mask_size), dtype=bool) if self.team.has_masks else None

    def reset(self) -> Observations:
        """Returns zeros, [n_envs, observation_size] float32."""
        return np.zeros((self.num_envs, self.team.observation_size), dtype=np.float32)

    def step_wait(self) -> StepReturn:
        """Raises an error: there is nothing to step."""
        raise ConfigError("an algorithm steps its environment while it is made, before it is trained")

    def step_async(self, actions: Array) -> None:
        """Ignores the actions."""

    def seed(self, seed: int | None = None) -> list[int | None]:
        """Seeds nothing."""
        return [seed] * self.num_envs

    def close(self) -> None:
        """Leaves the environment open for others."""

    def _get_each(self, name: str, indices: VecEnvIndices) -> list[Any]:
        return self.venv.get_attr(name, 0) * len(list(self._get_indices(indices)))

    def _call_each(self, name: str, indices: VecEnvIndices, *args: Any, **kwargs: Any) -> list[Any]:
        returned = self.venv.env_method(name, *args, indices=0, **kwargs)
        return returned * len(list(self._get_indices(indices)))


def expert_env(
    make: Callable[[str], JointVecEnv],
    team: TeamSpaces,
    config: ExpertConfig,
    students: StudentsConfig,
    seed: int,
    *,
    is_imitated: bool,
    undivided: TeamView | None = None,
) -> JointVecEnv:
    """Makes the environment that an expert is trained in: in its action view, and without messages.

    An expert sees the whole team and has no need to talk: messages are left out of what it sees and does,
    unless its experiment says that it communicates. The agents of a baseline do. An environment that was
    divided into a team is whole for its expert, which then fits the environment without this package too.

    Args:
        make: Makes the environment of the whole team in an action view, given by name.
        team: The whole team.
        config: The expert's part of the experiment.
        students: The students' part, for an expert that pays for deciding by what they do not see.
        seed: Seed of the predictors that measure this cost.
        is_imitated: Whether students will imitate it; False for a baseline.
        undivided: Of a team that a joint environment was divided into, the view in which one agent has all.

    Raises:
        ConfigError: The expert has an information cost, and these students cannot be predicted.

    Source: section 4.4 (the labels are of physical observations, for physical actions).
    """
    is_alone = is_imitated and not config.communicates
    if config.information_cost is None:
        if not is_alone or (undivided is None and not has_messages(team)):
            return make(config.action_view)
        return TeamViewVecEnv(make("joint"), undivided or message_free_view(team), config.action_view)
    if is_alone and has_messages(team):
        raise ConfigError(
            "information_cost: expected agents that do not communicate: others tell what one sees not"
        )
    venv = make(config.action_view)
    try:
        return InformationCostVecEnv(
            venv, spec=students_spec(students), seed=seed, **config.information_cost.model_dump()
        )
    except ConfigError:
        venv.close()
        raise


def make_model(
    config: ExpertConfig, venv: JointVecEnv, seed: int, device: th.device, *, trains: bool = True
) -> BaseAlgorithm:
    """Makes the untrained SB3 algorithm that the experiment names.

    Args:
        config: The expert's part of the experiment.
        venv: The environment that it is trained in, or a stand-in for it.
        seed: Seed of weights and exploration.
        device: Where its networks learn.
        trains: Whether it is to be trained; else its replay buffer, if it has one, holds next to nothing, and
            it has no optimizer.

    Raises:
        ExpertError: The algorithm refuses an argument, or the environment.
    """
    algorithm = algorithm_class(config.algorithm)
    policy = policy_class(algorithm, config.policy)
    kwargs, policy_kwargs = dict(config.kwargs), dict(config.policy_kwargs)
    # What YAML cannot say: SB3 wants [4, episode] as a tuple, activations as classes, and noise as an object.
    if isinstance(kwargs.get("train_freq"), list):
        kwargs["train_freq"] = tuple(kwargs["train_freq"])
    if config.learning_rate_final < 1:
        kwargs["learning_rate"] = partial(
            linear_schedule, kwargs["learning_rate"], config.learning_rate_final
        )
    if isinstance(kwargs.get("action_noise"), float):  # its standard deviation, of actions scaled to [-1, 1]
        size = venv.action_space.shape
        assert size is not None
        kwargs["action_noise"] = NormalActionNoise(np.zeros(size), np.full(size, kwargs["action_noise"]))
    if isinstance(policy_kwargs.get("activation_fn"), str):
        policy_kwargs["activation_fn"] = activation_class(policy_kwargs["activation_fn"])
    if "team" in inspect.signature(policy.__init__).parameters:
        policy_kwargs["team"] = venv.team
    if "device" in arguments_of(algorithm):
        kwargs.setdefault("device", device)
    if not trains and issubclass(algorithm, OffPolicyAlgorithm):
        kwargs["buffer_size"] = venv.num_envs
    if not trains and "optimizer_class" in arguments_of(policy):
        policy_kwargs["optimizer_class"] = _NoOptimizer
    try:
        return algorithm(policy, venv, policy_kwargs=policy_kwargs, seed=seed, **kwargs)
    except (AssertionError, TypeError, ValueError) as error:  # what SB3 says of arguments, in its own words
        raise ExpertError(f"expert: {algorithm.__name__}: {message_of(error)}") from error


class _NoOptimizer(th.optim.Optimizer):
    """In place of an optimizer: with the first real one PyTorch imports its compiler, for a second."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass


def check_masks(config: ExpertConfig, venv: JointVecEnv) -> None:
    """Refuses an algorithm that ignores action masks in an environment that has them.

    sb3-contrib's algorithms that use masks have `use_masking` in `learn`; other classes say `uses_masks`.

    Args:
        config: The part of the experiment about an expert that is trained.
        venv: The environment; it may be reset.

    Raises:
        ConfigError: The algorithm would train on actions that are not available.
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
        "expected MaskablePPO, TeamPPO or RecurrentFactoredDQN (a class of yours that keeps to them has "
        "uses_masks = True), or an environment that replaces what is unavailable (of battles, "
        "env.kwargs.unavailable: replace)"
    )


def linear_schedule(start: float, final_fraction: float, progress_remaining: float) -> float:
    """Falls linearly from `start` to a fraction of it while the remaining progress goes from 1 to 0."""
    return start * (final_fraction + (1.0 - final_fraction) * progress_remaining)


def as_expert(model: BaseAlgorithm, venv: JointVecEnv) -> Expert:
    """Makes an expert, which labels the whole team's observations, from a model.

    Args:
        model: The model, trained or not.
        venv: The environment that it is trained in, or a stand-in for it.
    """
    expert = SB3Expert(model, venv.team, venv.view)
    return TranslatedExpert(expert, venv.team_view) if isinstance(venv, TeamViewVecEnv) else expert


def baseline_team(model: BaseAlgorithm) -> TeamPolicy:
    """Returns a baseline's actors, each of which sees its own agent's observation, as one team.

    Raises:
        ExpertError: The actors see more, or the algorithm has no actor for each agent.
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
    config: StudentsConfig, team: TeamSpaces, device: th.device, visibility: Visibility = "own"
) -> TeamPolicy:
    """Makes the untrained students.

    Args:
        config: The students' part of the experiment.
        team: The team.
        device: Where they learn.
        visibility: `own`, or `joint`: as if each student saw what all see.
    """
    spec = students_spec(config)
    policy = TeamPolicy(
        team.observation_space,
        team.action_space,
        lambda _: 0.0,  # of SB3's own optimizer, which imitation does not use
        team=team,
        actor_visibility=visibility,
        **spec.arguments(),
    )
    if visibility == "joint":
        # As many networks as the students have: one that gave the whole team's actions would have less room.
        net = make_net(team, visibility, team.output_sizes, spec, for_each_agent=True)
        policy.action_net = net.to(policy.device)
    return policy.to(device)


def make_loss(config: DaggerConfig, policy: TeamPolicy) -> Any:
    """Makes the loss of a user's class, or returns the name of one of this package's.

    Raises:
        ConfigError: The class cannot be instantiated.
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
    """Returns how the students' networks are built."""
    return NetworkSpec(
        kind=config.network,
        hidden_sizes=config.hidden_sizes,
        activation=activation_class(config.activation),
        share_parameters=config.share_parameters,
        use_agent_id=config.use_agent_id,
        n_neighbours=config.n_neighbours,
        topology=config.topology,
        module=student_module(config),
        module_kwargs=config.kwargs,
    )
