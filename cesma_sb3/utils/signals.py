"""Interrupts that wait for a good moment, and SIGTERM as one."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType


@contextlib.contextmanager
def terminated_as_interrupted() -> Iterator[None]:
    """SIGTERM is KeyboardInterrupt inside, so that what was started can be ended."""
    in_main = threading.current_thread() is threading.main_thread()  # no other may set signal handlers
    before = signal.signal(signal.SIGTERM, signal.default_int_handler) if in_main else None
    try:
        yield
    finally:
        if in_main:
            signal.signal(signal.SIGTERM, before)


class Waiting:
    """Has the first Ctrl-C, or SIGTERM, wait until somebody asks for it; the second does not wait.

    Nothing waits before somebody has asked for the first time: nobody may ever ask.
    """

    def __init__(self) -> None:
        self._asked = False
        self._came = False

    @property
    def came(self) -> bool:
        """Whether there was one, of which nobody has heard yet."""
        self._asked = True
        return self._came

    @contextlib.contextmanager
    def waits(self) -> Iterator[None]:
        """For the time of the block; in other threads than the main one it changes nothing."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        heard = [each for each in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(each) != signal.SIG_IGN]
        before = {each: signal.signal(each, self._hear) for each in heard}
        self._asked = False
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        if self._came:
            raise KeyboardInterrupt

    def _hear(self, number: int, frame: FrameType | None) -> None:
        if self._came or not self._asked:
            raise KeyboardInterrupt
        self._came = True
        print("stopping after this step; once more to stop at once", file=sys.stderr)  # noqa: T201
