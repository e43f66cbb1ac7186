"""Validate plain values by a pydantic model, with an error of one line."""

from __future__ import annotations

import os
import types
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from cesma_sb3.errors import ConfigError, did_you_mean, short_repr

Model = TypeVar("Model", bound=BaseModel)
KeyPath = tuple[str, ...]
"""A key in nested mappings: `("expert", "n_envs")`."""


def validate(model: type[Model], data: Mapping[str, Any], source: Callable[[KeyPath], str]) -> Model:
    """Make an instance of a model, such as an experiment, from plain values.

    Args:
        model: The schema.
        data: Nested values, as a file holds them.
        source: Returns the place of a key in error messages: its file.

    Raises:
        ConfigError: A value is wrong. The message has its place, key, what is allowed, and the nearest name.
    """
    try:
        return model.model_validate(data)
    except ValidationError as error:
        problems = error.errors(include_url=False)
        # A key with a typo is often why another one is missing: it is reported first.
        first = next((one for one in problems if one["type"] == "extra_forbidden"), problems[0])
        path, problem = _describe(model, first)
        missing = [_dotted(one["loc"]) for one in problems if one["type"] == "missing" and one is not first]
        if missing and first["type"] == "missing":
            line = f"{', '.join((_dotted(path), *missing))}: these keys are missing"
            if help_line := getattr(model, "when_missing", ""):
                line += f"; {help_line}"
        else:
            line = f"{_dotted(path)}: {problem}" + f"; missing: {', '.join(missing)}" * bool(missing)
        others = len(problems) - 1 - len(missing)
        more = f" (and {others} more)" if others else ""
        raise ConfigError(f"{source(path)}: {line}{more}") from None


def _dotted(path: Iterable[Any]) -> str:
    return ".".join(map(str, path))


def plain(value: Any) -> Any:
    """Convert a value to what YAML would hold: lists for tuples and arrays, Python's own numbers and text.

    NumPy's numbers and arrays, tensors and other arrays (`__array__`) become numbers and lists, paths become
    text. Other objects stay as they are, and `validate` refuses them.
    """
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if hasattr(value, "__array__") and hasattr(value, "tolist"):
        return plain(value.tolist())
    if isinstance(value, list | tuple | range):
        return [plain(item) for item in value]
    return os.fspath(value) if isinstance(value, os.PathLike) else value


_EXPECTED = {
    "int_type": "an integer",
    "int_from_float": "an integer",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "text",
    "string_too_short": "text",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "tuple_type": "a list",
    "finite_number": "a finite number",
    "too_short": "at least {min_length} of them",
    "greater_than": "more than {gt:,.16g}",
    "greater_than_equal": "at least {ge:,.16g}",
    "less_than": "less than {lt:,.16g}",
    "less_than_equal": "at most {le:,.16g}",
    "invalid-json-value": "a value that YAML can hold",
}
"""What is expected, by pydantic's type of the error; in braces values of the error's context."""


def _describe(model: type[BaseModel], error: Any) -> tuple[KeyPath, str]:
    """Return the path of the wrong value and a message, from one of pydantic's errors."""
    path = tuple(str(part) for part in error["loc"])
    kind, given, context = error["type"], error["input"], error.get("ctx", {})
    if kind == "extra_forbidden":
        keys = _keys(model, path[:-1])
        argument = f"; an argument is {'.'.join((*path[:-1], 'kwargs', path[-1]))}" * ("kwargs" in keys)
        problem = f"unknown key{did_you_mean(path[-1], sorted(keys))}{argument}"
    elif kind == "missing":
        problem = "this key is missing"
    elif kind == "literal_error":
        problem = f"unknown value {short_repr(given)}{did_you_mean(str(given), _literals(model, path))}"
    elif kind == "value_error":  # of a validator of the schema, which names the key first
        key, _, problem = str(context["error"]).partition(": ")
        path = (*path, *key.split("."))
    elif kind in _EXPECTED:
        problem = f"expected {_EXPECTED[kind].format(**context)}, got {short_repr(given)}"
    else:
        problem = f"{error['msg']}, got {short_repr(given)}"
    return path, problem


def schema_of(annotation: Any) -> Any:
    """Return the model in an annotation `Model | None`; any other annotation unchanged."""
    schemas = [p for p in typing.get_args(annotation) if isinstance(p, type) and issubclass(p, BaseModel)]
    return schemas[0] if schemas and _is_union(annotation) else annotation


def _is_union(annotation: Any) -> bool:
    return typing.get_origin(annotation) in (typing.Union, types.UnionType)


def _annotation(model: type[BaseModel], path: KeyPath) -> Any:
    """Return the annotation of the schema at a path."""
    annotation: Any = model
    for part in path:
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            annotation = schema_of(annotation.model_fields[part].annotation)
        else:  # an item of a tuple, or of a mapping; either may be optional
            if _is_union(annotation):
                annotation = next(each for each in typing.get_args(annotation) if each is not type(None))
            annotation = [each for each in typing.get_args(annotation) if each is not ...][-1]
    return annotation


def _keys(model: type[BaseModel], path: KeyPath) -> list[str]:
    annotation = _annotation(model, path)
    return [*annotation.model_fields, *getattr(annotation, "keys_of_files", ())]


def _literals(model: type[BaseModel], path: KeyPath) -> list[str]:
    """Return the allowed values of a Literal, or of a Literal or None."""
    annotation = _annotation(model, path)
    parts = typing.get_args(annotation)
    if _is_union(annotation):
        return [text for part in parts for text in (typing.get_args(part) or ("null",))]
    return list(parts)
