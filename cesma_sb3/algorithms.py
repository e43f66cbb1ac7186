"""From the names in an experiment to classes, and a check of the arguments given to them."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Iterable, Iterator
from types import ModuleType
from typing import Any

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import BasePolicy
from torch import nn

from cesma_sb3.config import SCRIPTED, DaggerConfig, EnvConfig, Experiment
from cesma_sb3.decentralize import MultiAgentDAggerTrainer
from cesma_sb3.decentralize.algorithms import ALGORITHMS
from cesma_sb3.envs.particle import make_scenario
from cesma_sb3.envs.starcraft import is_battle
from cesma_sb3.errors import ConfigError
from cesma_sb3.networks.activations import activations
from cesma_sb3.validation import shown, unknown

_ALGORITHM_MODULES = ("cesma_sb3.experts", "stable_baselines3", "sb3_contrib")
_POLICY_MODULES = ("cesma_sb3.networks",)
_OURS = frozenset({"policy", "env", "policy_kwargs", "seed", "_init_setup_model"})
"""Arguments of an algorithm that the pipeline sets."""
_POLICY_OURS = frozenset({"observation_space", "action_space", "lr_schedule", "team"})
"""Arguments of a policy that the algorithm or the pipeline sets."""


def algorithm_class(name: str) -> type[BaseAlgorithm]:
    """The SB3 algorithm of that name.

    Args:
        name: A class of `cesma_sb3.experts`, stable_baselines3 or sb3_contrib, or `module:Class`.

    Raises:
        ConfigError: There is none; the nearest name is given.
    """
    if ":" in name:
        return _imported(name, BaseAlgorithm)
    found = _classes(_ALGORITHM_MODULES, BaseAlgorithm)
    if name not in found:
        raise ConfigError(f"{unknown('algorithm', name, [*found, SCRIPTED])}, or module:Class")
    return found[name]


def policy_class(algorithm: type[BaseAlgorithm], name: str) -> type[BasePolicy]:
    """The policy of that name: one of the algorithm's own, one of `cesma_sb3.networks`, or `module:Class`.

    Raises:
        ConfigError: There is none; the nearest name is given.
    """
    if ":" in name:
        return _imported(name, BasePolicy)
    found = {**_classes(_POLICY_MODULES, BasePolicy), **algorithm.policy_aliases}
    if name not in found:
        raise ConfigError(f"{unknown('policy', name, found)}, or module:Class")
    return found[name]


def activation_class(name: str) -> type[nn.Module]:
    """The activation of `torch.nn` of that name.

    Raises:
        ConfigError: There is none; the nearest name is given.
    """
    found = activations()
    if name not in found:
        raise ConfigError(f"{unknown('activation', name, found)}")
    return found[name]


def find_problem(experiment: Experiment) -> tuple[tuple[str, ...], str] | None:
    """Checks the scenario, every name of a class, and the names of the arguments given to them.

    Returns:
        The key that is wrong and what is wrong with it, or None.
    """
    if (problem := _environment_problem(experiment.env)) is not None:
        return ("env",), problem
    trainer_problem = None if experiment.dagger is None else _trainer_problem(experiment.dagger)
    return trainer_problem or _class_problem(experiment)


def _class_problem(experiment: Experiment) -> tuple[tuple[str, ...], str] | None:
    """What is wrong with the names of classes, and of the arguments given to them."""
    expert, path = experiment.expert, ("students", "activation")
    try:
        activation_class(experiment.students.activation)
        if expert.algorithm == SCRIPTED:
            return None
        path = ("expert", "algorithm")
        algorithm = algorithm_class(expert.algorithm)
        path = ("expert", "policy")
        policy = policy_class(algorithm, expert.policy)
    except ConfigError as error:
        return path, str(error)
    for key, cls, ours in (("kwargs", algorithm, _OURS), ("policy_kwargs", policy, _POLICY_OURS)):
        allowed = {name for name in _arguments(cls) if name not in ours}
        for name in getattr(expert, key):
            if name in ours:
                return ("expert", key, name), f"{cls.__name__} gets it from the experiment's other keys"
            if name not in allowed:
                return ("expert", key, name), unknown(f"argument of {cls.__name__}", name, allowed)
    return None


def _trainer_problem(config: DaggerConfig) -> tuple[tuple[str, ...], str] | None:
    """What is wrong with the arguments that one imitation algorithm has and the others have not."""
    trainer = ALGORITHMS[config.algorithm]
    common = {*_arguments(MultiAgentDAggerTrainer), "horizon"}
    allowed = set(_arguments(trainer)) - common
    for name in config.algorithm_kwargs:
        if name not in allowed:
            path = ("dagger", "algorithm_kwargs", name)
            return path, unknown(f"argument of {trainer.__name__}", name, allowed)
    return None


def _environment_problem(env: EnvConfig) -> str | None:
    """What is wrong with a scenario's name or arguments; foreign environments are not loaded for a check."""
    if ":" in env.id or "." in env.id or is_battle(env.id):
        return None
    try:
        make_scenario(env.id, **env.kwargs)
    except ConfigError as error:
        return str(error)
    return None


def _arguments(cls: type[Any]) -> Iterator[str]:
    """Names of a constructor's arguments; those of its base classes too while it passes `**kwargs` on."""
    for base in cls.__mro__:
        if "__init__" not in vars(base):
            continue
        passes_on = False
        for name, parameter in list(inspect.signature(vars(base)["__init__"]).parameters.items())[1:]:
            if parameter.kind is parameter.VAR_KEYWORD:
                passes_on = True
            elif parameter.kind is not parameter.VAR_POSITIONAL:
                yield name
        if not passes_on:
            return


def _classes(modules: Iterable[str], base: type[Any]) -> dict[str, type[Any]]:
    """Public subclasses of `base` by name; the first module that has a name wins."""
    found: dict[str, type[Any]] = {}
    for module in map(importlib.import_module, modules):
        for name, item in vars(module).items():
            if name.startswith("_") or item is base:
                continue
            if isinstance(item, type) and issubclass(item, base):
                found.setdefault(name, item)
    return found


def _imported(name: str, base: type[Any]) -> type[Any]:
    module_name, _, attribute = name.partition(":")
    try:
        module: ModuleType = importlib.import_module(module_name)
    except (ImportError, ValueError) as error:
        raise ConfigError(f"{shown(name)}: cannot import {module_name!r}: {error}") from None
    found = getattr(module, attribute, None)
    if not (isinstance(found, type) and issubclass(found, base)):
        classes = sorted(n for n, c in vars(module).items() if isinstance(c, type) and issubclass(c, base))
        raise ConfigError(
            f"{shown(name)}: not a {base.__name__}; {module_name!r} has {', '.join(classes) or 'none'}"
        )
    return found
