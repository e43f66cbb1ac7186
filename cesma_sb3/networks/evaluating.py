"""Networks in evaluation mode for as long as they act, whatever mode their owner left them in."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def evaluating(module: nn.Module | None) -> Iterator[None]:
    """Evaluation mode within; afterwards, and after an exception, each submodule has its own mode back.

    Without it dropout gives other outputs at every call, and batch norm changes its statistics.

    Args:
        module: Somebody's network; None: there is none, and nothing happens.
    """
    training = [] if module is None else [each for each in module.modules() if each.training]
    for each in training:
        each.training = False
    try:
        yield
    finally:
        for each in training:
            each.training = True
