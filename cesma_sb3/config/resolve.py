"""From the names in an experiment to classes, and a check of the arguments given to them."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import ModuleType
from typing import Any

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import BasePolicy
from torch import nn

from cesma_sb3.algorithms import TeamPPO
from cesma_sb3.config.schema import (
    GIVEN,
    ONNX,
    SCRIPTED,
    TORCHSCRIPT,
    DaggerConfig,
    EnvConfig,
    Experiment,
    ExpertConfig,
    StudentsConfig,
)
from cesma_sb3.envs.factory import environment_name
from cesma_sb3.envs.particle import SCENARIOS, make_scenario
from cesma_sb3.envs.smac import is_battle
from cesma_sb3.errors import ConfigError, did_you_mean, short_repr, unknown_name
from cesma_sb3.experts.sb3_files import Saved
from cesma_sb3.imitation import MultiAgentDAggerTrainer
from cesma_sb3.imitation.registry import ALGORITHMS
from cesma_sb3.policies.networks.activations import activations
from cesma_sb3.utils import modules, plugins
from cesma_sb3.utils.signatures import arguments_of, with_integers, wrong_argument

_ALGORITHM_MODULES = ("cesma_sb3.algorithms", "stable_baselines3", "sb3_contrib")
_POLICY_MODULES = ("cesma_sb3.policies",)
_OURS = frozenset({"policy", "env", "policy_kwargs", "seed", "_init_setup_model"})
"""Arguments of an algorithm that the pipeline sets."""
_NO_CLASS = frozenset({SCRIPTED, TORCHSCRIPT, ONNX, GIVEN})
"""Experts that no class is named for."""
_POLICY_OURS = frozenset({"observation_space", "action_space", "lr_schedule", "team"})
"""Arguments of a policy that the algorithm or the pipeline sets."""


def algorithm_class(name: str) -> type[BaseAlgorithm]:
    """The SB3 algorithm of that name.

    Args:
        name: A class of `cesma_sb3.experts`, stable_baselines3 or sb3_contrib, or `module:Class`.

    Raises:
        ConfigError: There is none; the nearest name is given.
    """
    found = _classes(_ALGORITHM_MODULES, BaseAlgorithm)
    name = _expert_name(name)
    if ":" in name:
        return _imported(name, BaseAlgorithm)
    if name not in found:
        names = [*found, *(_NO_CLASS - {GIVEN}), *plugins.registered(plugins.EXPERTS)]
        raise ConfigError(f"{unknown_name('algorithm', name, names)}, or module:Class")
    return found[name]


def saved_class(name: str) -> Saved:
    """What wrote a file: the algorithm of that name, or the policy's class as `module:Class`.

    Raises:
        ConfigError: There is none; the nearest name is given.
    """
    name = _expert_name(name)
    if ":" in name:
        module, attribute = _module(name)
        found = getattr(module, attribute, None)
        if isinstance(found, type) and issubclass(found, BasePolicy):
            return found
    return algorithm_class(name)


def algorithm_name(algorithm: Saved) -> str:
    """What the class is found by: its name alone if that is enough, else `module:Class`."""
    name = algorithm.__name__
    known = _classes(_ALGORITHM_MODULES, BaseAlgorithm).get(name) is algorithm
    return name if known else modules.name_of(algorithm) or f"{algorithm.__module__}:{name}"


def controller(config: ExpertConfig) -> Any:
    """The controller that `module:name` names, if it is no SB3 algorithm; a class is not yet made. Else None.

    Raises:
        ConfigError: There is no such module or name in it; the nearest name is given.
    """
    name = _expert_name(config.algorithm)
    if ":" not in name:
        return None
    module, attribute = _module(name)
    if not hasattr(module, attribute):
        raise ConfigError(f"{unknown_name(f'name in {module.__name__}', attribute, vars(module))}")
    found = getattr(module, attribute)
    kinds = (BaseAlgorithm,) if config.path is None else (BaseAlgorithm, BasePolicy)
    if isinstance(found, type) and issubclass(found, kinds):
        return None
    if not (callable(found) or isinstance(found, Mapping) or hasattr(found, "labels")):
        got = f"{short_repr(config.algorithm)}: {type(found).__name__}"
        raise ConfigError(f"{got}, expected an SB3 algorithm or a controller")
    return found


def _expert_name(name: str) -> str:
    """The name of an expert's class or controller: of one that a package registers, its `module:name`."""
    return plugins.resolved(plugins.EXPERTS, name, {*_NO_CLASS, *_classes(_ALGORITHM_MODULES, BaseAlgorithm)})


