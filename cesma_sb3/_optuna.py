"""Optuna as it is used here: quiet, with studies that go on as if they had never stopped."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from cesma_sb3.errors import ConfigError

if TYPE_CHECKING:
    import optuna


@contextmanager
def quiet() -> Iterator[None]:
    """Optuna without its log, and without the note that multivariate sampling may change."""
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(before)


def open_study(name: str, storage: str | None, contents: Mapping[str, Any]) -> optuna.Study:
    """A study that maximises, new or out of storage.

    Args:
        name: The study's.
        storage: URL of a database; None: it is kept in memory.
        contents: What must be the same whenever the study goes on, by name.

    Raises:
        ConfigError: The database cannot be opened, or its study of that name is of other contents.
    """
    import optuna

    try:
        found = optuna.create_study(
            direction="maximize", study_name=name, storage=storage, load_if_exists=True
        )
    except Exception as error:  # whatever a database, or its driver that is not installed, raises
        told = " ".join(str(error).split())
        raise ConfigError(f"storage: cannot be opened: {type(error).__name__}: {told}") from error
    for key, content in contents.items():
        text = json.dumps(content, sort_keys=True)
        if found.user_attrs.get(key, text) != text:
            raise ConfigError(f"study {name!r}: was made with another {key}; expected a new name")
        found.set_user_attr(key, text)
    return found


def sampler(seed: int, done: int) -> optuna.samplers.BaseSampler:
    """A sampler for the one trial after `done` others.

    Each trial's has a seed of its own: a study that goes on draws what it would have drawn without the break.
    """
    import optuna

    (word,) = np.random.SeedSequence([seed, done]).generate_state(1)
    return optuna.samplers.TPESampler(seed=int(word), multivariate=True)
