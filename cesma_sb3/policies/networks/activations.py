"""The activations that a network may be given by name."""

from __future__ import annotations

import inspect

from torch import nn


def activations() -> dict[str, type[nn.Module]]:
    """`torch.nn`'s activations that are made without arguments, by name."""
    found = {}
    for name, item in vars(nn.modules.activation).items():
        if (
            isinstance(item, type)
            and issubclass(item, nn.Module)
            and item is not nn.Module
            and _is_plain(item)
        ):
            found[name] = item
    return found


def _is_plain(cls: type[nn.Module]) -> bool:
    """Whether a class can be made without arguments."""
    parameters = list(inspect.signature(cls.__init__).parameters.values())[1:]
    needed = {inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD}
    return not any(p.kind in needed and p.default is p.empty for p in parameters)
