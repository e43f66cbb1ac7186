"""Resolve the names in an experiment to classes, and check the arguments that each class gets."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from types import ModuleType
from typing import Any

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.policies import BasePolicy
from torch import nn

from cesma_sb3.algorithms import TeamPPO
from cesma_sb3.config.schema import (
    IN_MEMORY,
    ONNX,
    SCRIPTED,
    TORCHSCRIPT,
    TRAJECTORIES,
    EnvConfig,
    Experiment,
    ExpertConfig,
    StudentsConfig,
)
from cesma_sb3.config.validation import KeyPath
from cesma_sb3.envs.factory import environment_name
from cesma_sb3.envs.particle import SCENARIOS, make_scenario
from cesma_sb3.envs.robots import is_robot, robot_team
from cesma_sb3.envs.smac import is_battle
from cesma_sb3.envs.vmas import is_vmas
from cesma_sb3.errors import ConfigError, did_you_mean, short_repr, unknown_name
from cesma_sb3.experts import reference_expert
from cesma_sb3.experts.sb3_files import Saved
from cesma_sb3.imitation import MultiAgentDAggerTrainer
from cesma_sb3.imitation.registry import ALGORITHMS
from cesma_sb3.policies.networks.activations import activations
from cesma_sb3.utils import modules, plugins
from cesma_sb3.utils.signatures import arguments_of, with_integers, wrong_argument

_ALGORITHM_MODULES = ("cesma_sb3.algorithms", "stable_baselines3", "sb3_contrib")
_POLICY_MODULES = ("cesma_sb3.policies",)
_OURS = frozenset({"policy", "env", "policy_kwargs", "seed", "_init_setup_model"})
"""Arguments of an algorithm that this package sets."""
_NO_CLASS = frozenset({SCRIPTED, TORCHSCRIPT, ONNX, TRAJECTORIES, IN_MEMORY})
"""Values of `expert.algorithm` that name no class."""
_POLICY_OURS = frozenset({"observation_space", "action_space", "lr_schedule", "team"})
"""Arguments of a policy that the algorithm or this package sets."""


def algorithm_class(name: str) -> type[BaseAlgorithm]:
    """Return the SB3 algorithm of a name.

    Args:
        name: A class of `cesma_sb3.algorithms`, stable_baselines3 or sb3_contrib, or `module:Class`.

    Raises:
        ConfigError: There is none; the message has the nearest name.
    """
    classes = _classes(_ALGORITHM_MODULES, BaseAlgorithm)
    name = _expert_name(name)
    if ":" in name:
        return _imported(name, BaseAlgorithm)
    if name not in classes:
        names = [*classes, *(_NO_CLASS - {IN_MEMORY}), *plugins.registered(plugins.EXPERTS)]
        raise ConfigError(f"{unknown_name('algorithm', name, names)}, or module:Class")
    return classes[name]


def saved_class(name: str) -> Saved:
    """Return the class that saved a file: an algorithm by its name, or a policy as `module:Class`.

    Raises:
        ConfigError: There is none; the message has the nearest name.
    """
    name = _expert_name(name)
    if ":" in name:
        module, attribute = _module(name)
        saved = getattr(module, attribute, None)
        if isinstance(saved, type) and issubclass(saved, BasePolicy):
            return saved
    return algorithm_class(name)


def algorithm_name(algorithm: Saved) -> str:
    """Return the name that `saved_class` finds a class by: its own if that is enough, else `module:Class`."""
    name = algorithm.__name__
    known = _classes(_ALGORITHM_MODULES, BaseAlgorithm).get(name) is algorithm
    return name if known else modules.name_of(algorithm) or f"{algorithm.__module__}:{name}"


def controller(config: ExpertConfig) -> Any:
    """Return the controller that `module:name` names, a class uncalled; None if it is an SB3 algorithm.

    Raises:
        ConfigError: There is no such module or name; the message has the nearest name.
    """
    name = _expert_name(config.algorithm)
    if ":" not in name:
        return None
    module, attribute = _module(name)
    if not hasattr(module, attribute):
        raise ConfigError(f"{unknown_name(f'name in {module.__name__}', attribute, vars(module))}")
    named = getattr(module, attribute)
    kinds = (BaseAlgorithm,) if config.path is None else (BaseAlgorithm, BasePolicy)
    if isinstance(named, type) and issubclass(named, kinds):
        return None
    if not (callable(named) or isinstance(named, Mapping) or hasattr(named, "labels")):
        got = f"{short_repr(config.algorithm)}: {type(named).__name__}"
        raise ConfigError(f"{got}, expected an SB3 algorithm or a controller")
    return named


def others_controller(env: EnvConfig) -> Any:
    """Return the controller that `module:name` in `env.others` names, a class uncalled.

    Raises:
        ConfigError: There is no such module or name; the message has the nearest name.
    """
    name = str(env.others)
    module, attribute = _module(name)
    if not hasattr(module, attribute):
        names = [each for each in vars(module) if not each.startswith("_")]
        raise ConfigError(f"{unknown_name(f'name in {module.__name__}', attribute, names)}")
    return getattr(module, attribute)


def _expert_name(name: str) -> str:
    """Return the `module:name` of an expert that a package registers; any other name unchanged."""
    return plugins.resolved(plugins.EXPERTS, name, {*_NO_CLASS, *_classes(_ALGORITHM_MODULES, BaseAlgorithm)})


def policy_class(algorithm: type[BaseAlgorithm], name: str) -> type[BasePolicy]:
    """Return a policy class: an alias of the algorithm, a class of `cesma_sb3.policies`, or `module:Class`.

    Raises:
        ConfigError: There is none; the message has the nearest name.
    """
    if ":" in name:
        return _imported(name, BasePolicy)
    classes = {**_classes(_POLICY_MODULES, BasePolicy), **algorithm.policy_aliases}
    if name not in classes:
        raise ConfigError(f"{unknown_name('policy', name, classes)}, or module:Class")
    return classes[name]


def activation_class(name: str) -> type[nn.Module]:
    """Return the activation of `torch.nn` of a name.

    Raises:
        ConfigError: There is none; the message has the nearest name.
    """
    classes = activations()
    if name not in classes:
        raise ConfigError(f"{unknown_name('activation', name, classes)}")
    return classes[name]


def student_module(config: StudentsConfig) -> type[nn.Module] | None:
    """Return the class of custom student networks; None for the networks of this package.

    Raises:
        ConfigError: There is no such class, or it is no `nn.Module`.
    """
    return None if config.module is None else _imported(config.module, nn.Module)


def loss_class(name: str) -> type[Any]:
    """Return the class of an imitation loss by `module:Class`.

    Raises:
        ConfigError: There is no such class.
    """
    return _imported(name, object)


def callback_class(name: str) -> type[BaseCallback]:
    """Return the class of a callback by `module:Class`.

    Raises:
        ConfigError: There is no such class, or it is no callback of SB3's kind.
    """
    return _imported(name, BaseCallback)


class KeyPathError(ConfigError):
    """A name of a class or of an argument is wrong.

    Attributes:
        path: The key that has it.
    """

    def __init__(self, path: KeyPath, message: str) -> None:
        super().__init__(message)
        self.path = path


@dataclasses.dataclass(frozen=True)
class _Call:
    """A class or function that is called with arguments from an experiment."""

    path: KeyPath
    """The key that the arguments stand below: `("expert", "kwargs")`."""
    target: Callable[..., Any]
    reserved: Collection[str]
    """Names of arguments that this package gives itself."""

    def checked(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Check names and types of arguments, and return them with whole floats as integers.

        Raises:
            KeyPathError: An argument is unknown, reserved, or of another type.
        """
        called = self.target.__name__
        allowed = [name for name in arguments_of(self.target) if name not in self.reserved]
        for name in values:
            if name in self.reserved:
                raise KeyPathError((*self.path, name), f"{called} already gets it from the experiment")
            if name not in allowed:
                problem = unknown_name(f"argument of {called}", name, allowed)
                raise KeyPathError((*self.path, name), problem)
        if (wrong := wrong_argument(self.target, values)) is not None:
            raise KeyPathError((*self.path, wrong[0]), wrong[1])
        return with_integers(self.target, values)


