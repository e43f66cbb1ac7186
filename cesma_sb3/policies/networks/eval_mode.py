"""Networks in evaluation mode for as long as they act, whatever mode their owner left them in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def eval_mode(*modules: nn.Module) -> Iterator[None]:
    """Evaluation mode within; afterwards, and after an exception, each submodule has its own mode back.

    Without it dropout gives other outputs at every call, and batch norm changes its statistics.

    Args:
        *modules: Somebody's networks.
    """
    training = [each for module in modules for each in module.modules() if each.training]
    for each in training:
        each.training = False
    try:
        yield
    finally:
        for each in training:
            each.training = True
