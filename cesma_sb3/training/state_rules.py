"""Which objects have no state, and which have all of it in their attributes.

An object says what its state is by `state_dict` and `load_state_dict`. Of one that does not, all attributes
are its state, provided that it has no other: nothing in C, in slots or in files. What cannot change is
constant. Anything else is refused: its state would be lost without a word.
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

import numpy as np
import torch as th
from stable_baselines3.common.distributions import Distribution
from stable_baselines3.common.logger import Logger
from torch import nn

from cesma_sb3.spaces.team_spaces import TeamSpaces

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
_LIBRARIES = ("torch", "stable_baselines3", "sb3_contrib", "cesma_sb3")
_OF_ANY_MODULE = frozenset(vars(nn.Module()))


def name_of(value: object) -> str:
    """The class of a value as `module:class`."""
    return f"{type(value).__module__}:{type(value).__qualname__}"


def has_state_dict(value: object) -> bool:
    """Whether the class of an object says what its state is, as PyTorch's do.

    An object may answer for another one that it wraps, as SB3's wrappers do: it has a state of its own.
    """
    return all(callable(getattr(type(value), name, None)) for name in ("state_dict", "load_state_dict"))


def is_constant(value: object) -> bool:
    """Whether a value cannot change, or is an internal object of PyTorch."""
    parameters = getattr(type(value), "__dataclass_params__", None)
    if isinstance(value, (*_IMMUTABLE, *_FUNCTIONS)) or getattr(parameters, "frozen", False):
        return True
    has_no_state = not hasattr(value, "__dict__") and _reduced(value) == ()
    return has_no_state or type(value).__module__.partition(".")[0] == "torch"


def is_plain(value: object) -> bool:
    """Whether all of an object's state lies in its `__dict__`: nothing in C, in slots or in files."""
    return hasattr(value, "__dict__") and _reduced(value) is not None


def module_attributes(value: object) -> dict[str, tuple[nn.Module, dict[str, Any]]]:
    """What the modules of a network have besides the parameters and buffers of its `state_dict`.

    Modules of PyTorch, of Stable-Baselines3 and of this package have nothing that changes; of anybody else's
    it is every other attribute.

    Returns:
        By name of the module, the module and its attributes; nothing of what is no network.
    """
    modules = value.named_modules() if isinstance(value, nn.Module) else ()
    found = {}
    for name, module in modules:
        if type(module).__module__.partition(".")[0] not in _LIBRARIES:
            attributes = {key: each for key, each in vars(module).items() if key not in _OF_ANY_MODULE}
            kept_elsewhere = module._non_persistent_buffers_set  # `state_dict` leaves these out
            found[name] = module, attributes | {key: module._buffers[key] for key in kept_elsewhere}
    return found


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
    made, arguments, *more = reduced if isinstance(reduced, tuple) else (None, ())
    state = [each for each in more if each is not None]
    has_slots = bool(state) and isinstance(state[0], tuple)  # attributes, then slots
    is_attributes = made is copyreg.__newobj__ and len(arguments) == 1  # type: ignore[attr-defined]
    return tuple(state) if is_attributes and not has_slots else None
