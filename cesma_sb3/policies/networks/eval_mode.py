"""Evaluation mode of networks for as long as they act."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def eval_mode(*modules: nn.Module) -> Iterator[None]:
    """Put networks into evaluation mode; afterwards, also after an error, each submodule has its own back.

    Without it dropout gives other outputs at every call, and batch norm changes its statistics.

    Args:
        *modules: The networks.
    """
    training = [each for module in modules for each in module.modules() if each.training]
    for each in training:
        each.training = False
    try:
        yield
    finally:
        for each in training:
            each.training = True
