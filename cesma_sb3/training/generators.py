"""The state of random generators."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch as th

from cesma_sb3.errors import StorageError
from cesma_sb3.utils.stateful import Stateful

_BIT_GENERATORS = ("PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64")


class GlobalGenerators(Stateful):
    """The generators of Python, NumPy and PyTorch that everybody shares."""

    def state_dict(self) -> dict[str, Any]:
        """The state of each of them."""
        return {
            "torch": th.get_rng_state(),
            "cuda": th.cuda.get_rng_state_all() if th.cuda.is_available() else [],
            "numpy": np.random.get_state(legacy=True),  # noqa: NPY002  # SB3 uses it
            "python": random.getstate(),
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Takes over what `state_dict` returned."""
        th.set_rng_state(state_dict["torch"])
        if state_dict["cuda"]:
            th.cuda.set_rng_state_all(state_dict["cuda"])
        np.random.set_state(state_dict["numpy"])  # noqa: NPY002  # see above
        random.setstate(state_dict["python"])


class Kind(NamedTuple):
    """A kind of generator."""

    made: type[Any]
    """The class of its generators."""
    state_of: Callable[[Any], Any]
    """Returns the state of a generator."""
    put: Callable[[Any, Any], Any]
    """Takes a generator (None: a new one) and a state; returns the generator in this state."""


def _numpy_generator(current: Any, state: Mapping[str, Any]) -> np.random.Generator:
    name = state["bit_generator"]
    if not isinstance(current, np.random.Generator) or type(current.bit_generator).__name__ != name:
        if name not in _BIT_GENERATORS:
            raise StorageError(f"unknown generator {name!r}")
        current = np.random.Generator(getattr(np.random, name)())
    generator: np.random.Generator = current
    generator.bit_generator.state = dict(state)
    return generator


def _put(made: type[Any], set_state: Callable[[Any, Any], object]) -> Callable[[Any, Any], Any]:
    def put(current: Any, state: Any) -> Any:
        generator = made() if current is None else current
        set_state(generator, state)
        return generator

    return put


_NUMPY, _PYTHON, _TORCH = np.random.RandomState, random.Random, th.Generator
GENERATORS = {
    "generator": Kind(np.random.Generator, lambda rng: rng.bit_generator.state, _numpy_generator),
    "random state": Kind(_NUMPY, _NUMPY.get_state, _put(_NUMPY, _NUMPY.set_state)),
    "python generator": Kind(_PYTHON, _PYTHON.getstate, _put(_PYTHON, _PYTHON.setstate)),
    "torch generator": Kind(_TORCH, _TORCH.get_state, _put(_TORCH, _TORCH.set_state)),
}
"""The kinds of generators, by the name under which a checkpoint stores them."""
