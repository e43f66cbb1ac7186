"""PettingZoo environments by name, with wrappers."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import ModuleType
from typing import Any, TypeAlias

import gymnasium
from pettingzoo.utils.conversions import aec_to_parallel, turn_based_aec_to_parallel
from pettingzoo.utils.env import AECEnv, ParallelEnv

from cesma_sb3.envs.gymnasium_team import GymnasiumTeam, OfGymnasium, WeightedRewards, has_members
from cesma_sb3.envs.partition import PartitionedEnv
from cesma_sb3.errors import (
    CesmaError,
    ConfigError,
    MissingExtraError,
    UnknownNameError,
    error_line,
    message_of,
)
from cesma_sb3.spaces.agent_slices import AgentSlice
from cesma_sb3.utils import modules
from cesma_sb3.utils.installation import missing_extra

AnyParallelEnv: TypeAlias = ParallelEnv[Any, Any, Any]


def as_parallel(env: Any) -> AnyParallelEnv:
    """Any PettingZoo environment as a `ParallelEnv`, an AEC one through PettingZoo's own conversion.

    An AEC environment that does not call itself parallelizable is taken as a game of turns: every agent
    gives an action, that of the agent whose turn it is counts.

    Raises:
        ConfigError: It is no PettingZoo environment.
    """
    if isinstance(env, AECEnv):
        convert = aec_to_parallel if env.metadata.get("is_parallelizable") else turn_based_aec_to_parallel
        parallel: AnyParallelEnv = convert(env)
        return parallel
    names = ("reset", "step", "observation_space", "action_space")
    if isinstance(env, gymnasium.Env) or not all(hasattr(env, name) for name in names):
        hint = (
            ", or two Tuples or Dicts of spaces; env.team says how another Gymnasium environment is divided"
        )
        hint *= isinstance(env, gymnasium.Env)
        raise ConfigError(
            f"{type(unwrapped(env)).__name__}: expected a PettingZoo ParallelEnv or AECEnv{hint}"
        )
    checked: AnyParallelEnv = env
    return checked


def unwrapped(env: Any) -> Any:
    """The environment without its wrappers; one that does not inherit from PettingZoo may have none."""
    bare = getattr(env, "unwrapped", env)
    return bare.env.unwrapped if isinstance(bare, OfGymnasium) else bare


def import_parallel_env(
    target: str,
    kwargs: Mapping[str, Any] | None = None,
    wrappers: Sequence[Mapping[str, Any]] = (),
    *,
    team: Mapping[str, AgentSlice] | None = None,
    message_size: int = 0,
    reward_weights: Sequence[float] | None = None,
) -> AnyParallelEnv:
    """Builds an environment from its name.

    A Gymnasium environment whose spaces are Tuples or Dicts for its agents is a `GymnasiumTeam`.

    Args:
        target: "package.module:function", "package.module.function", a module that has `parallel_env` or
            `env`, such as "pettingzoo.sisl.multiwalker_v9", or "module:id" of an environment that the module
            registers with Gymnasium.
        kwargs: The function's arguments.
        wrappers: Applied in this order: {"name": "black_death_v3", ...arguments}. A name is SuperSuit's, or
            `module:name` of a class or function that is called with the environment. Gymnasium's wrappers
            come first, and wrap a Gymnasium environment before it is divided.
        team: By agent, its part of a joint Gymnasium environment (`PartitionedEnv`).
        message_size: Of the messages between these agents; 0: none.
        reward_weights: Of rewards that are vectors, a weight for each entry (`WeightedRewards`).

    Raises:
        MissingExtraError: A package is not installed; the message says what to install.
        UnknownNameError: No such module, function or wrapper; the message gives the nearest.
        ConfigError: The function or the wrapper raised, for instance because of its arguments.
    """
    env = _built(target, kwargs or {})
    expected = "before others" if isinstance(env, gymnasium.Env) else "around a Gymnasium environment"
    around = [(_find_wrapper(str(each["name"])), each) for each in wrappers]
    while around and isinstance(env, gymnasium.Env) and _is_gymnasiums(around[0][0]):
        env = _wrap(env, *around.pop(0))
    if team is not None:
        if not isinstance(env, gymnasium.Env):
            raise ConfigError(
                f"{type(env).__name__}: a declared team, but no Gymnasium environment to divide"
            )
        env = PartitionedEnv(env, team, message_size)
    elif has_members(env):
        env = GymnasiumTeam(env, vector_rewards=reward_weights is not None)
    for wrap, wrapper in around:
        if _is_gymnasiums(wrap):
            raise ConfigError(f"wrapper {wrapper['name']!r}: Gymnasium's, expected {expected}")
        env = _wrap(env, wrap, wrapper)
    try:
        parallel = as_parallel(env)
    except ConfigError as error:
        raise ConfigError(f"environment {target!r}: made {error}") from None
    return parallel if reward_weights is None else WeightedRewards(parallel, reward_weights)


def _built(target: str, kwargs: Mapping[str, Any]) -> Any:
    build = find_builder(target)
    try:
        return build(**kwargs)
    except CesmaError:
        raise
    except ImportError as error:  # some packages import what they need only when an environment is made
        raise _missing(target, target.split(":")[0], error) from error
    except Exception as error:  # whatever somebody else's function raises
        raise ConfigError(f"environment {target!r}: {error_line(error)}") from error


def find_builder(target: str) -> Callable[..., Any]:
    """The function that makes the environment of that name, as `import_parallel_env` takes it.

    Of a Gymnasium id it is `gymnasium.make` without its checker, which wants the reward of a single agent.

    Raises:
        MissingExtraError: Its package is not installed; the message says what to install.
        UnknownNameError: No such module or attribute; the message gives the nearest.
        ConfigError: It is no name of a module, or the module cannot be imported.
    """
    modules.reach(target)
    module_name, _, attribute = target.partition(":")
    if not attribute and not _exists(module_name) and "." in module_name:
        module_name, _, attribute = module_name.rpartition(".")
    module = _import(target, module_name)
    found = _attribute(module, attribute) if attribute else module
    if isinstance(found, ModuleType):
        module_name, module = found.__name__, found
        attribute = "env" if _attribute(module, "parallel_env") is None else "parallel_env"
        found = _attribute(module, attribute)
    if not callable(found) and attribute in gymnasium.registry:
        return partial(gymnasium.make, attribute, disable_env_checker=True)
    if not callable(found):
        raise _unknown(module, attribute)
    build: Callable[..., Any] = found
    return build


def _attribute(module: ModuleType, name: str) -> Any:
    try:
        return getattr(module, name, None)
    except ImportError:  # PettingZoo's packages answer so for versions that never were
        return None


def _unknown(module: ModuleType, name: str) -> UnknownNameError:
    submodules = [found.name for found in pkgutil.iter_modules(getattr(module, "__path__", []))]
    names = [known for known in (*dir(module), *submodules) if not known.startswith("_")]
    if re.search(r"-v\d+$", name):
        return UnknownNameError.of("Gymnasium environment", name, list(gymnasium.registry))
    return UnknownNameError.of(f"module or function of {module.__name__}", name, names)


def patch_agent_selector() -> None:
    """Makes mpe2 1.0 run beside PettingZoo 1.24.3.

    mpe2 accepts this release, but imports `AgentSelector`, a name that came with 1.25; until then the class
    was called `agent_selector`. Where only the old name exists, the new one is added.
    """
    selectors = importlib.import_module("pettingzoo.utils.agent_selector")
    if not hasattr(selectors, "AgentSelector"):
        vars(selectors)["AgentSelector"] = selectors.agent_selector


def _exists(module_name: str) -> bool:
    try:
        return importlib.util.find_spec(module_name) is not None
    except (ImportError, ValueError):  # a parent is missing, or is no package; or it is no name at all
        return False


def _import(target: str, module_name: str) -> ModuleType:
    if not re.fullmatch(r"[\w-]+(\.\w+)*", module_name):  # a script may have a - in its name
        raise ConfigError(f"environment {target!r}: expected package.module:function")
    patch_agent_selector()  # a module of the user's may import mpe2 itself
    try:
        return modules.import_named(module_name)
    except ModuleNotFoundError as error:
        missing, top = str(error.name), module_name.split(".")[0]
        if missing == top or not module_name.startswith(missing):
            raise _missing(target, module_name, error) from error
        raise _unknown(
            importlib.import_module(missing.rpartition(".")[0]), missing.rpartition(".")[2]
        ) from error
    except ImportError as error:
        raise _missing(target, module_name, error) from error
    except Exception as error:  # whatever the module's own lines raise
        raise ConfigError(
            f"environment {target!r}: {module_name} cannot be imported: {error_line(error)}"
        ) from error


_MOVED = {"pettingzoo.mpe": "mpe2", "pettingzoo.magent": "magent2.environments"}
"""PettingZoo's former families of environments, and the packages that have them now."""


