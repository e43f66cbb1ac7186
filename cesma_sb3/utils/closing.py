"""Close everything that a run opened; an error in `close()` becomes a warning and ends nothing."""

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
        """Release resources."""


T = TypeVar("T", bound=_Closes)
_LOG: ContextVar[Callable[[str], object] | None] = ContextVar("_LOG", default=None)
"""Function that gets the traceback of each error in `close()`, if a run has a log."""


@contextmanager
def closing(thing: T) -> Iterator[T]:
    """Close an object after the block, like `contextlib.closing`; an error in `close()` is a warning."""
    with closing_all(thing, [thing]):
        yield thing


@contextmanager
def closing_all(value: Any, things: Iterable[_Closes]) -> Iterator[Any]:
    """Close several objects after the block, each of them even if another's `close()` raises.

    Args:
        value: The value of the `with` statement.
        things: The objects, in the order in which they are closed.
    """
    try:
        yield value
    except BaseException:
        with suppress(ClosingWarning):  # where warnings are errors: the block's own error counts
            close_each(things)
        raise
    close_each(things)


def close_each(things: Iterable[_Closes]) -> None:
    """Close all objects, then warn about those whose `close()` raised.

    Warns:
        ClosingWarning: One or more could not be closed.
    """
    warn_unclosed(line for thing in things for line in error_of_closing(type(thing).__name__, thing.close))


def error_of_closing(name: str, close: Callable[[], object]) -> list[str]:
    """Call `close`, and return its error as one line, or no line. The traceback goes to the run's log."""
    try:
        close()
    except (Exception, SystemExit) as error:  # whatever somebody else's close() raises
        if (log := _LOG.get()) is not None:
            log(traceback.format_exc())
        return [f"{name}: close() raised {error_line(error)}"]
    return []


def warn_unclosed(lines: Iterable[str]) -> None:
    """Warn about objects that could not be closed.

    Warns:
        ClosingWarning: There is at least one line.
    """
    if found := list(lines):
        warnings.warn("; ".join(found), ClosingWarning, stacklevel=2)


@contextmanager
def logged_by(log: Callable[[str], object]) -> Iterator[None]:
    """Call `log` with the traceback of each error in `close()` within the block."""
    token = _LOG.set(log)
    try:
        yield
    finally:
        _LOG.reset(token)
