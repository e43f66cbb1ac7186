"""Batched joint environments from the values of an experiment's `env`."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from cesma_sb3.envs.joint_env import TeamReward
from cesma_sb3.envs.joint_vec_env import JointVecEnv, attribute, joint_vec_env
from cesma_sb3.envs.one_side import OneSide, Side
from cesma_sb3.envs.particle import SCENARIOS, Body, ParticleVecEnv, find_scenario, make_scenario
from cesma_sb3.envs.partition import Partition
from cesma_sb3.envs.pettingzoo import AnyParallelEnv, import_parallel_env
from cesma_sb3.envs.rendering import RGB, can_render_rgb, set_rgb_mode
from cesma_sb3.envs.robots import NAMES as ROBOT_NAMES
from cesma_sb3.envs.robots import is_robot, robot_team
from cesma_sb3.envs.smac import FeatureIndex, battle_vec_env, is_battle
from cesma_sb3.envs.vmas import PREFIX as VMAS
from cesma_sb3.envs.vmas import VmasVecEnv, is_vmas
from cesma_sb3.errors import CesmaError, ConfigError, SpaceError, UnknownNameError
from cesma_sb3.spaces.action_views import ActionView
from cesma_sb3.spaces.agent_slices import AgentSlice
from cesma_sb3.spaces.declarations import check_names
from cesma_sb3.spaces.team_views import TeamView
from cesma_sb3.utils import modules, plugins

Kind = TypeVar("Kind")


def make_vec_env(
    target: str,
    *,
    kwargs: Mapping[str, Any] | None = None,
    team: Mapping[str, AgentSlice] | None = None,
    message_size: int = 0,
    wrappers: Sequence[Mapping[str, Any]] = (),
    team_reward: TeamReward | None = None,
    reward_weights: Sequence[float] | None = None,
    max_steps: int | None = None,
    processes: int = 0,
    step_timeout: float | None = None,
    n_envs: int = 1,
    seed: int | None = None,
    view: str | ActionView = "joint",
    agents: Sequence[str] | None = None,
    side: Side | None = None,
    renderable: bool = False,
) -> JointVecEnv:
    """A joint environment of many environments: stepped together where possible, else one by one.

    Args:
        target: A scenario of `cesma_sb3.envs.particle` or `module:Class` of one (batched), a battle
            (`smax-MAP`, batched; `smac-MAP`; `smac-like:module:attribute`, batched if it takes `n_envs`), a
            scenario of VMAS (`vmas-SCENARIO`, batched), a robot (`mujoco-ROBOT-PARTITION`),
            `package.module:function` of a PettingZoo environment, `module:id` of a Gymnasium environment that
            the module registers, or a name that another package registers for one of these (`plugins`).
        kwargs: Arguments of the scenario or function.
        team: By agent, its part of a joint Gymnasium environment, which the function then makes.
        message_size: Of the messages between agents of such an environment, or of a robot; 0: none.
        wrappers: The innermost first: {"name": "black_death_v3", ...arguments} (`import_parallel_env`). A
            scenario with wrappers is stepped as the PettingZoo environment that it is as well.
        team_reward: How the agents' rewards become one; None is `shared`.
        reward_weights: Of rewards that are vectors, a weight for each entry.
        max_steps: Steps after which an episode is truncated; None: when the environment itself ends it.
        processes: Worker processes of environments that are not batched; 0: in this process.
        step_timeout: Seconds that a worker process may take for an answer; None: no limit.
        n_envs: The number of environments.
        seed: The seed of their generators.
        view: The action view, or its name.
        agents: The names of the agents, in the order that joint arrays are to keep (that of a saved team);
            None: the environment's own.
        side: Of a game, whose agents are the team, and who plays the others; None: all are the team. Such
            games are stepped one by one.
        renderable: Whether environments get the render mode `rgb_array`, whatever `kwargs` names; those that
            do not have it stay as they are.

    Raises:
        ConfigError: A name is unknown (the nearest is given) or an argument is wrong.
        SpaceError: The environment's spaces have no joint view, or not this action view; or its agents have
            other names than `agents`, or are batched in another order.
    """
    target = environment_name(target)
    if {":", "."} & set(target):
        modules.reach(target)  # before there are processes, which search the same folders
    as_it_is = not wrappers and team is None and reward_weights is None and side is None
    if as_it_is:
        options: dict[str, Any] = {"seed": seed, "view": view, "max_steps": max_steps}
        batched = _batched(target, n_envs, kwargs or {}, team_reward, options)
        if batched is not None:
            return _in_order(batched, agents, target)
    make_one = make_renderable if renderable else make_parallel_env
    make = partial(
        make_one,
        target,
        kwargs=dict(kwargs or {}),
        team=team,
        message_size=message_size,
        wrappers=list(wrappers),
        reward_weights=reward_weights,
        side=side,
    )
    return joint_vec_env(
        make,
        n_envs,
        seed=seed,
        processes=processes,
        step_timeout=step_timeout,
        view=view,
        team_reward=team_reward or "shared",
        max_steps=max_steps,
        agents=agents,
    )


def _batched(
    target: str,
    n_envs: int,
    kwargs: Mapping[str, Any],
    team_reward: TeamReward | None,
    options: Mapping[str, Any],
) -> JointVecEnv | None:
    """Environments that one call steps together; None where there is no such call."""
    if _is_scenario(target):
        return ParticleVecEnv(make_scenario(target, **kwargs), n_envs, team_reward=team_reward, **options)
    if is_vmas(target):
        return VmasVecEnv(target.removeprefix(VMAS), n_envs, kwargs, team_reward=team_reward, **options)
    if is_battle(target) and team_reward in {None, "shared"}:
        return battle_vec_env(target, n_envs, kwargs, **options)
    return None


def _in_order(venv: JointVecEnv, agents: Sequence[str] | None, target: str) -> JointVecEnv:
    """Returns a batched environment, whose order is fixed, if that is the order that is wanted."""
    if agents is not None and tuple(agents) != venv.team.agents:
        found = venv.team
        venv.close()
        check_names(found.agents, agents, target)
        raise SpaceError(f"{target}: its agents are {', '.join(found.agents)}, expected this order")
    return venv


def make_parallel_env(
    target: str,
    kwargs: Mapping[str, Any] | None = None,
    wrappers: Sequence[Mapping[str, Any]] = (),
    *,
    team: Mapping[str, AgentSlice] | None = None,
    message_size: int = 0,
    reward_weights: Sequence[float] | None = None,
    side: Side | None = None,
    render_mode: str | None = None,
) -> AnyParallelEnv:
    """One environment as PettingZoo has it, as an experiment's `env` names it.

    Args:
        target: The name of a scenario, a battle, a robot or a function, as in `make_vec_env`.
        kwargs: Arguments of the scenario or function.
        wrappers: The innermost first: {"name": "black_death_v3", ...arguments} (`import_parallel_env`).
        team: By agent, its part of a joint Gymnasium environment.
        message_size: Of the messages between agents of such an environment, or of a robot; 0: none.
        reward_weights: Of rewards that are vectors, a weight for each entry.
        side: Of a game, whose agents are the team, and who plays the others (`OneSide`); None: all are it.
        render_mode: An argument of the scenario or function; battles render without one.

    Raises:
        MissingExtraError: A package is not installed; the message says what to install.
        ConfigError: A name is unknown (the nearest is given) or an argument is wrong.
    """
    name = environment_name(target)
    given = dict(kwargs or {})
    if render_mode is not None and not is_battle(name):
        given["render_mode"] = render_mode
    target, given, team = _of_name(name, given, team)
    if message_size and team is None:
        raise ConfigError(f"env.message_size: expected 0 without env.team, got {message_size}")
    if side is not None and team is not None:
        raise ConfigError(f"env.agents: expected null, for {name} is divided into agents as it is")
    env = import_parallel_env(
        target, given, wrappers, team=team, message_size=message_size, reward_weights=reward_weights
    )
    return env if side is None else _one_side(env, side)


def _one_side(env: AnyParallelEnv, side: Side) -> OneSide:
    """The game with this side's agents; it is closed where they do not fit it."""
    try:
        return OneSide(env, *side)
    except BaseException:
        env.close()
        raise


