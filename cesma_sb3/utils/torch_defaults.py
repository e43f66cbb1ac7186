"""PyTorch's global defaults and the global random generators, set and restored around a block."""

from __future__ import annotations

import contextlib
import contextvars
import random
from collections.abc import Iterator

import numpy as np
import torch as th

_within: contextvars.ContextVar[bool] = contextvars.ContextVar("_within", default=False)


@contextlib.contextmanager
def plain_torch() -> Iterator[None]:
    """Use PyTorch's own defaults in the block: float32, CPU, gradients, no inference mode, no autocast.

    The defaults of the caller's program are restored afterwards, also after an exception. Settings of speed
    or debugging alone (deterministic algorithms, anomaly detection) stay. This is a decorator too; nested in
    itself it does nothing.
    """
    if _within.get():
        yield
        return
    dtype, token = th.get_default_dtype(), _within.set(True)
    th.set_default_dtype(th.float32)
    try:
        with contextlib.ExitStack() as stack:
            stack.enter_context(th.inference_mode(False))
            stack.enter_context(th.enable_grad())
            for kind in ("cpu", "cuda"):
                stack.enter_context(th.autocast(kind, enabled=False))
            if th.empty(0).device.type != "cpu":  # only then: within `th.device` every call is slower
                stack.enter_context(th.device("cpu"))
            yield
    finally:
        th.set_default_dtype(dtype)
        _within.reset(token)


class GeneratorState:
    """The state of Python's, NumPy's and PyTorch's global generators when it is made."""

    def __init__(self) -> None:
        self._python = random.getstate()
        self._numpy = np.random.get_state()  # noqa: NPY002  # SB3 seeds this one, for what others draw from it
        self._torch = th.get_rng_state()
        self._cuda = th.cuda.get_rng_state_all() if th.cuda.is_initialized() else None

    def restore(self) -> None:
        """Puts the generators back into this state."""
        random.setstate(self._python)
        np.random.set_state(self._numpy)  # noqa: NPY002  # as above
        th.set_rng_state(self._torch)
        if self._cuda is not None:
            th.cuda.set_rng_state_all(self._cuda)


@contextlib.contextmanager
def own_generators() -> Iterator[None]:
    """Restores Python's, NumPy's and PyTorch's global generators after the block, whatever it draws."""
    before = GeneratorState()
    try:
        yield
    finally:
        before.restore()
