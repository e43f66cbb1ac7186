"""Optuna's storages, samplers and pruners, by name."""

from __future__ import annotations

import json
import os
import re
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from cesma_sb3.errors import CesmaWarning, ConfigError, unknown_name
from cesma_sb3.utils.installation import missing_extra
from cesma_sb3.utils.secrets import is_clear_url, masked, masked_url

if TYPE_CHECKING:
    import optuna

Sampler = Literal["tpe", "cmaes", "random", "gp", "grid"]
Pruner = Literal["none", "median", "hyperband", "wilcoxon"]
Direction = Literal["maximize", "minimize"]
JOURNAL = "journal:///"
STORAGE = "CESMA_STORAGE"
"""The environment variable that holds a storage's URL, for its password is nobody else's to see."""
HEARTBEAT_SECONDS = 30
"""Seconds between two heartbeats of a worker in a database; it is taken for dead after twice that."""
MAX_RETRIES = 3
"""How often a trial whose worker died is run again."""


@contextmanager
def quiet() -> Iterator[None]:
    """Silence Optuna's log, and its warnings that parts of it may change, for the time of the block."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(before)


def check_names(sampler: str, pruner: str, directions: int) -> None:
    """Check the names of sampler and pruner, and that they fit the number of objectives.

    Raises:
        ConfigError: There is no such sampler or pruner, or it does not work with two objectives.
    """
    for what, name, names in (("sampler", sampler, get_args(Sampler)), ("pruner", pruner, get_args(Pruner))):
        if name not in names:
            raise ConfigError(f"{what}: {unknown_name(what, name, names)}")
    if directions > 1 and pruner != "none":
        raise ConfigError(f"pruner: expected none with two objectives, got {pruner}")
    if directions > 1 and sampler == "cmaes":
        raise ConfigError("sampler: expected another than cmaes with two objectives")


def open_study(
    name: str,
    storage: str | None,
    contents: Mapping[str, Any],
    directions: Sequence[Direction] = ("maximize",),
    first: Mapping[str, Any] | None = None,
) -> optuna.Study:
    """Create a study, or load it from its storage.

    Args:
        name: The name of the study.
        storage: `sqlite:///FILE`, `postgresql://...` or another database's URL, or `journal:///FILE`; None:
            it is kept in memory.
        contents: What must be the same whenever the study is resumed, by name.
        directions: `maximize` or `minimize` for each objective.
        first: Parameters of a new study's first trial; the others are drawn.

    Raises:
        ConfigError: The storage cannot be opened, or its study of that name has other contents.
    """
    import optuna

    with _opening(storage):
        found = optuna.create_study(
            directions=list(directions),
            study_name=name,
            storage=None if storage is None else _storage(storage),
            load_if_exists=True,
        )
    for key, content in contents.items():
        text = json.dumps(content, sort_keys=True)
        if found.user_attrs.get(key, text) != text:
            raise ConfigError(f"study {name!r}: was made with another {key}; expected a new name")
        if key not in found.user_attrs:
            found.set_user_attr(key, text)
    if first and not found.trials:
        found.enqueue_trial(dict(first), skip_if_exists=True)  # somebody else may do so in this moment
    return found


def studies_of(storage: str) -> list[str]:
    """Names of the studies in a storage.

    Raises:
        ConfigError: It cannot be opened.
    """
    import optuna

    with _opening(storage):
        return list(optuna.get_all_study_names(_storage(storage)))


@contextmanager
def _opening(storage: str | None) -> Iterator[None]:
    """Raise in one line, without the password, why a storage cannot be opened."""
    if storage is not None and not is_clear_url(storage):
        raise ConfigError(
            f"storage: {masked_url(storage)}: expected sqlite:///FILE, journal:///FILE, or a database's "
            "URL such as postgresql://USER@HOST/NAME; an @ in a password is written %40"
        )
    try:
        yield
    except Exception as error:  # whatever a database, or its driver, raises
        if isinstance(error, ImportError) and (storage or "").startswith("postgres"):
            raise missing_extra("storage: PostgreSQL", "postgres", error) from None
        message = masked(" ".join(str(error).split()), storage or "")
        raise ConfigError(f"storage: cannot be opened: {type(error).__name__}: {message}") from None


def _storage(url: str) -> optuna.storages.BaseStorage:
    import optuna
    from optuna.storages.journal import JournalFileBackend

    if url.startswith(JOURNAL):
        path = Path(url.removeprefix(JOURNAL))
        path.parent.mkdir(parents=True, exist_ok=True)
        _warn_of_lock(path)
        return optuna.storages.JournalStorage(JournalFileBackend(str(path)))
    # SQLite waits for its lock; a server's connections are few, and may have been cut.
    # Which driver is meant by the name alone depends on the release of SQLAlchemy.
    url = re.sub(r"^postgres(ql)?://", "postgresql+psycopg://", url)
    engine: dict[str, Any] = {"pool_size": 1, "pool_pre_ping": True}
    if url.startswith("sqlite"):
        engine = {"connect_args": {"timeout": 60}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return optuna.storages.RDBStorage(
            url,
            engine_kwargs=engine,
            heartbeat_interval=HEARTBEAT_SECONDS,
            grace_period=2 * HEARTBEAT_SECONDS,
            heartbeat_stale_trial_callback=retry,
        )


def _warn_of_lock(journal: Path) -> None:
    """Warn if the lock of a journal is held for longer than a writer holds it, which is milliseconds."""
    lock = Path(f"{journal}.lock")
    for _ in range(10):
        if not os.path.lexists(lock):  # Optuna's are symbolic links
            return
        time.sleep(0.05)
    warnings.warn(
        f"{lock}: is held, perhaps by a process that was killed; it is removed if 30 seconds change nothing",
        CesmaWarning,
        stacklevel=2,
    )


def retry(study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
    """Queue a trial whose worker died once more, with the same values."""
    import optuna

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        again = optuna.storages.RetryHeartbeatStaleTrialCallback(max_retry=MAX_RETRIES)
    again(study, trial)


def make_sampler(
    name: str, words: Sequence[int], grid: Mapping[str, Sequence[Any]] | None = None
) -> optuna.samplers.BaseSampler:
    """Make the sampler of one trial.

    Each trial has a sampler with a seed of its own, so that a resumed study draws what it would have drawn
    uninterrupted.

    Args:
        name: One of `Sampler`.
        words: Integers from which its seed is made.
        grid: The values of each parameter, for the sampler `grid`.
    """
    import optuna

    seed = int(np.random.SeedSequence([word % 2**32 for word in words]).generate_state(1)[0])
    if name == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    if name == "cmaes":
        # Parameters that it does not support are drawn at random.
        return optuna.samplers.CmaEsSampler(seed=seed)
    if name == "gp":
        return optuna.samplers.GPSampler(seed=seed)
    if name == "grid":
        assert grid is not None
        return optuna.samplers.GridSampler(grid, seed=words[0] % 2**32)  # one order for all trials
    return optuna.samplers.TPESampler(seed=seed, multivariate=True)


def make_pruner(name: str, every: int) -> optuna.pruners.BasePruner:
    """Make a pruner.

    Args:
        name: One of `Pruner`.
        every: Steps between two reports of a trial.
    """
    import optuna

    if name == "median":
        return optuna.pruners.MedianPruner(n_startup_trials=5, n_warmup_steps=every)
    if name == "hyperband":
        return optuna.pruners.HyperbandPruner(min_resource=every)
    if name == "wilcoxon":
        return optuna.pruners.WilcoxonPruner()
    return optuna.pruners.NopPruner()
