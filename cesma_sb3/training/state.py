"""The state of a training as plain values and arrays, and back into a training that was constructed anew.

A run that resumes constructs its training as at its start, from the same experiment; then what has changed
since is put back: weights, optimizers, buffers, counters, generators, environments. Our classes declare what
that is (`Stateful`), of SB3's models it is what they save (`sb3_state`), and `state_rules` says what becomes
of anybody else's objects. No code is stored and none is run, so a file of a state need not be trusted.

A value is stored as JSON holds it, or as a mapping with the key `is`:

array, tensor           its place among the arrays
list, tuple, deque, set, mapping
object                  what `Stateful.state_dict` returns; else all of its attributes
state dict              what its `state_dict` returns and `load_state_dict` takes, as of PyTorch's objects
again                   the number of an object that is stored already, in the order of the walk
constant                nothing: it does not change
environment             nothing: its state cannot be had, so its episodes begin anew
"""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch as th
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper
from torch import nn

from cesma_sb3.errors import StorageError, error_line
from cesma_sb3.training.generators import GENERATORS, GlobalGenerators
from cesma_sb3.training.sb3_state import ModelState, ReplayBufferState, is_left_env
from cesma_sb3.training.state_rules import (
    LEFT_ALONE,
    has_state_dict,
    is_constant,
    is_plain,
    module_attributes,
    name_of,
)
from cesma_sb3.utils.stateful import Stateful, declares_state

Arrays = dict[str, np.ndarray[Any, Any]]

_CONTAINERS: dict[str, type[Any]] = {"list": list, "tuple": tuple, "deque": deque, "set": set}


def capture(root: object, *, constants: Iterable[object] = ()) -> tuple[Any, Arrays]:
    """Returns the state of an object and of everything that it leads to, and that of the global generators.

    Args:
        root: An object, or a mapping of several.
        constants: Objects that are not stored.

    Returns:
        A value for JSON, and the arrays that it names. They may be those in use: write them before training
        continues.

    Raises:
        StorageError: Something has a state that cannot be stored.
    """
    walk = _Capture(constants)
    return [walk.node(GlobalGenerators(), "generators"), walk.node(root, "")], walk.arrays


def restore(root: object, state: Any, arrays: Mapping[str, Any]) -> bool:
    """Puts a state back into an object that was constructed as the first one was.

    Args:
        root: What `capture` was given, constructed anew; changed in place.
        state: The value that `capture` returned.
        arrays: The arrays that `capture` returned.

    Returns:
        Whether the environments are where they were. If not, their episodes begin anew.

    Raises:
        StorageError: The state is of something else.
    """
    walk = _Restore(arrays)
    try:
        generators, saved = state
        walk.value(root, saved, "")
        walk.value(GlobalGenerators(), generators, "generators")  # last: constructing things may draw
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise StorageError(f"a state that does not fit this training: {error}") from None
    return not walk.env_was_left


