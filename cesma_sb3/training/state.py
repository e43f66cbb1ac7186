"""The state of a training as plain values and arrays, and back into a training that was made anew.

A training that goes on is built as the first one was, from the same experiment; then everything that may have
changed is put back: weights, optimizers, buffers, counters, generators, environments. What this is nobody has
to list: objects of ours and of Stable-Baselines3 are walked, attribute by attribute. Functions, loggers, the
spaces of a team and frozen dataclasses are the same in both trainings and are left alone. No code is stored
and none is run, so a file of a state need not be trusted.

A value is stored as JSON holds it, or as a mapping with the key `is`:

array, tensor           its place among the arrays; of a buffer that is not full, the rows in use
list, tuple, deque, set, mapping
object                  its attributes, or what its `state_to_keep` returns and `go_on_from` takes
state dict              what its `state_dict` returns and `load_state_dict` takes
again                   the number of the container that it is, in the order of the walk
constant                left alone
"""

from __future__ import annotations

import copy
import random
import sys
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch as th
from torch import nn

from cesma_sb3.errors import StorageError, error_line
from cesma_sb3.training.state_rules import (
    LEFT_ALONE,
    PACKAGES,
    has_state_dict,
    is_constant,
    is_left_env,
    is_plain,
    is_walked,
    name_of,
    rows_in_use,
)

Arrays = dict[str, np.ndarray[Any, Any]]

_CONTAINERS: dict[str, type[Any]] = {"list": list, "tuple": tuple, "deque": deque, "set": set}
_BIT_GENERATORS = ("PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64")


def capture(root: object, *, constants: Iterable[object] = ()) -> tuple[Any, Arrays]:
    """The state of an object and of everything that it leads to, and that of the global generators.

    Args:
        root: An object, or a mapping of several.
        constants: Objects that do not change, which are left alone.

    Returns:
        A value for JSON, and the arrays that it names. They may be those in use: write them before going on.

    Raises:
        StorageError: Something has a state that cannot be stored.
    """
    walk = _Capture(constants)
    return [walk.node(_GlobalGenerators(), "generators"), walk.node(root, "")], walk.arrays