def checked_arguments(experiment: Experiment) -> dict[str, dict[str, Any]]:
    """Check the scenario, every name of a class, and the arguments that each of them gets.

    Foreign environments are not imported for this.

    Returns:
        The arguments in which a whole float, such as 1e6, stands where an integer is asked for, with the
        integer in its place: nested keys of the experiment, and at each all arguments of one class.

    Raises:
        KeyPathError: A name or an argument is wrong.
    """
    changes: dict[str, dict[str, Any]] = {}
    for call in _calls(experiment):
        part, key = call.path
        values = getattr(getattr(experiment, part), key)
        checked = call.checked(values)
        if repr(checked) != repr(values):  # 8 equals 8.0
            changes.setdefault(part, {})[key] = checked
    for index, callback in enumerate(experiment.callbacks):
        with _at("callbacks", str(index), "name"):
            kind = callback_class(callback.name)
        _Call(("callbacks", str(index), "kwargs"), kind, ()).checked(callback.kwargs)
    return changes


def _calls(experiment: Experiment) -> Iterator[_Call]:
    """Yield every class and function that gets arguments of an experiment.

    Raises:
        KeyPathError: A name is wrong.
    """
    students, dagger = experiment.students, experiment.dagger
    yield from _environment_call(experiment.env)
    if dagger is not None:
        common = {*arguments_of(MultiAgentDAggerTrainer), "horizon"}
        yield _Call(("dagger", "algorithm_kwargs"), ALGORITHMS[dagger.algorithm], common)
    with _at("students", "activation"):
        activation_class(students.activation)
    with _at("students", "module"):
        module = student_module(students)
    if module is not None:
        yield _Call(("students", "kwargs"), module, _first_two(module))
    if dagger is not None and dagger.loss_class is not None:
        with _at("dagger", "loss_class"):
            loss = loss_class(dagger.loss_class)
        yield _Call(("dagger", "loss_kwargs"), loss, _first_two(loss))
    if experiment.fine_tuning is not None:
        yield _Call(("fine_tuning", "kwargs"), TeamPPO, _OURS)
    if experiment.expert.algorithm == SCRIPTED:
        yield _Call(("expert", "kwargs"), reference_expert, ("venv",))
    if experiment.expert.algorithm not in _NO_CLASS:
        yield from _expert_calls(experiment.expert)