class _Capture:
    """The walk that stores a state; containers, arrays and objects are numbered in its order."""

    def __init__(self, constants: Iterable[object]) -> None:
        self.arrays: Arrays = {}
        self._constants = {id(each) for each in constants}
        self._numbers: dict[int, int] = {}
        self._kept: list[object] = []  # so that no two that are walked have the same id

    def node(self, value: Any, where: str) -> Any:
        """What is stored of a value; `where` names it in messages."""
        if value is None or type(value) in (bool, int, float, str):
            return value
        if id(value) in self._constants or isinstance(value, LEFT_ALONE):
            return {"is": "constant"}
        if isinstance(value, np.generic):
            return {"is": "number", "of": value.dtype.str, "value": value.item()}
        if (number := self._numbers.get(id(value))) is not None:
            return {"is": "again", "number": number}
        number = self._numbers[id(value)] = len(self._numbers)
        self._kept.append(value)
        return {"number": number, **self._container(value, where)}

    def _container(self, value: Any, where: str) -> dict[str, Any]:
        if isinstance(value, np.ndarray | th.Tensor):
            return self._array(value, where)
        if isinstance(value, Mapping):
            return {"is": "mapping", "items": self._pairs(value, where)}
        if isinstance(value, list | tuple | deque | set):
            return self._sequence(value, where)
        return self._object(value, where)

    def _pairs(self, items: Mapping[Any, Any], where: str) -> list[list[Any]]:
        return [[self.node(key, where), self.node(value, f"{where}.{key}")] for key, value in items.items()]

    def _sequence(self, value: Any, where: str) -> dict[str, Any]:
        items = [self.node(item, f"{where}[{index}]") for index, item in enumerate(value)]
        kind = next(name for name, made in _CONTAINERS.items() if isinstance(value, made))
        named = {"of": name_of(value)} if hasattr(value, "_fields") else {}
        return {"is": kind, "items": items, **named, **({"most": value.maxlen} if kind == "deque" else {})}

    def _array(self, value: Any, where: str) -> dict[str, Any]:
        is_tensor = isinstance(value, th.Tensor)
        array = value.detach().cpu().numpy() if is_tensor else value
        if array.dtype.hasobject:
            raise StorageError(f"{where}: an array of objects cannot be stored")
        at = str(len(self.arrays))
        self.arrays[at] = np.ascontiguousarray(array).reshape(array.shape)
        return {"is": "tensor" if is_tensor else "array", "at": at}

    def _object(self, value: Any, where: str) -> dict[str, Any]:
        for name, kind in GENERATORS.items():
            if isinstance(value, kind.made):
                return {"is": name, "state": self.node(kind.state_of(value), where)}
        if is_left_env(value):
            return {"is": "environment"}
        if has_state_dict(value) and not isinstance(value, Stateful):
            return self._state_dict(value, where)
        stateful = _stateful(value)
        if isinstance(stateful, _AllAttributes):
            if is_constant(value):
                return {"is": "constant"}
            if not (is_plain(value) or isinstance(value, VecEnv)):
                raise StorageError(
                    f"{where.lstrip('.')}: a checkpoint cannot hold the state of {name_of(value)}; expected "
                    "state_dict() and load_state_dict() in that class, or in the one that has it as an "
                    "attribute"
                )
        state = self._pairs(stateful.state_dict(), where)
        return {"is": "object", "of": name_of(value), "state": state}

    def _state_dict(self, value: Any, where: str) -> dict[str, Any]:
        """What `state_dict()` returns, if a checkpoint can hold all of it."""
        try:
            state = value.state_dict()
        except Exception as error:  # whatever a state_dict() of the user raises
            raise StorageError(f"{where.lstrip('.')}.state_dict(): {error_line(error)}") from error
        _check_plain(state, f"{where.lstrip('.')}.state_dict()")
        modules = {name: self._pairs(more, where) for name, (_, more) in module_attributes(value).items()}
        return {
            "is": "state dict",
            "of": name_of(value),
            "state": self.node(state, where),
            "modules": modules,
        }


