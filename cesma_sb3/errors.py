"""One base exception, and what each kind means.

    CesmaError                  anything that this package refuses
    ├── SpaceError              a space has no joint view, or arrays do not fit the team's spaces
    │   ├── LayoutError         an observation layout does not add up to the space it describes
    │   └── ActionViewError     an action view cannot hold the team's actions, or this action
    ├── EnvError                an environment raised, died, or returned something that is no transition
    │   └── RewardError         rewards do not fit the way they are to become one team reward
    ├── ConfigError             an experiment or a setting is wrong
    │   ├── UnknownNameError    a name that nothing is registered under; the nearest names are given
    │   ├── DuplicateNameError  two things claim one name
    │   └── MissingExtraError   an optional package is not installed; what to install is given
    ├── ExpertError             an expert does not fit the team, or cannot give what is asked of it
    │   └── InvalidActionError  an expert or another policy raised, or returned what is no action
    ├── UserCodeError           the user's own code raised: a loss, a network, a callback
    └── StorageError            a file of a team or a run is missing, torn, or of another kind
        └── UntrustedError      loading a file may run code, and the user has not trusted it

    Interrupted                 a run was stopped by Ctrl-C and can be resumed: a KeyboardInterrupt
    CesmaWarning                something that the user should know and that does not stop a run
    ├── ExpertWarning           the expert is worse than a random team
    ├── CheckpointWarning       a checkpoint is not used, or gives other numbers
    ├── ClosingWarning          an environment or a logger could not be closed; results do not depend on it
    └── NotKeptWarning          a run needs an object that no file holds, and cannot be resumed

Each message is one line: what was wrong, where, and what was expected.
"""

from __future__ import annotations

import contextlib
import difflib
import operator
import re
import sys
import sysconfig
import traceback
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
"""Characters that break a line or move a terminal's cursor."""
_MOST_NAMES = 40
"""Most names that a message lists."""


class CesmaError(Exception):
    """Base class of the errors of this package. Its text is one line, whatever the names in it are."""

    def __str__(self) -> str:
        return _CONTROLS.sub(_shown, super().__str__())


def _shown(control: re.Match[str]) -> str:
    """A space for what breaks a line, as on the command line; any other control character by its code."""
    return " " if control[0].isspace() else repr(control[0])[1:-1]


class SpaceError(CesmaError):
    """A space is of a kind that has no joint view, or arrays do not fit the team's spaces."""


class LayoutError(SpaceError):
    """An observation layout does not add up to the space it describes."""


class ActionViewError(SpaceError):
    """An action view cannot hold the team's actions, or this action."""


class EnvError(CesmaError):
    """An environment raised, died, or returned something that is no transition."""


class RewardError(EnvError):
    """Rewards do not fit the way they are to become one team reward."""


class ConfigError(CesmaError):
    """An experiment or a setting is wrong."""


class UnknownNameError(ConfigError):
    """A name that nothing is registered under; the message has the nearest name and the allowed ones."""

    @classmethod
    def of(cls, kind: str, name: str, allowed: Iterable[str]) -> UnknownNameError:
        """The error for a wrong name: see `unknown_name` for the arguments and the message."""
        return cls(unknown_name(kind, name, allowed))


class DuplicateNameError(ConfigError):
    """Two things claim one name."""


class MissingExtraError(ConfigError):
    """An optional package is not installed; what to install is given."""


class ExpertError(CesmaError):
    """An expert does not fit the team, or cannot give what is asked of it."""


class InvalidActionError(ExpertError):
    """An expert or another policy raised, or returned what is no action, or one that is not available."""


class UserCodeError(CesmaError):
    """The user's own code raised an exception in a run: a loss, a network, a callback."""


class StorageError(CesmaError):
    """A file of a team or a run is missing, torn, or of another kind."""


class Interrupted(KeyboardInterrupt):
    """A run was interrupted (Ctrl-C, SIGTERM) and can be resumed.

    Attributes:
        run_dir: The run folder.
    """

    def __init__(self, run_dir: Path) -> None:
        super().__init__(f"interrupted; to resume: cesma_sb3.run(resume={str(run_dir)!r})")
        self.run_dir = run_dir


class UntrustedError(StorageError):
    """Loading a file may run code, and the user has not trusted it."""


class CesmaWarning(UserWarning):
    """Something that the user should know and that does not stop a run. The message is one line."""


class ExpertWarning(CesmaWarning):
    """The expert is worse than a random team."""


class CheckpointWarning(CesmaWarning):
    """A checkpoint is not used, or a run resumed from it may differ from an uninterrupted one."""


class ClosingWarning(CesmaWarning):
    """An environment or a logger could not be closed; results do not depend on it."""


class NotKeptWarning(CesmaWarning):
    """A run needs an object that no file holds: it can be neither resumed nor evaluated again."""