@contextlib.contextmanager
def _at(*path: str) -> Iterator[None]:
    """Name the key of an error inside the block."""
    try:
        yield
    except KeyPathError:
        raise
    except ConfigError as error:
        raise KeyPathError(path, str(error)) from error


def _first_two(target: type[Any]) -> list[str]:
    """Names of the first two arguments of a user's class, which this package gives."""
    return list(arguments_of(target))[:2]


def _environment_call(env: EnvConfig) -> Iterator[_Call]:
    if env.others is not None and modules.NAME.fullmatch(env.others) is not None:
        with _at("env", "others"):
            others_controller(env)
    with _at("env"):
        name = environment_name(env.id)
        if is_robot(name):
            robot_team(name, env.kwargs)
        if ":" in name or "." in name or is_battle(name) or is_robot(name) or is_vmas(name):
            return
        make_scenario(name, **env.kwargs)
    yield _Call(("env", "kwargs"), SCENARIOS[name], ())


def _expert_calls(expert: ExpertConfig) -> Iterator[_Call]:
    with _at("expert", "algorithm"):
        named = controller(expert)
        if named is None and expert.path is not None:  # it is finished, with the policy that it has
            saved_class(expert.algorithm)
        is_trained = named is None and expert.path is None
        algorithm = algorithm_class(expert.algorithm) if is_trained else None
    if named is not None:
        _check_controller(expert, named)
    if isinstance(named, type):
        yield _Call(("expert", "kwargs"), named, ("team",))
    if algorithm is None:
        return
    with _at("expert", "policy"):
        policy = policy_class(algorithm, expert.policy)
    if "total_timesteps" not in expert.model_fields_set:
        raise KeyPathError(
            ("expert", "total_timesteps"), "expected how long it is trained, but the key is missing"
        )
    yield _Call(("expert", "kwargs"), algorithm, _OURS)
    yield _Call(("expert", "policy_kwargs"), policy, _POLICY_OURS)


def _check_controller(expert: ExpertConfig, named: Any) -> None:
    """Check that nothing is said of training or arguments of a controller that has none."""
    unused = ("path", "total_timesteps", "policy_kwargs", *(() if isinstance(named, type) else ("kwargs",)))
    for key in unused:
        if getattr(expert, key):
            what = "SB3 algorithm" if key != "kwargs" else "class"
            raise KeyPathError(("expert", key), f"expected none, for {expert.algorithm} is no {what}")


def _classes(modules: Iterable[str], base: type[Any]) -> dict[str, type[Any]]:
    """Return public subclasses of `base` by name; the first module that has a name wins."""
    classes: dict[str, type[Any]] = {}
    for module in map(importlib.import_module, modules):
        for name, item in vars(module).items():
            if name.startswith("_") or item is base:
                continue
            if isinstance(item, type) and issubclass(item, base):
                classes.setdefault(name, item)
    return classes


def _imported(name: str, base: type[Any]) -> type[Any]:
    module, attribute = _module(name)
    named = getattr(module, attribute, None)
    if not (isinstance(named, type) and issubclass(named, base)):
        classes = [n for n, c in vars(module).items() if isinstance(c, type) and issubclass(c, base)]
        kind = "class" if base is object else f"subclass of {base.__name__}"
        raise ConfigError(f"{short_repr(name)}: expected a {kind}{did_you_mean(attribute, sorted(classes))}")
    return named


def _module(name: str) -> tuple[ModuleType, str]:
    """Import the module of `module:name`, and return it with the name in it."""
    module_name, _, attribute = name.partition(":")
    if not attribute:
        raise ConfigError(f"{short_repr(name)}: expected module:name")
    try:
        return modules.import_named(module_name), attribute
    except ModuleNotFoundError as error:
        reason = f"{error}; {modules.where(str(error.name))}"
        raise ConfigError(f"{short_repr(name)}: cannot import {module_name!r}: {reason}") from error
    except Exception as error:  # whatever a foreign module raises while it is imported
        reason = str(error) if isinstance(error, ConfigError | ImportError | ValueError) else repr(error)
        raise ConfigError(f"{short_repr(name)}: cannot import {module_name!r}: {reason}") from error
