"""Check arguments from a file against the signature of a class or function."""

from __future__ import annotations

import inspect
import re
import types
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError
from pydantic.errors import PydanticSchemaGenerationError

from cesma_sb3.errors import short_repr

_PLAIN = (int, float, bool, str, types.NoneType, list, tuple, dict, set)
"""Types of the values that a file can hold, some of them after a conversion."""


def arguments_of(made: Callable[..., Any]) -> Iterator[str]:
    """Yield the names of a class's or function's arguments, and those of base classes that get `**kwargs`."""
    return (name for name, _, _ in _parameters(made))


def wrong_argument(made: Callable[..., Any], values: Mapping[str, Any]) -> tuple[str, str] | None:
    """Find the first value that is not of the type in the signature.

    Only types that a file can hold are checked; a class that is named by text is not.

    Args:
        made: A class or a function.
        values: Arguments by name. Unknown names are ignored.

    Returns:
        The name and a message; None if nothing is wrong.
    """
    known = {name: (hint, default) for name, hint, default in _parameters(made)}
    for name, value in with_integers(made, values).items():
        hint, default = known.get(name, (Any, None))
        expected = _judged(hint)
        if expected is not None and value is not default and not _fits(expected, value):
            return name, f"expected {_called(expected)}, got {short_repr(value)}"
    return None


def with_integers(made: Callable[..., Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values, with whole floats such as 1e6 as integers where the signature asks for integers.

    Args:
        made: A class or a function.
        values: Arguments by name. Those of unknown names or undeclared types stay as they are.
    """
    known = {name: hint for name, hint, _ in _parameters(made)}
    return {name: _with_integers(known.get(name, Any), value) for name, value in values.items()}


def _with_integers(hint: Any, value: Any) -> Any:
    expected = _judged(hint)
    if expected is None or not isinstance(value, float | list | dict):
        return value
    try:  # pydantic takes a whole float for an integer, and for nothing else that becomes one
        return _integers_of(value, TypeAdapter(expected).validate_python(value))
    except (PydanticSchemaGenerationError, ValidationError):
        return value


def _integers_of(value: Any, converted: Any) -> Any:
    """Return the value with the integers of `converted` in place of its floats."""
    if isinstance(value, float) and type(converted) is int:
        return converted
    if isinstance(value, list) and isinstance(converted, list | tuple) and len(value) == len(converted):
        return [_integers_of(*pair) for pair in zip(value, converted, strict=True)]
    if isinstance(value, dict) and isinstance(converted, dict):
        return {key: _integers_of(item, converted.get(key)) for key, item in value.items()}
    return value


def mask_parameter(function: Callable[..., Any]) -> inspect.Parameter | None:
    """Find the parameter by which a controller takes action masks beside its observations.

    It is the one whose name says so (`masks`, `action_masks`, `avail_actions`, `legal_moves`), wherever it
    stands and whatever its default is; else a second positional parameter without a default. The signature is
    that of what a decorator wrapped, where it says what that was (`functools.wraps`).

    Args:
        function: A function, a bound method, an object that can be called, or a TorchScript method.

    Returns:
        The parameter, or None of a controller that takes none.

    Raises:
        ValueError: There is no signature, or it takes whatever it is given (`*args`), so that nobody can say.
    """
    try:
        parameters = _signature(function)
    except TypeError as error:
        raise ValueError(str(error)) from None
    positional = [each for each in parameters if each.kind in _POSITIONAL]
    for each in parameters:
        if each.kind in _NAMED and each not in positional[:1] and _MASK_NAME.search(each.name):
            return each
    if len(positional) > 1 and positional[1].default is inspect.Parameter.empty:
        return positional[1]
    if any(each.kind not in _NAMED for each in parameters):
        raise ValueError("it takes whatever it is given")
    return None


_POSITIONAL = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_NAMED = (*_POSITIONAL, inspect.Parameter.KEYWORD_ONLY)
_MASK_NAME = re.compile(r"mask|avail|legal", re.IGNORECASE)


def _signature(function: Any) -> list[inspect.Parameter]:
    """Return the parameters of a function; of a TorchScript method, those of its schema."""
    schema: Any = getattr(function, "schema", None)
    if not hasattr(schema, "arguments"):
        return list(inspect.signature(function).parameters.values())
    empty = inspect.Parameter.empty
    return [
        inspect.Parameter(each.name, _POSITIONAL[1], default=None if each.has_default_value() else empty)
        for each in schema.arguments
        if each.name != "self"
    ]


def _parameters(made: Callable[..., Any]) -> Iterator[tuple[str, Any, Any]]:
    """Yield names, types and defaults of arguments; a type that cannot be evaluated is `Any`."""
    if not isinstance(made, type):
        functions: list[Any] = [made]
    else:
        functions = [vars(base)["__init__"] for base in made.__mro__ if "__init__" in vars(base)]
    for function in map(inspect.unwrap, functions):
        passes_on = False
        parameters = list(inspect.signature(function).parameters.items())
        for name, parameter in parameters[1 if isinstance(made, type) else 0 :]:
            if parameter.kind is parameter.VAR_KEYWORD:
                passes_on = True
            elif parameter.kind is not parameter.VAR_POSITIONAL:
                yield name, _hint(function, parameter.annotation), parameter.default
        if not passes_on:
            return


def _hint(function: Any, annotation: Any) -> Any:
    if annotation is inspect.Parameter.empty:
        return Any
    known = {**getattr(function, "__globals__", {}), "Any": Any}
    try:
        return typing.get_type_hints(types.SimpleNamespace(__annotations__={"it": annotation}), known)["it"]
    except (NameError, TypeError, AttributeError, SyntaxError):  # imported for type checkers alone, say
        return Any


def _judged(hint: Any) -> Any:
    """Return the part of a type that is checked; None if a value may be text in place of an object."""
    if typing.get_origin(hint) in {typing.Union, types.UnionType}:
        parts = [part for part in typing.get_args(hint) if typing.get_origin(part) is not Callable]
        judged = [_judged(part) for part in parts]
        return None if None in judged or not judged else typing.Union[tuple(judged)]  # noqa: UP007  # of a list
    if typing.get_origin(hint) is Literal or hint in _PLAIN:
        return hint
    plain = typing.get_origin(hint) in {list, tuple, dict, Sequence, Mapping} and all(
        part is ... or part is Any or _judged(part) is not None for part in typing.get_args(hint)
    )
    return hint if plain else None


def _fits(hint: Any, value: Any) -> bool:
    """Whether a value is of a type; a list is what a file has for a tuple."""
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(hint)
    except PydanticSchemaGenerationError:
        return True
    for strict in (True, False):
        if not strict and not isinstance(value, list):
            break
        try:
            adapter.validate_python(value, strict=strict)
        except ValidationError:
            continue
        return True
    return False


_WORDS: dict[Any, str] = {
    int: "an integer",
    float: "a number",
    bool: "true or false",
    str: "text",
    types.NoneType: "null",
}


def _called(hint: Any) -> str:
    """Describe a type."""
    if typing.get_origin(hint) in {typing.Union, types.UnionType}:
        return " or ".join(_called(part) for part in typing.get_args(hint))
    if typing.get_origin(hint) is Literal:
        return " or ".join(map(str, typing.get_args(hint)))
    if hint in _WORDS:
        return _WORDS[hint]
    kind = typing.get_origin(hint) or hint
    return "a mapping" if kind in {dict, Mapping} else "a list"
