"""Measures functions in turns: whatever else the machine does meanwhile slows all of them."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter, process_time
from typing import NamedTuple

import numpy as np

from cesma_sb3.spaces.types import Doubles


class Turns(NamedTuple):
    """Seconds of each call, [rounds, functions]."""

    wall: Doubles
    processor: Doubles
    """Of all threads of this process."""


def in_turns(rounds: int, *functions: Callable[[], object]) -> Turns:
    """Calls each function once to warm up; then one after the other, round after round, and measures."""
    seconds = np.zeros((2, rounds, len(functions)))
    for function in functions:
        function()
    for turn in range(rounds):
        for index, function in enumerate(functions):
            wall, processor = perf_counter(), process_time()
            function()
            seconds[:, turn, index] = perf_counter() - wall, process_time() - processor
    return Turns(*seconds)
