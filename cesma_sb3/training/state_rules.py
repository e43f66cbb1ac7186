"""Which objects of a training have a state that a checkpoint stores, and how.

Objects of this package, of Stable-Baselines3 and of PyTorch's networks are walked, attribute by attribute. An
object of a user's class that has `state_dict` and `load_state_dict` is stored by them; without these, a class
that is written in Python is walked too. What cannot change is constant. Anything else is refused: its state
would be lost without a word.
"""

from __future__ import annotations

import copyreg
import datetime
import decimal
import enum
import fractions
import functools
import operator
import pathlib
import re
import types
import weakref
from logging import Logger as PythonLogger
from typing import Any

import gymnasium
import numpy as np
import torch as th
from gymnasium import spaces
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.buffers import BaseBuffer, ReplayBuffer
from stable_baselines3.common.distributions import Distribution
from stable_baselines3.common.logger import Logger
from stable_baselines3.common.noise import ActionNoise
from stable_baselines3.common.running_mean_std import RunningMeanStd
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper
from torch import nn

from cesma_sb3.spaces.team_spaces import TeamSpaces

PACKAGES = ("cesma_sb3", "stable_baselines3", "sb3_contrib")
_WALKED = (BaseAlgorithm, nn.Module, BaseBuffer, ActionNoise, RunningMeanStd, spaces.Space)
LEFT_ALONE = (
    *(types.FunctionType, types.BuiltinFunctionType, types.MethodType, types.ModuleType, functools.partial),
    *(type, enum.Enum, slice, Logger, PythonLogger, th.dtype, th.device, TeamSpaces),
    Distribution,  # of the batch at hand
)
_IMMUTABLE = (
    *(bytes, complex, range, frozenset, pathlib.PurePath, fractions.Fraction, decimal.Decimal),
    *(datetime.date, datetime.time, datetime.timedelta, datetime.tzinfo, re.Pattern, np.dtype),
    *(type(Ellipsis), type(NotImplemented), weakref.ref),
)
_FUNCTIONS = (
    *(functools._lru_cache_wrapper, np.ufunc, types.MethodWrapperType, types.WrapperDescriptorType),
    *(types.MethodDescriptorType, operator.itemgetter, operator.attrgetter, operator.methodcaller),
)


def is_walked(value: object) -> bool:
    """Whether a value's attributes are its state."""
    if isinstance(value, LEFT_ALONE) or not hasattr(value, "__dict__") or _is_frozen(value):
        return False
    return isinstance(value, _WALKED) or type(value).__module__.partition(".")[0] in PACKAGES


def _is_frozen(value: object) -> bool:
    parameters = getattr(type(value), "__dataclass_params__", None)
    return bool(getattr(parameters, "frozen", False))


def is_left_env(value: object) -> bool:
    """Whether a value is an environment whose state lies elsewhere: in processes, or in another library."""
    if isinstance(value, gymnasium.Env):
        return True
    is_wrapper = isinstance(value, VecEnvWrapper) or isinstance(getattr(value, "venv", None), VecEnv)
    return isinstance(value, VecEnv) and not is_wrapper and not getattr(value, "keeps_state", False)


def rows_in_use(value: object) -> tuple[int, int] | None:
    """Of a buffer that is not full: the length of its arrays, and how many rows of them hold something."""
    if isinstance(value, ReplayBuffer) and hasattr(value, "observations"):
        return None if value.full else (value.buffer_size, value.pos)
    rows = getattr(value, "rows_in_use", None)
    return rows if isinstance(rows, tuple) else None


def name_of(value: object) -> str:
    """The class of a value as `module:class`."""
    return f"{type(value).__module__}:{type(value).__qualname__}"


def has_state_dict(value: object) -> bool:
    """Whether an object says itself what its state is, as PyTorch's do."""
    both = (getattr(value, "state_dict", None), getattr(value, "load_state_dict", None))
    return all(map(callable, both)) and not isinstance(value, type)


def is_constant(value: object) -> bool:
    """Whether a value cannot change, or is an internal object of PyTorch."""
    if isinstance(value, (*_IMMUTABLE, *_FUNCTIONS)) or _is_frozen(value):
        return True
    return type(value).__module__.partition(".")[0] == "torch" or _has_no_state(value)


def is_plain(value: object) -> bool:
    """Whether all of an object's state lies in its `__dict__`: nothing in C, in slots or in files."""
    return hasattr(value, "__dict__") and _reduced(value) is not None


def _has_no_state(value: object) -> bool:
    return not hasattr(value, "__dict__") and _reduced(value) == ()


def _reduced(value: object) -> tuple[Any, ...] | None:
    """What pickle would store beside the class, if that is attributes alone; None: it is something else.

    Python itself refuses here what has a state in C that it does not know of.
    """
    kind = type(value)
    if kind.__reduce__ is not object.__reduce__ or kind.__reduce_ex__ is not object.__reduce_ex__:
        return None
    try:
        reduced = value.__reduce_ex__(2)
    except Exception:  # a lock, a generator, an open file; or a `__getstate__` that refuses
        return None
    made, _, *more = reduced if isinstance(reduced, tuple) else (None, None)
    state = [each for each in more if each is not None]
    has_slots = bool(state) and isinstance(state[0], tuple)  # attributes, then slots
    return tuple(state) if made is copyreg.__newobj__ and not has_slots else None  # type: ignore[attr-defined]
