"""A generator's state as an array, so that it can be stored beside the other arrays of a run."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

_HALF = (1 << 64) - 1


def generator_state(rng: np.random.Generator) -> npt.NDArray[np.uint64]:
    """[6]: PCG64's state and increment, each in two halves, and the half word that it may keep."""
    state: dict[str, Any] = dict(rng.bit_generator.state)
    words = [state["state"]["state"], state["state"]["inc"]]
    halves = [half for word in words for half in (word >> 64, word & _HALF)]
    return np.array([*halves, state["has_uint32"], state["uinteger"]], dtype=np.uint64)


def generator_from_state(state: npt.ArrayLike) -> np.random.Generator:
    """The generator that goes on where `generator_state` was taken."""
    high, low, inc_high, inc_low, has_uint32, uinteger = (
        int(word) for word in np.asarray(state, dtype=np.uint64)
    )
    bits = np.random.PCG64()
    bits.state = {
        "bit_generator": "PCG64",
        "state": {"state": high << 64 | low, "inc": inc_high << 64 | inc_low},
        "has_uint32": has_uint32,
        "uinteger": uinteger,
    }
    return np.random.Generator(bits)