def check_choice(kind: str, name: object, choices: Iterable[str]) -> None:
    """Check that a value is one of the allowed ones.

    Args:
        kind: What the value says, such as "visibility".
        name: The value.
        choices: The allowed values.

    Raises:
        UnknownNameError: It is none of them.
    """
    names = tuple(choices)
    if name not in names:
        raise UnknownNameError.of(kind, str(name), names)


def integer(what: str, value: Any, least: int = 0, most: int = 2**53) -> int:
    """Convert a number, such as NumPy's integers and whole floats, to an int.

    Args:
        what: Its name in error messages, such as "seed".
        value: The number.
        least: The smallest that is allowed.
        most: The largest that is allowed.

    Raises:
        ConfigError: It is no integer, or out of its range.
    """
    try:
        number = int(value) if isinstance(value, float) and value.is_integer() else operator.index(value)
    except TypeError:
        raise ConfigError(f"{what}: expected an integer, got {value!r}") from None
    if number < least:
        raise ConfigError(f"{what}: expected at least {least:,}, got {number}")
    if number > most:
        raise ConfigError(f"{what}: expected at most {most:,}, got {number}")
    return number


def unknown_name(kind: str, name: object, allowed: Iterable[str]) -> str:
    """The message for a wrong name: `unknown mixer 'sums'; did you mean 'sum'? allowed: qmix, sum`.

    Args:
        kind: What the name is a name of, such as "mixer".
        name: The wrong name.
        allowed: The right names, in any order.
    """
    return f"unknown {kind} {short_repr(name)}{did_you_mean(str(name), sorted(set(allowed)))}"


def did_you_mean(name: str, allowed: Sequence[str]) -> str:
    """The end of a message about a wrong name: the nearest of the allowed names, then all of them.

    Of very many names only the nearest are listed, if there are any.
    """
    found = [each for each in nearest(name, allowed) if each != name]
    hint = f"did you mean {found[0]!r}? " if found else ""
    shown = allowed if len(allowed) <= _MOST_NAMES else found or allowed[:_MOST_NAMES]
    more = f" and {len(allowed) - len(shown)} more" if len(allowed) > len(shown) else ""
    return f"; {hint}allowed: {', '.join(shown) or 'none'}{more}"


def nearest(name: str, choices: Iterable[str], n: int = 3) -> tuple[str, ...]:
    """The names most like `name`, best first (at most `n`, possibly none); letter case is ignored."""
    by_folded = {choice.casefold(): choice for choice in choices}
    matches = difflib.get_close_matches(name.casefold(), by_folded, n=n, cutoff=0.5)
    return tuple(by_folded[match] for match in matches)


def short_repr(value: object, length: int = 60) -> str:
    """A value as a message shows it: its `repr` on one line, cut to `length` characters."""
    return _shortened(repr(value), length)


def message_of(error: BaseException, length: int = 300) -> str:
    """An error's message on one line, cut to `length` characters; the name of its class if it has none."""
    return _shortened(str(error), length) or type(error).__name__


def _shortened(text: str, length: int) -> str:
    line = " ".join(text.split())
    return line if len(line) <= length else f"{line[: length - 3]}..."


def error_line(error: BaseException) -> str:
    """Describe an error of foreign code in one line: `KeyError: 'missing' (my_env.py:41)`.

    The place is the innermost line in the user's own files; where the error passed through none, in installed
    packages other than this one; else there is no place.
    """
    message = next((line.strip() for line in str(error).splitlines() if line.strip()), "no message")
    place = _place(error)
    return f"{type(error).__name__}: {message}" + (f" ({place})" if place else "")


def is_of_user_code(error: BaseException) -> bool:
    """Whether an error was raised in, or passed through, one of the user's own files."""
    return any(
        _owner(frame.f_code.co_filename) == "user" for frame, _ in traceback.walk_tb(error.__traceback__)
    )


def _place(error: BaseException) -> str | None:
    frames = [(frame.f_code.co_filename, line) for frame, line in traceback.walk_tb(error.__traceback__)]
    for owner in ("user", "package"):
        for file, line in reversed(frames):
            if _owner(file) == owner:
                return f"{_findable(file)}:{line}"
    return None


def _owner(file: str) -> str:
    """Return "user", "package", or "neither" (Python's files, this package's, generated code)."""
    path = Path(file)
    if file.startswith("<"):
        return "user" if file.startswith(("<stdin", "<ipython")) else "neither"
    if path.is_relative_to(Path(__file__).parent):
        return "neither"
    if not {"site-packages", "dist-packages"}.isdisjoint(path.parts):
        return "package"
    return "neither" if path.is_relative_to(sysconfig.get_path("stdlib")) else "user"


def _findable(file: str) -> str:
    """Return a path relative to the current folder, else to an entry of `sys.path`, else absolute."""
    roots = [*sorted(filter(None, sys.path), key=len, reverse=True)]
    with contextlib.suppress(OSError):  # the current folder was removed
        roots.insert(0, str(Path.cwd()))
    for root in map(Path, roots):
        if Path(file).is_relative_to(root):
            return str(Path(file).relative_to(root))
    return file