def policy_class(algorithm: type[BaseAlgorithm], name: str) -> type[BasePolicy]:
    """The policy of that name: one of the algorithm's own, one of `cesma_sb3.policies`, or `module:Class`.

    Raises:
        ConfigError: There is none; the nearest name is given.
    """
    if ":" in name:
        return _imported(name, BasePolicy)
    found = {**_classes(_POLICY_MODULES, BasePolicy), **algorithm.policy_aliases}
    if name not in found:
        raise ConfigError(f"{unknown_name('policy', name, found)}, or module:Class")
    return found[name]


def activation_class(name: str) -> type[nn.Module]:
    """The activation of `torch.nn` of that name.

    Raises:
        ConfigError: There is none; the nearest name is given.
    """
    found = activations()
    if name not in found:
        raise ConfigError(f"{unknown_name('activation', name, found)}")
    return found[name]


def student_module(config: StudentsConfig) -> type[nn.Module] | None:
    """What a custom network of each agent is made by; None of the networks of this package.

    Raises:
        ConfigError: There is no such class, or it is no `nn.Module`.
    """
    return None if config.module is None else _imported(config.module, nn.Module)


def loss_class(name: str) -> type[Any]:
    """The loss of that name.

    Raises:
        ConfigError: There is no such class.
    """
    return _imported(name, object)


def find_problem(experiment: Experiment) -> tuple[tuple[str, ...], str] | None:
    """Checks the scenario, every name of a class, and the names of the arguments given to them.

    Returns:
        The key that is wrong and what is wrong with it, or None.
    """
    if (problem := _environment_problem(experiment.env)) is not None:
        return ("env",), problem
    trainer_problem = None if experiment.dagger is None else _trainer_problem(experiment.dagger)
    return trainer_problem or _class_problem(experiment)


def whole_arguments(experiment: Experiment) -> dict[str, dict[str, Any]]:
    """Arguments that are whole floats, such as 1e6, where the class or function asks for integers.

    Args:
        experiment: One in which `find_problem` finds nothing.

    Returns:
        What to put in their place, as a file would hold it: by part and key, all arguments of that class.
    """
    found: dict[str, dict[str, Any]] = {}
    for (part, key), made in _takers(experiment):
        values = getattr(getattr(experiment, part), key)
        changed = with_integers(made, values)
        if repr(changed) != repr(values):  # 8 equals 8.0
            found.setdefault(part, {})[key] = changed
    return found


def _takers(experiment: Experiment) -> Iterator[tuple[tuple[str, str], Callable[..., Any]]]:
    """Who gets which of an experiment's arguments."""
    expert, students, dagger = experiment.expert, experiment.students, experiment.dagger
    if (scenario := SCENARIOS.get(environment_name(experiment.env.id))) is not None:
        yield ("env", "kwargs"), scenario
    if expert.algorithm not in _NO_CLASS and isinstance(made := controller(expert), type):
        yield ("expert", "kwargs"), made
    elif expert.algorithm not in _NO_CLASS and made is None and expert.path is None:
        algorithm = algorithm_class(expert.algorithm)
        yield ("expert", "kwargs"), algorithm
        yield ("expert", "policy_kwargs"), policy_class(algorithm, expert.policy)
    if (module := student_module(students)) is not None:
        yield ("students", "kwargs"), module
    if dagger is not None:
        yield ("dagger", "algorithm_kwargs"), ALGORITHMS[dagger.algorithm]
        if dagger.loss_class is not None:
            yield ("dagger", "loss_kwargs"), loss_class(dagger.loss_class)
    if experiment.fine_tuning is not None:
        yield ("fine_tuning", "kwargs"), TeamPPO


def _class_problem(experiment: Experiment) -> tuple[tuple[str, ...], str] | None:
    """What is wrong with the names of classes, and of the arguments given to them."""
    students, dagger = experiment.students, experiment.dagger
    path, found = ("students", "activation"), []
    try:
        activation_class(students.activation)
        path = ("students", "module")
        if (module := student_module(students)) is not None:
            found.append((("students", "kwargs"), module, 2))
        path = ("dagger", "loss_class")
        if dagger is not None and dagger.loss_class is not None:
            found.append((("dagger", "loss_kwargs"), loss_class(dagger.loss_class), 2))
    except ConfigError as error:
        return path, str(error)
    if experiment.fine_tuning is not None:
        allowed = set(arguments_of(TeamPPO)) - _OURS
        path, values = ("fine_tuning", "kwargs"), experiment.fine_tuning.kwargs
        if (problem := _wrong(path, TeamPPO, values, allowed)) is not None:
            return problem
    for path, cls, n_ours in found:
        others = list(arguments_of(cls))[n_ours:]  # the first of them are given by this package
        values = getattr(getattr(experiment, path[0]), path[1])
        if (problem := _wrong(path, cls, values, others)) is not None:
            return problem
    return None if experiment.expert.algorithm in _NO_CLASS else _expert_problem(experiment.expert)


