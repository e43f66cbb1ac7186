"""Read YAML safely and strictly: values only, each key once, numbers as in YAML 1.2."""

from __future__ import annotations

import math
import re
from typing import Any

import yaml

from cesma_sb3.errors import ConfigError, message_of, short_repr

# PyYAML follows YAML 1.1, where `1e-3` is a string, `no` is false, `010` is 8 and `1:30` is 90. These are
# the rules of YAML 1.2's core schema, which mean what they look like (and `150_000` may be written).
_SCALARS = (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?(?:0|[1-9][0-9_]*)", list("-+0123456789")),
    (
        "float",
        r"[-+]?(?:[0-9][0-9_]*\.[0-9_]*|\.[0-9]+|[0-9][0-9_]*(?=[eE]))(?:[eE][-+]?[0-9]+)?"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
)


class _Loader(yaml.SafeLoader):
    """Safe, and without duplicate keys, anchors, tags and merges."""

    # PyYAML looks the resolvers up on the class.
    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]  # PyYAML's, not annotated
        # An alias lets a file of a few lines stand for gigabytes, and a file of values has no need of one.
        forbidden = None
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            forbidden = "anchors and aliases (& and *) are not allowed"
        elif getattr(event, "tag", None) is not None:
            forbidden = f"tags are not allowed, got {short_repr(event.tag)}"
        if forbidden is not None:
            raise yaml.constructor.ConstructorError(None, None, forbidden, event.start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                message = f"key {short_repr(key)}: expected text"
            elif key in seen:
                message = f"key {key!r} is given twice"
            else:
                seen.add(key)
                continue
            raise yaml.constructor.ConstructorError(None, None, message, key_node.start_mark)
        return super().construct_mapping(node, deep=deep)


class _Dumper(yaml.SafeDumper):
    """Writes what `_Loader` reads, with lists of plain values on one line."""

    # PyYAML looks the resolvers up on the class.
    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_list(dumper: yaml.SafeDumper, data: list[Any] | tuple[Any, ...]) -> yaml.Node:
    plain = all(isinstance(item, str | int | float | bool | None) for item in data)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", data, flow_style=plain)


for _class in (_Loader, _Dumper):
    for _tag, _pattern, _first in _SCALARS:
        _class.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"^(?:{_pattern})$"), _first)
_Dumper.add_representer(list, _represent_list)
_Dumper.add_representer(tuple, _represent_list)


def read_mapping(text: str, source: str) -> dict[str, Any]:
    """Read a YAML document that holds a mapping.

    Args:
        text: The document.
        source: Its name in error messages: the file.

    Raises:
        ConfigError: It is no YAML or no mapping, or has a tag, an anchor, a key twice or a NaN.
    """
    data = _load(text, source)
    if not isinstance(data, dict):
        kind = "an empty file" if data is None else f"a {type(data).__name__}"
        raise ConfigError(f"{source}: expected a mapping of keys to values, got {kind}")
    return data


def read_value(text: str, source: str) -> Any:
    """Read one value as YAML writes it: `3`, `1e-3`, `true`, `text`, `[64, 64]`.

    Raises:
        ConfigError: It is not a YAML value, or a number that is not finite.
    """
    return _load(text, source)


def write_mapping(data: dict[str, Any]) -> str:
    """Write a YAML document that `read_mapping` reads back unchanged (tuples as lists)."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


def _load(text: str, source: str) -> Any:
    try:
        data = yaml.load(text, Loader=_Loader)  # a SafeLoader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f" line {mark.line + 1}:" if mark is not None else ""
        raise ConfigError(f"{source}:{place} {' '.join((error.problem or 'not YAML').split())}") from None
    except (yaml.YAMLError, ValueError) as error:
        raise ConfigError(f"{source}: not YAML: {message_of(error)}") from None
    except RecursionError:
        raise ConfigError(f"{source}: nested too deeply") from None
    check_finite(data, source)
    return data


def check_finite(data: Any, source: str, path: str = "") -> None:
    """Check that all numbers in mappings and lists are finite.

    Raises:
        ConfigError: One is not; the message has its path.
    """
    if isinstance(data, float) and not math.isfinite(data):
        raise ConfigError(f"{source}: {path + ': ' if path else ''}expected a finite number, got {data}")
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in items:
        check_finite(value, source, f"{path}.{key}" if path else str(key))