class _Restore:
    """The same walk through the objects of a new training, into which the state is put."""

    def __init__(self, arrays: Mapping[str, Any]) -> None:
        self.env_was_left = False
        self._arrays = arrays
        self._done: dict[int, Any] = {}  # by number, the object of the new training
        self._claimed: dict[int, object] = {}  # by id, the objects that have a number
        self._of_class: dict[str, Any] = {}  # by its name, an object of a class to copy for another

    def value(self, current: Any, node: Any, where: str) -> Any:
        """What takes the place of `current` in the new training: itself, changed, where that is possible."""
        if not isinstance(node, dict):
            return node
        kind = node["is"]
        if kind == "again":
            return self._done[node["number"]]
        if kind == "number":
            return np.dtype(node["of"]).type(node["value"])
        if kind == "constant":
            found = current
        else:
            if id(current) in self._claimed:  # one object yet, but two when the state was stored
                current = None
            self._claim(current, node)
            found = self._container(current, node, where)
            self._claim(found, node)
        if "number" in node:
            self._done[node["number"]] = found
        return found

    def _claim(self, current: Any, node: Mapping[str, Any]) -> None:
        """Gives an object its number; one that leads to itself is asked for while it is filled."""
        if current is not None:
            self._done[node["number"]] = current
            self._claimed[id(current)] = current

    def _container(self, current: Any, node: Mapping[str, Any], where: str) -> Any:
        kind = node["is"]
        if kind in ("array", "tensor"):
            return self._array(current, node, where)
        if kind == "mapping":
            return self._mapping(current, node["items"], where)
        if kind in _CONTAINERS:
            return self._sequence(current, node, where)
        return self._object(current, node, where)

    def _array(self, current: Any, node: Mapping[str, Any], where: str) -> Any:
        saved = self._arrays[node["at"]]
        if node["is"] == "tensor":
            new = th.from_numpy(np.array(saved))
            if isinstance(current, th.Tensor) and current.shape == new.shape and current.dtype == new.dtype:
                with th.no_grad():
                    return current.copy_(new)
            if isinstance(current, nn.Parameter):
                raise StorageError(f"{where}: {tuple(new.shape)}, expected {tuple(current.shape)}")
            return new
        fits = isinstance(current, np.ndarray) and current.shape == saved.shape
        if not fits or current.dtype != saved.dtype:
            return np.array(saved)
        if current.flags.writeable:
            current[...] = saved
        return current

    def _mapping(self, current: Any, items: Iterable[tuple[Any, Any]], where: str) -> Any:
        found = current if isinstance(current, dict) else {}
        new = {}
        for saved_key, saved in items:
            key = self.value(None, saved_key, where)
            new[key] = self._item(found.get(key), saved, f"{where}.{key}")
        if not isinstance(current, Mapping) or isinstance(current, dict):
            found.clear()
            found.update(new)
            return found
        return current  # a view of something else, whose values were changed in place

    def _sequence(self, current: Any, node: Mapping[str, Any], where: str) -> Any:
        before = list(current) if isinstance(current, list | tuple | deque) else []
        before += [None] * (len(node["items"]) - len(before))
        items = [
            self._item(old, saved, f"{where}[{index}]")
            for index, (old, saved) in enumerate(zip(before, node["items"], strict=False))
        ]
        if "of" in node:
            _check_class(current, node, where)
            return type(current)(*items)
        if node["is"] == "list" and isinstance(current, list):
            current[:] = items
            return current
        if node["is"] == "deque":
            return deque(items, maxlen=node["most"])
        return _CONTAINERS[node["is"]](items)

    def _item(self, current: Any, node: Any, where: str) -> Any:
        """What takes the place of an item, which a container cannot be without.

        Raises:
            StorageError: It is constant, and not there.
        """
        if current is None and isinstance(node, dict) and node["is"] == "constant":
            raise StorageError(f"{where}: is missing, and is not stored")
        return self.value(current, node, where)

    def _object(self, current: Any, node: Mapping[str, Any], where: str) -> Any:
        kind = node["is"]
        if kind == "environment":
            self.env_was_left = True
            return current
        if kind in GENERATORS:
            return GENERATORS[kind].put(current, self.value(None, node["state"], where))
        if kind not in ("object", "state dict"):
            raise StorageError(f"{where}: unknown kind {kind!r}")
        if current is None and node["of"] in self._of_class:
            current = copy.deepcopy(self._of_class[node["of"]])
            self._claim(current, node)
        _check_class(current, node, where)
        self._of_class.setdefault(node["of"], current)
        if kind == "object":
            holder = _stateful(current)
            holder.load_state_dict(self._attributes(holder.state_dict(), node["state"], where))
            return current
        current.load_state_dict(self.value(None, node["state"], where))
        for name, (module, before) in module_attributes(current).items():
            for key, value in self._attributes(before, node["modules"][name], where).items():
                setattr(module, key, value)
        return current

    def _attributes(
        self, before: dict[str, Any], items: Iterable[tuple[str, Any]], where: str
    ) -> dict[str, Any]:
        return {
            key: self.value(before.get(key), saved, f"{where}.{key}")
            for key, saved in items
            if key in before or saved != {"is": "constant"}
        }


def _stateful(value: Any) -> Stateful:
    """What says which attributes of an object are its state, where it has no `state_dict` like PyTorch's."""
    if declares_state(value):
        return value  # type: ignore[no-any-return]
    if isinstance(value, BaseAlgorithm):
        return ModelState(value)
    return ReplayBufferState(value) if isinstance(value, ReplayBuffer) else _AllAttributes(value)


class _AllAttributes(Stateful):
    """An object that does not say which of its attributes are its state: all of them are."""

    def __init__(self, value: object) -> None:
        self.value = value

    def state_dict(self) -> dict[str, Any]:
        attributes = dict(vars(self.value))
        if isinstance(self.value, VecEnvWrapper):
            attributes.pop("class_attributes", None)  # the members of its class, to look names up
        return attributes

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        vars(self.value).update(state_dict)


def _check_class(current: object, node: Mapping[str, Any], where: str) -> None:
    if current is None or name_of(current) != node["of"]:
        there = "nothing" if current is None else name_of(current)
        raise StorageError(f"{where}: expected {there}, found {node['of']}")


def _check_plain(state: Any, where: str) -> None:
    """Whether a state holds plain values, arrays and tensors alone, in lists, tuples and mappings."""
    if isinstance(state, Mapping):
        for key, value in state.items():
            _check_plain(key, where)
            _check_plain(value, f"{where}[{key!r}]")
    elif isinstance(state, list | tuple):
        for index, value in enumerate(state):
            _check_plain(value, f"{where}[{index}]")
    elif state is not None and not isinstance(state, int | float | str | np.generic | np.ndarray | th.Tensor):
        raise StorageError(
            f"{where}: {name_of(state)}, expected numbers, text, arrays and tensors, in lists and mappings"
        )