def _expert_problem(expert: ExpertConfig) -> tuple[tuple[str, ...], str] | None:
    path = ("expert", "algorithm")
    try:
        found = controller(expert)
        if found is not None:
            return _controller_problem(expert, found)
        if expert.path is not None:  # it is finished, with the policy that it has
            saved_class(expert.algorithm)
            return None
        algorithm = algorithm_class(expert.algorithm)
        path = ("expert", "policy")
        policy = policy_class(algorithm, expert.policy)
    except ConfigError as error:
        return path, str(error)
    return _argument_problem(expert, algorithm, policy)


def _argument_problem(
    expert: ExpertConfig, algorithm: type[BaseAlgorithm], policy: type[BasePolicy]
) -> tuple[tuple[str, ...], str] | None:
    """What is wrong with the values for an algorithm that is trained."""
    if "total_timesteps" not in expert.model_fields_set:
        return ("expert", "total_timesteps"), "expected how long it is trained, but the key is missing"
    for key, cls, ours in (("kwargs", algorithm, _OURS), ("policy_kwargs", policy, _POLICY_OURS)):
        values = getattr(expert, key)
        if taken := [name for name in values if name in ours]:
            return ("expert", key, taken[0]), f"{cls.__name__} gets it from the experiment's other keys"
        allowed = {name for name in arguments_of(cls) if name not in ours}
        if (problem := _wrong(("expert", key), cls, values, allowed)) is not None:
            return problem
    return None


def _wrong(
    path: tuple[str, ...], made: type[Any], values: Mapping[str, Any], allowed: Iterable[str]
) -> tuple[tuple[str, ...], str] | None:
    """The first argument whose name or type is wrong, and what is wrong with it.

    Args:
        path: The key that they stand below.
        made: The class that gets them.
        values: Arguments by name.
        allowed: Names that an experiment may give.
    """
    for name in values:
        if name not in allowed:
            return (*path, name), unknown_name(f"argument of {made.__name__}", name, allowed)
    found = wrong_argument(made, values)
    return None if found is None else ((*path, found[0]), found[1])


def _controller_problem(expert: ExpertConfig, found: Any) -> tuple[tuple[str, ...], str] | None:
    """What is wrong with the values for a controller that `module:name` names."""
    unused = ("path", "total_timesteps", "policy_kwargs", *(() if isinstance(found, type) else ("kwargs",)))
    for key in unused:
        if getattr(expert, key):
            what = "SB3 algorithm" if key != "kwargs" else "class"
            return ("expert", key), f"expected none, for {expert.algorithm} is no {what}"
    if not isinstance(found, type):
        return None
    return _wrong(("expert", "kwargs"), found, expert.kwargs, set(arguments_of(found)) - {"team"})


def _trainer_problem(config: DaggerConfig) -> tuple[tuple[str, ...], str] | None:
    """What is wrong with the arguments that one imitation algorithm has and the others have not."""
    trainer = ALGORITHMS[config.algorithm]
    common = {*arguments_of(MultiAgentDAggerTrainer), "horizon"}
    allowed = set(arguments_of(trainer)) - common
    return _wrong(("dagger", "algorithm_kwargs"), trainer, config.algorithm_kwargs, allowed)


def _environment_problem(env: EnvConfig) -> str | None:
    """What is wrong with a scenario's name or arguments; foreign environments are not loaded for a check."""
    try:
        name = environment_name(env.id)
        if ":" in name or "." in name or is_battle(name):
            return None
        make_scenario(name, **env.kwargs)
    except ConfigError as error:
        return str(error)
    return None


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
    module, attribute = _module(name)
    found = getattr(module, attribute, None)
    if not (isinstance(found, type) and issubclass(found, base)):
        classes = [n for n, c in vars(module).items() if isinstance(c, type) and issubclass(c, base)]
        kind = "class" if base is object else f"subclass of {base.__name__}"
        raise ConfigError(f"{short_repr(name)}: expected a {kind}{did_you_mean(attribute, sorted(classes))}")
    return found


def _module(name: str) -> tuple[ModuleType, str]:
    """The module of `module:name`, and the name in it."""
    module_name, _, attribute = name.partition(":")
    if not attribute:
        raise ConfigError(f"{short_repr(name)}: expected module:name")
    try:
        return modules.import_named(module_name), attribute
    except ModuleNotFoundError as error:
        missing = str(error.name)
        told = f"{error}; {modules.where(missing)}"
        raise ConfigError(f"{short_repr(name)}: cannot import {module_name!r}: {told}") from error
    except Exception as error:  # whatever a foreign module raises while it is imported
        told = str(error) if isinstance(error, ConfigError | ImportError | ValueError) else repr(error)
        raise ConfigError(f"{short_repr(name)}: cannot import {module_name!r}: {told}") from error