def _of_name(
    target: str, given: dict[str, Any], team: Mapping[str, AgentSlice] | None
) -> tuple[str, dict[str, Any], Mapping[str, AgentSlice] | None]:
    """The function behind a name of this package, its arguments, and how what it makes is divided."""
    if is_robot(target):
        _refuse_team(target, team)
        team, given = robot_team(target, given)
        return "cesma_sb3.envs.robots:plain_robot", given, team
    if team is None and _is_scenario(target):
        return "cesma_sb3.envs.particle:parallel_env", _named("scenario", target, given), team
    if is_vmas(target):
        return "cesma_sb3.envs.vmas:parallel_env", _named("scenario", target, given), team
    if is_battle(target):
        return "cesma_sb3.envs.smac:battle_env", _named("target", target, given), team
    if "." not in target and ":" not in target:
        if target in SCENARIOS:
            _refuse_team(target, team)
        names = (*SCENARIOS, *ROBOT_NAMES, *plugins.registered(plugins.ENVIRONMENTS))
        raise UnknownNameError.of("environment", target, names)
    return target, given, team


def _refuse_team(target: str, team: Mapping[str, AgentSlice] | None) -> None:
    if team is not None:
        raise ConfigError(f"team: expected null, for {target} says itself which entries are whose")


def declared_team(
    target: str, kwargs: Mapping[str, Any], team: Mapping[str, AgentSlice] | None
) -> Mapping[str, AgentSlice]:
    """By agent, its part of an environment that one agent could control as a whole; empty of any other.

    Args:
        target: The environment's name, as in `make_vec_env`.
        kwargs: Its arguments.
        team: As an experiment declares it.

    Raises:
        ConfigError: There is no such robot, or an argument is wrong.
    """
    target = environment_name(target)
    return robot_team(target, kwargs)[0] if is_robot(target) else team or {}


