"""Closing what a run opened: all of it is closed, and an error of closing is a warning, never the outcome."""

from __future__ import annotations

import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any, Protocol, TypeVar

from cesma_sb3.errors import ClosingWarning, error_line


class _Closes(Protocol):
    def close(self) -> Any:
        """Closes it."""


T = TypeVar("T", bound=_Closes)
_LOG: ContextVar[Callable[[str], object] | None] = ContextVar("_LOG", default=None)
"""Takes the traceback of each error, where a run has a log for it."""


@contextmanager
def closing(thing: T) -> Iterator[T]:
    """Closes an object after the block, like `contextlib.closing`; what `close()` raises is a warning."""
    with closing_all(thing, [thing]):
        yield thing


@contextmanager
def closing_all(value: Any, things: Iterable[_Closes]) -> Iterator[Any]:
    """Closes several objects after the block, each of them even if another's `close()` raises.

    Args:
        value: What the block gets.
        things: What is closed, in this order.
    """
    try:
        yield value
    except BaseException:
        with suppress(ClosingWarning):  # where warnings are errors: the block's own error counts
            close_each(things)
        raise
    close_each(things)


def close_each(things: Iterable[_Closes]) -> None:
    """Closes all objects, then warns of those whose `close()` raised.

    Warns:
        ClosingWarning: One or more could not be closed.
    """
    warn_unclosed(line for thing in things for line in error_of_closing(type(thing).__name__, thing.close))


def error_of_closing(name: str, close: Callable[[], object]) -> list[str]:
    """Calls `close`; the error that it raised as one line, its traceback in the run's log, or nothing."""
    try:
        close()
    except (Exception, SystemExit) as error:  # whatever somebody else's close() raises
        if (log := _LOG.get()) is not None:
            log(traceback.format_exc())
        return [f"{name}: close() raised {error_line(error)}"]
    return []


def warn_unclosed(lines: Iterable[str]) -> None:
    """Warns of what could not be closed, once all of it was tried.

    Warns:
        ClosingWarning: There is at least one line.
    """
    if found := list(lines):
        warnings.warn("; ".join(found), ClosingWarning, stacklevel=2)


@contextmanager
def logged_by(log: Callable[[str], object]) -> Iterator[None]:
    """Has `log` called with the traceback of each error of closing within the block."""
    token = _LOG.set(log)
    try:
        yield
    finally:
        _LOG.reset(token)
