"""Overrides of an experiment: nested and dotted keys, and how they are merged into its values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cesma_sb3.config.schema import Experiment, Resets
from cesma_sb3.config.validation import plain, schema_of


def flatten(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values by dotted key: `{"expert": {"n_envs": 8}}` becomes `{"expert.n_envs": 8}`.

    Args:
        values: Keys nested, or dotted, or both. An empty mapping is a value.
    """
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            flat |= {f"{key}.{inner}": item for inner, item in flatten(value).items()}
        else:
            flat[str(key)] = value
    return flat


def nest(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values as a file holds them: keys nested, and of YAML's kinds of values (see `plain`).

    Args:
        values: Keys nested, or dotted, or both.
    """
    nested: dict[str, Any] = {}
    for key, value in flatten(values).items():
        inner = plain(value)
        for part in reversed(key.split(".")):
            inner = {part: inner}
        nested = merge(nested, inner)
    return nested


def merge(base: Mapping[str, Any], change: Mapping[str, Any], schema: Any = Experiment) -> dict[str, Any]:
    """Return `change` on top of `base`: mappings are merged, everything else is replaced.

    Where a key gets another value, the keys that belong to the old one (`Resets`) are dropped first.

    Args:
        base: Nested values.
        change: Nested values that replace those of `base`.
        schema: The model of both; anything else resets nothing.
    """
    fields = getattr(schema, "model_fields", {})
    merged = dict(base)
    for key, value in change.items():
        if key in fields and value != base.get(key, value):
            for reset in Resets.of(fields[key]):
                merged.pop(reset, None)
    for key, value in change.items():
        old = merged.get(key)
        if isinstance(old, Mapping) and isinstance(value, Mapping):
            merged[key] = merge(old, value, schema_of(fields[key].annotation) if key in fields else None)
        else:
            merged[key] = value
    return merged