def restore(root: object, state: Any, arrays: Mapping[str, Any]) -> bool:
    """Puts a state back into an object that was made as the first one was.

    Args:
        root: What `capture` was given, made anew; changed in place.
        state: What `capture` returned.
        arrays: Likewise.

    Returns:
        Whether the environments are where they were. If not, their episodes begin anew.

    Raises:
        StorageError: The state is of something else.
    """
    walk = _Restore(arrays)
    try:
        generators, saved = state
        walk.value(root, saved, "")
        walk.value(_GlobalGenerators(), generators, "generators")  # last: making things may draw
    except (KeyError, IndexError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise StorageError(f"a state that does not fit this training: {error}") from None
    return not walk.env_was_left


@runtime_checkable
class KeepsItself(Protocol):
    """What has its state in another library's objects."""

    def state_to_keep(self) -> Any:
        """Its state as plain values and arrays."""

    def go_on_from(self, state: Any) -> None:
        """Takes a state over, of one that was made as this one was."""


def _python_state(generator: Any) -> list[Any]:
    version, words, spare = generator.getstate()
    return [version, list(words), spare]


def _set_python_state(generator: Any, state: Any) -> None:
    version, words, spare = state
    generator.setstate((version, tuple(words), spare))


class _GlobalGenerators:
    """The generators that everybody shares, as if they were an object's attributes."""

    __slots__ = ()

    def get(self) -> dict[str, Any]:
        kind, keys, position, has_gauss, gauss = np.random.get_state(legacy=True)  # noqa: NPY002  # SB3 uses it
        return {
            "torch": th.get_rng_state(),
            "cuda": th.cuda.get_rng_state_all() if th.cuda.is_available() else [],
            "numpy": [kind, keys, position, has_gauss, gauss],
            "python": _python_state(random),
        }

    def set(self, state: Mapping[str, Any]) -> None:
        th.set_rng_state(state["torch"])
        if state["cuda"]:
            th.cuda.set_rng_state_all(state["cuda"])
        np.random.set_state(tuple(state["numpy"]))  # noqa: NPY002  # see above
        _set_python_state(random, state["python"])


_WITH_STATE: tuple[tuple[type[Any], str, Callable[[Any], Any]], ...] = (
    (_GlobalGenerators, "generators", _GlobalGenerators.get),
    (np.random.Generator, "generator", lambda value: value.bit_generator.state),
    (np.random.RandomState, "random state", lambda value: list(value.get_state(legacy=True))),
    (random.Random, "python generator", _python_state),
    (th.Generator, "torch generator", th.Generator.get_state),
    (th.optim.Optimizer, "optimizer", lambda value: value.state_dict()),
    (KeepsItself, "own", lambda value: value.state_to_keep()),
)
"""What says itself what its state is."""


_PUT_BACK: dict[str, tuple[Callable[[], Any] | None, Callable[[Any, Any], object]]] = {
    "generators": (None, _GlobalGenerators.set),
    "random state": (np.random.RandomState, lambda current, state: current.set_state(tuple(state))),
    "python generator": (random.Random, _set_python_state),
    "torch generator": (th.Generator, th.Generator.set_state),
    "optimizer": (None, lambda current, state: current.load_state_dict(state)),
    "state dict": (None, lambda current, state: current.load_state_dict(state)),
    "own": (None, lambda current, state: current.go_on_from(state)),
}
"""By the kind of a value: how it is made if it is not there (None: it must be), and what takes its state."""


class _Capture:
    """One walk; containers and arrays are numbered in its order."""

    def __init__(self, constants: Iterable[object]) -> None:
        self.arrays: Arrays = {}
        self._constants = {id(each) for each in constants}
        self._numbers: dict[int, int] = {}
        self._kept: list[object] = []  # so that no two that are walked have the same id

    def node(self, value: Any, where: str, rows: tuple[int, int] | None = None) -> Any:
        """What is stored of a value; `where` says which it is, and `rows` of which buffer it is a part."""
        if value is None or type(value) in (bool, int, float, str):
            return value
        if id(value) in self._constants or isinstance(value, LEFT_ALONE):
            return {"is": "constant"}
        if isinstance(value, np.generic | float):
            return self._number(value, where)
        if (number := self._numbers.get(id(value))) is not None:
            return {"is": "again", "number": number}
        number = self._numbers[id(value)] = len(self._numbers)
        self._kept.append(value)
        return {"number": number, **self._container(value, where, rows)}

    def _number(self, value: Any, where: str) -> dict[str, Any]:
        if isinstance(value, np.generic):
            return {"is": "number", "of": value.dtype.str, "value": value.item()}
        attributes = self._pairs(vars(value).items(), where)  # a subclass of float may have some
        return {"is": "float", "of": name_of(value), "value": float(value), "with": attributes}

    def _container(self, value: Any, where: str, rows: tuple[int, int] | None) -> dict[str, Any]:
        if isinstance(value, np.ndarray | th.Tensor):
            return self._array(value, where, rows)
        if isinstance(value, Mapping):
            return {"is": "mapping", "items": self._pairs(value.items(), where, rows)}
        if isinstance(value, list | tuple | deque | set):
            return self._sequence(value, where, rows)
        return self._object(value, where)

    def _pairs(
        self, items: Iterable[tuple[Any, Any]], where: str, rows: tuple[int, int] | None = None
    ) -> list[list[Any]]:
        return [
            [self.node(key, where), self.node(value, f"{where}.{key}", rows)] for key, value in list(items)
        ]

    def _sequence(self, value: Any, where: str, rows: tuple[int, int] | None) -> dict[str, Any]:
        items = [self.node(item, f"{where}[{index}]", rows) for index, item in enumerate(value)]
        if isinstance(value, tuple) and hasattr(value, "_fields"):
            return {"is": "tuple", "of": name_of(value), "items": items}
        kind = next(name for name, made in _CONTAINERS.items() if isinstance(value, made))
        return {"is": kind, "items": items, **({"most": value.maxlen} if kind == "deque" else {})}

    def _array(self, value: Any, where: str, rows: tuple[int, int] | None) -> dict[str, Any]:
        is_tensor = isinstance(value, th.Tensor)
        array = value.detach().cpu().numpy() if is_tensor else value
        if array.dtype.hasobject:
            raise StorageError(f"{where}: an array of objects cannot be stored")
        node: dict[str, Any] = {"is": "tensor" if is_tensor else "array"}
        if rows is not None and array.ndim and len(array) == rows[0]:
            node["length"] = rows[0]
            array = array[: rows[1]]
        node["at"] = str(len(self.arrays))
        self.arrays[node["at"]] = np.ascontiguousarray(array).reshape(array.shape)
        return node

    def _object(self, value: Any, where: str) -> dict[str, Any]:
        for made, kind, state_of in _WITH_STATE:
            if isinstance(value, made):
                return {"is": kind, "state": self.node(state_of(value), where)}
        if is_left_env(value):
            return {"is": "environment"}
        if is_walked(value):
            return self._attributes(value, where)
        if has_state_dict(value):
            return {"is": "state dict", "state": self._own_state(value, where)}
        if is_constant(value):
            return {"is": "constant"}
        if is_plain(value):
            return self._attributes(value, where)
        raise StorageError(
            f"{where.lstrip('.')}: a checkpoint cannot hold the state of {name_of(value)}; expected "
            "state_dict() and load_state_dict() in that class, or in the one that has it as an attribute"
        )

    def _attributes(self, value: Any, where: str) -> dict[str, Any]:
        attributes = self._pairs(vars(value).items(), where, rows_in_use(value))
        return {"is": "object", "of": name_of(value), "attributes": attributes}

    def _own_state(self, value: Any, where: str) -> Any:
        """What `state_dict()` returns, if a checkpoint can hold all of it."""
        try:
            state = value.state_dict()
        except Exception as error:  # whatever a state_dict() of the user raises
            raise StorageError(f"{where.lstrip('.')}.state_dict(): {error_line(error)}") from error
        _check_plain(state, f"{where.lstrip('.')}.state_dict()")
        return self.node(state, where)


class _Restore:
    """The same walk through what was made anew."""

    def __init__(self, arrays: Mapping[str, Any]) -> None:
        self.env_was_left = False
        self._arrays = arrays
        self._done: dict[int, Any] = {}  # by number, what is there now
        self._claimed: set[int] = set()
        self._kept: list[object] = []  # so that no two that are claimed have the same id
        self._of_class: dict[str, Any] = {}
        """By the name of its class, an object of which another may be a copy."""

    def value(self, current: Any, node: Any, where: str) -> Any:
        """What takes the place of `current`, which is changed itself where it can be."""
        if not isinstance(node, dict):
            return node
        kind = node["is"]
        if kind == "again":
            return self._done[node["number"]]
        if kind == "number":
            return np.dtype(node["of"]).type(node["value"])
        if kind == "float":
            value = _class(node["of"], float)(node["value"])
            vars(value).update((key, self.value(None, saved, where)) for key, saved in node["with"])
            return value
        found = current if kind == "constant" else self._changed(current, node, where)
        if "number" in node:
            self._done[node["number"]] = found
        return found

    def _changed(self, current: Any, node: Mapping[str, Any], where: str) -> Any:
        if id(current) in self._claimed:  # two of the first training were one when this one was made
            current = None
        self._claim(current, node)
        found = self._container(current, node, where)
        self._claim(found, node)
        return found

    def _claim(self, current: Any, node: Mapping[str, Any]) -> None:
        """Says what is there now; containers that lead to themselves ask for it while they are filled."""
        if current is not None:
            self._done[node["number"]] = current
            self._claimed.add(id(current))
            self._kept.append(current)

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
        length = node.get("length", len(saved) if saved.ndim else 0)
        shape = (length, *saved.shape[1:]) if saved.ndim else ()
        if node["is"] == "tensor":
            new = th.from_numpy(np.array(saved))
            if isinstance(current, th.Tensor) and current.shape == new.shape and current.dtype == new.dtype:
                with th.no_grad():
                    return current.copy_(new)
            if isinstance(current, nn.Parameter):
                raise StorageError(f"{where}: {tuple(new.shape)}, expected {tuple(current.shape)}")
            return new
        fits = isinstance(current, np.ndarray) and current.shape == shape and current.dtype == saved.dtype
        if not fits:
            current = np.zeros(shape, dtype=saved.dtype)
        if current.flags.writeable:
            current[: len(saved) if saved.ndim else None] = saved
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
        if node["is"] == "tuple" and "of" in node:
            return _class(node["of"], tuple)(*items)
        if node["is"] == "list" and isinstance(current, list):
            current[:] = items
            return current
        if node["is"] == "deque":
            return deque(items, maxlen=node["most"])
        return _CONTAINERS[node["is"]](items)

    def _item(self, current: Any, node: Any, where: str) -> Any:
        """As `value`, of what a container holds: unlike an attribute, it is there or was stored."""
        if current is None and isinstance(node, dict) and node["is"] == "constant":
            raise StorageError(f"{where}: is missing, and is not stored")
        return self.value(current, node, where)

    def _object(self, current: Any, node: Mapping[str, Any], where: str) -> Any:
        kind = node["is"]
        if kind == "environment":
            self.env_was_left = True
            return current
        if kind == "object":
            return self._walked(current, node, where)
        state = self.value(None, node["state"], where)
        if kind == "generator":
            return _generator(current, state)
        if kind not in _PUT_BACK:
            raise StorageError(f"{where}: unknown kind {kind!r}")
        make, put_back = _PUT_BACK[kind]
        if current is None and make is None:
            raise StorageError(f"{where}: is missing, and its state is stored")
        current = make() if current is None and make is not None else current
        put_back(current, state)
        return current

    def _walked(self, current: Any, node: Mapping[str, Any], where: str) -> Any:
        name = node["of"]
        if current is None and name in self._of_class:
            current = copy.deepcopy(self._of_class[name])
            self._claim(current, node)
        if current is None or name_of(current) != name:
            there = "nothing" if current is None else name_of(current)
            raise StorageError(f"{where}: expected {there}, found {name}")
        self._of_class.setdefault(name, current)
        attributes = vars(current)
        for saved_key, saved in node["attributes"]:
            attributes[saved_key] = self.value(attributes.get(saved_key), saved, f"{where}.{saved_key}")
        return current


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


def _generator(current: Any, state: Mapping[str, Any]) -> np.random.Generator:
    name = state["bit_generator"]
    if not isinstance(current, np.random.Generator) or type(current.bit_generator).__name__ != name:
        if name not in _BIT_GENERATORS:
            raise StorageError(f"unknown generator {name!r}")
        current = np.random.Generator(getattr(np.random, name)())
    generator: np.random.Generator = current
    generator.bit_generator.state = dict(state)
    return generator


def _class(name: str, base: type[Any]) -> type[Any]:
    """A class of ours or of SB3 that is a kind of tuple or number; nothing is imported."""
    module, _, qualified = name.partition(":")
    found: Any = sys.modules.get(module) if module.partition(".")[0] in PACKAGES else None
    for part in qualified.split("."):
        found = getattr(found, part, None)
    if not (isinstance(found, type) and issubclass(found, base)):
        raise StorageError(f"unknown class {name!r}")
    return found