def _named(key: str, target: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments with the environment's name added, which no argument may replace."""
    if key in given:
        raise ConfigError(f"env.kwargs.{key}: expected none, for env.id {target!r} names what is made")
    return {**given, key: target}


def make_renderable(target: str, **options: Any) -> AnyParallelEnv:
    """One environment with the render mode `rgb_array`, if its metadata lists it.

    The render mode is an argument of its function, since many need it when an environment is made. A function
    that does not take it is called without, and the render mode is set afterwards.

    Args:
        target: The name of a scenario, a battle or a function, as in `make_vec_env`.
        options: The other arguments of `make_parallel_env`, less the render mode.

    Raises:
        CesmaError: A name is unknown, or an argument is wrong.
    """
    with contextlib.suppress(CesmaError):
        env = make_parallel_env(target, **options, render_mode=RGB)
        if can_render_rgb(env):
            set_rgb_mode(env)  # some functions drop what they do not know
            return env
        env.close()
    env = make_parallel_env(target, **options)
    set_rgb_mode(env)
    return env


def scripted_bodies(venv: JointVecEnv) -> tuple[Body, ...] | None:
    """The agents' bodies in a particle environment, wrapped or not; None in any other."""
    inner = venv.unwrapped
    return inner.scenario.agents if isinstance(inner, ParticleVecEnv) else None


def battle_feature_index(venv: JointVecEnv) -> FeatureIndex | None:
    """The feature index of a battle, for scripted controllers; None where it has none."""
    return _attribute(venv, "feature_index", FeatureIndex)


def undivided_view(venv: JointVecEnv) -> TeamView | None:
    """The view in which one agent controls a whole partitioned environment; None where it is no such one."""
    partition = _attribute(venv, "partition", Partition)
    return None if partition is None else partition.undivided_view(venv.team)


def _attribute(venv: JointVecEnv, name: str, kind: type[Kind]) -> Kind | None:
    """An attribute of the environments; None where it is missing or of another kind."""
    found = attribute(venv, name)
    return found if isinstance(found, kind) else None


def reward_definition(target: str, kwargs: Mapping[str, Any] | None = None) -> str | None:
    """The reward of a scenario in words; None for other environments, which do not define any.

    Args:
        target: A scenario's name, or any other environment.
        kwargs: Arguments of the scenario.

    Raises:
        ConfigError: An argument is wrong.
    """
    target = environment_name(target)
    try:
        is_scenario = _is_scenario(target)
    except ConfigError:  # it cannot be imported here
        is_scenario = False
    return make_scenario(target, **dict(kwargs or {})).reward_definition if is_scenario else None


def _is_scenario(target: str) -> bool:
    return not is_battle(target) and find_scenario(target) is not None


def environment_name(name: str) -> str:
    """The name that `make_vec_env` builds: for an environment that a package registers, its `module:name`.

    Raises:
        DuplicateNameError: Two packages have one name.
    """
    return plugins.resolved(plugins.ENVIRONMENTS, name, SCENARIOS)