EXTRAS = {"lbforaging": "lbf", "rware": "rware"}
"""Packages of environments that an extra brings, and its name."""


def _missing(target: str, module_name: str, error: ImportError) -> MissingExtraError:
    """The error that says what to install: PettingZoo has an extra for each family of environments."""
    parts = module_name.split(".")
    package = str(getattr(error, "name", None) or parts[0]).split(".")[0]
    if parts[0] == "pettingzoo" and len(parts) > 1 and package != "pettingzoo":
        package = f"pettingzoo[{parts[1]}]"
    reason = message_of(error)
    if parts[0] == "pettingzoo" and "pip install" in reason:  # a family that has a package of its own now
        for family, package in _MOVED.items():
            if target.startswith(family):
                reason += f" Its name there: {package}{target.removeprefix(family).replace(':', '.')}"
        return MissingExtraError(f"environment {target!r}: {reason}")
    if package in EXTRAS:
        return missing_extra(f"environment {target!r}", EXTRAS[package], error)
    if "[" in package or package in modules.INSTALLED:
        hint = f"try: pip install '{package}'"
    elif isinstance(error, ModuleNotFoundError):
        hint = modules.where(package)
    elif error.name is None:
        return MissingExtraError(f"environment {target!r}: {reason}")
    else:
        hint = f"the installed {package!r} does not fit"
    return MissingExtraError(f"environment {target!r}: {reason}; {hint}")


def _find_wrapper(name: str) -> Callable[..., Any]:
    """What wraps an environment, by its name in SuperSuit or as `module:name`."""
    if ":" in name:
        return find_builder(name)
    try:
        supersuit = importlib.import_module("supersuit")
    except ImportError as error:
        raise MissingExtraError(f"wrapper {name!r}: {error}; try: pip install supersuit") from error
    names = [
        known
        for known in dir(supersuit)
        if re.search(r"_v\d+$", known) and callable(getattr(supersuit, known))
    ]
    if name not in names:
        raise UnknownNameError.of("SuperSuit wrapper", name, names)
    found: Callable[..., Any] = getattr(supersuit, name)
    return found


def _is_gymnasiums(wrap: Callable[..., Any]) -> bool:
    return isinstance(wrap, type) and issubclass(wrap, gymnasium.Wrapper)


def _wrap(env: Any, wrap: Callable[..., Any], wrapper: Mapping[str, Any]) -> Any:
    try:
        return wrap(env, **{key: value for key, value in wrapper.items() if key != "name"})
    except Exception as error:  # whatever a foreign wrapper says of arguments that it does not like
        raise ConfigError(f"wrapper {wrapper['name']!r}: {error_line(error)}") from error
