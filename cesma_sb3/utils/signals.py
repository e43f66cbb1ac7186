"""Interrupts that are deferred to a good moment, and SIGTERM as an interrupt."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator
from types import FrameType


@contextlib.contextmanager
def terminated_as_interrupted() -> Iterator[None]:
    """Raise KeyboardInterrupt for SIGTERM in the block, so that processes and files are cleaned up."""
    in_main = threading.current_thread() is threading.main_thread()  # no other may set signal handlers
    before = signal.signal(signal.SIGTERM, signal.default_int_handler) if in_main else None
    try:
        yield
    finally:
        if in_main:
            signal.signal(signal.SIGTERM, before)


class DeferredInterrupt:
    """Defers the first Ctrl-C or SIGTERM until a training loop asks for it; the second is raised at once.

    Nothing is deferred before the loop has asked for the first time: code that is not ours may never ask.
    """

    def __init__(self) -> None:
        self._asked = False
        self._pending = False

    @property
    def pending(self) -> bool:
        """Whether an interrupt is deferred."""
        self._asked = True
        return self._pending

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """Defer an interrupt in the block and raise it after, in the main thread; do nothing in others."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        numbers = [
            each for each in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(each) != signal.SIG_IGN
        ]
        before = {each: signal.signal(each, self._handle) for each in numbers}
        self._asked = False
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
        if self._pending:
            raise KeyboardInterrupt

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._pending or not self._asked:
            raise KeyboardInterrupt
        self._pending = True
        print("stopping after this step; once more to stop at once", file=sys.stderr)  # noqa: T201
