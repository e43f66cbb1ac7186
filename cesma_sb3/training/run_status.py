"""Records in the run folder how a run ends: finished, failed and why, or interrupted."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from cesma_sb3.errors import (
    CesmaError,
    ConfigError,
    EnvError,
    Interrupted,
    InvalidActionError,
    StorageError,
    UserCodeError,
    error_line,
    is_of_user_code,
)
from cesma_sb3.training.run_folder import RunFolder
from cesma_sb3.utils import modules
from cesma_sb3.utils.closing import logged_by
from cesma_sb3.utils.locks import exclusive_lock
from cesma_sb3.utils.signals import terminated_as_interrupted

_DISK_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.EFBIG})


@contextmanager
def recorded(folder: RunFolder, *, resumes: bool, watched: bool) -> Iterator[None]:
    """Runs the block as the only run in the folder, and records there why it failed or was interrupted.

    Bad input leaves no folder: it is removed if nothing came of the run.

    Args:
        folder: The run folder.
        resumes: Whether the run is resumed in it.
        watched: Whether a caller's `watch` may end the run by an error, which is raised as it is.

    Raises:
        ConfigError: The run that is resumed has finished; its folder stays as it is.
        Interrupted: Ctrl-C or SIGTERM.
        UserCodeError: The user's own code raised something else than a `CesmaError`.
    """
    with (
        terminated_as_interrupted(),
        exclusive_lock(folder.path, "another run writes there"),
        logged_by(folder.log),
    ):
        if resumes:
            folder.check_unfinished()  # before a failure could be recorded: a finished run stays finished
        try:
            if resumes:
                folder.resume()
            yield
        except BaseException as error:
            _record(folder, error, resumes=resumes)
            if isinstance(error, KeyboardInterrupt):
                raise Interrupted(folder.path) from None
            if isinstance(error, OSError) and error.errno in _DISK_ERRORS:  # of SB3's loggers
                raise StorageError(f"{folder.path}: cannot be written: {error.strerror}") from None
            is_bug = isinstance(error, Exception) and not isinstance(error, CesmaError | MemoryError)
            if is_bug and not watched and is_of_user_code(error):
                raise UserCodeError(f"{folder.path}: {error_line(error)}") from error
            raise


def _record(folder: RunFolder, error: BaseException, *, resumes: bool) -> None:
    refused = isinstance(error, CesmaError) and not isinstance(error, EnvError | InvalidActionError)
    with suppress(StorageError):  # which the error is about, perhaps
        if isinstance(error, KeyboardInterrupt):
            folder.interrupt()
        elif resumes or not (refused and folder.discard()):
            folder.fail(error)


def refuse_while_importing() -> None:
    """Refuses to run while a module is imported: worker processes, which import it too, would run again.

    Raises:
        ConfigError: A module is being imported.
    """
    if (module := modules.being_imported()) is not None:
        raise ConfigError(
            f"{module}: makes a run while it is imported; expected `if __name__ == '__main__':` before it"
        )
