"""Whether a run folder is the user's own, and whether its code may run: docs/trust.md states the rule.

An experiment that the user names is the user's code. Code inside a run folder is somebody else's unless the
folder is signed. This package signs whatever it writes into a run folder that is code or names code, with a
secret of the user's, as Jupyter signs notebooks.
"""

from __future__ import annotations

import hashlib
import hmac
import importlib
import json
import os
import re
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from cesma_sb3.config.schema import ONNX, TRAJECTORIES, Experiment
from cesma_sb3.errors import UntrustedError
from cesma_sb3.utils import atomic, modules
from cesma_sb3.utils.user_folders import data_folder

SIGNATURE = "signature.json"
Digests = dict[str, list[str]]
"""SHA-256 of every content that a file was given here, by its name below the run folder."""

MODULES = "modules"
"""Key, in place of a file's name, of the folders in which the modules that a run names were found."""

_CONFIG, _FOLDERS = "config.yaml", ("expert", "students")
_DATA = ".safetensors"
"""Weights, which run nothing and name nothing."""
_BYTES = 32
# PettingZoo's convention, which others follow: a module NAME_vN makes one environment.
_ENVIRONMENT = re.compile(
    r"(?:pettingzoo|mpe2|gymnasium_robotics)(?:\.[a-z]\w*)*\.\w+_v\d+(?:[:.](?:parallel_)?env)?"
)
_GYMNASIUM = re.compile(r"(?!Gym)[\w/-]+-v\d+")
"""Registered names, less those that make what another name says."""
_WRAPPERS = ("cesma_sb3.envs.simple_tag:SimpleTagParts",)
"""Wrappers of this package, which run nothing but themselves."""
_SCRIPTED = "cesma_sb3.experts.scripted."
"""The modules whose controllers play in anybody's run."""
_PACKAGES = ("cesma_sb3", "stable_baselines3", "sb3_contrib")


def code_of(experiment: Experiment) -> dict[str, str]:
    """Returns what an experiment would run, by key, that is neither registered nor of an installed package.

    Files that may run code when they are loaded are included.
    """
    env, expert, students, dagger = experiment.env, experiment.expert, experiment.students, experiment.dagger
    found = {}
    if not _makes_environments(env.id, env.kwargs):
        found["env.id"] = env.id
    is_named = env.others is not None and modules.NAME.fullmatch(env.others) is not None
    if env.others is not None and is_named and not env.others.startswith(_SCRIPTED):
        found["env.others"] = env.others
    named = {
        "expert.algorithm": (expert.algorithm, "stable_baselines3.common.base_class:BaseAlgorithm"),
        "expert.policy": (expert.policy, "stable_baselines3.common.policies:BasePolicy"),
        "students.module": (students.module, "torch.nn:Module"),
        "dagger.loss_class": (dagger and dagger.loss_class, "cesma_sb3.imitation:ColumnwiseLoss"),
    }
    found |= {
        key: name
        for key, (name, base) in named.items()
        if name and not (_is_class(name, base) if ":" in name else key.startswith("expert."))
    }
    for index, wrapper in enumerate(env.wrappers):
        if ":" in wrapper.name and wrapper.name not in _WRAPPERS:
            found[f"env.wrappers.{index}.name"] = wrapper.name
    for index, callback in enumerate(experiment.callbacks):
        if not _is_class(callback.name, "stable_baselines3.common.callbacks:BaseCallback"):
            found[f"callbacks.{index}.name"] = callback.name
    if expert.path is not None and expert.algorithm not in {ONNX, TRAJECTORIES}:
        found["expert.path"] = expert.path
    if expert.normalization is not None:
        found["expert.normalization"] = expert.normalization
    return found


def ask(folder: Path, code: Mapping[str, str], *, is_own: Callable[[], bool], trust: bool) -> None:
    """Refuses to run the code of a run folder, unless the user made the folder or trusts it.

    Args:
        folder: The run folder.
        code: What would run, by its key (`code_of`).
        is_own: Returns whether the folder is the user's own.
        trust: Whether the user trusts it.

    Raises:
        UntrustedError: One line says what would run.
    """
    if not code or trust or is_own():
        return
    what = ", ".join(f"{name} ({key})" for key, name in code.items())
    why = (
        "no secret can be kept here to know one's own runs by"
        if _secret() is None
        else ("it was not made here, or was changed since")
    )
    raise UntrustedError(
        f"{folder}: {why}, and would run {what}; expected trust=True (--trust) if you know where it is from"
    )


def signed(folder: Path, *, of_run: bool = True) -> Digests | None:
    """Returns the digests of a run folder of the user's own; None of another, or if a file was changed."""
    secret = _secret()
    try:
        content = json.loads((folder / SIGNATURE).read_bytes())
        digests = content["files"]
        if secret is None or not hmac.compare_digest(content["hmac"], _hmac(secret, digests)):
            return None
        for path in _files(folder) if of_run else ():
            if digest(path) not in digests.get(path.relative_to(folder).as_posix(), ()):
                return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return {str(name): list(each) for name, each in digests.items()}


def sign(folder: Path, digests: Digests) -> None:
    """Signs contents of a run folder's files as the user's own; does nothing if no secret can be kept."""
    if (secret := _secret()) is None:
        return
    text = json.dumps({"files": digests, "hmac": _hmac(secret, digests)}, indent=2) + "\n"
    atomic.write(folder / SIGNATURE, lambda path: path.write_text(text, encoding="utf-8"))


def sign_all(folder: Path) -> None:
    """Signs all files of a run folder that was made for this user elsewhere."""
    sign(folder, {path.relative_to(folder).as_posix(): [digest(path)] for path in _files(folder)})


_STUDY = "study"


def sign_study(folder: Path) -> None:
    """Signs a study's new folder as made here; what is written into it later is not signed."""
    sign(folder, {_STUDY: [secrets.token_hex(_BYTES)]})


def is_own_study(folder: Path) -> bool:
    """Whether a study's folder was made here."""
    found = signed(folder, of_run=False)
    return found is not None and list(found) == [_STUDY]


def is_code(name: str) -> bool:
    """Whether a file of this name below a run folder is signed: it can run code, or name it."""
    first, *rest = name.split("/")
    inside = name == _CONFIG or (first in _FOLDERS and bool(rest))
    return inside and not name.endswith(_DATA) and not any(part.startswith(atomic.PREFIX) for part in rest)


def digest(path: Path) -> str:
    """Returns the SHA-256 of a file's content, in hexadecimal digits."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            found.update(block)
    return found.hexdigest()


def _files(folder: Path) -> list[Path]:
    """Returns the files of a run folder that are to be signed.

    Raises:
        OSError: Something in it cannot be read, or is neither a file nor a folder.
    """
    tried = [folder / _CONFIG]
    for name in _FOLDERS:
        if (folder / name).exists():
            for inner, _, files in os.walk(folder / name, onerror=_raise):
                tried += [Path(inner, each) for each in files]
    found = [path for path in tried if is_code(path.relative_to(folder).as_posix())]
    for path in found:
        if not path.is_file():
            raise OSError(f"{path}: no file")
    return found


def _raise(error: OSError) -> None:
    raise error


def _hmac(secret: bytes, digests: Any) -> str:
    return hmac.digest(secret, json.dumps(digests, sort_keys=True).encode(), "sha256").hex()


def _secret() -> bytes | None:
    """Returns the user's secret, and makes it at the first call; None if it cannot be stored."""
    path = data_folder() / "secret"
    try:
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            new = path.with_name(f"{atomic.PREFIX}{secrets.token_hex(6)}")
            new.touch(0o600, exist_ok=False)
            try:
                new.write_bytes(secrets.token_bytes(_BYTES))
                _put(new, path)
            finally:
                new.unlink(missing_ok=True)
        secret = path.read_bytes()
    except (OSError, RuntimeError):
        return None
    return secret if len(secret) == _BYTES else None


def _put(new: Path, path: Path) -> None:
    """Renames a file, unless another process made one of that name first."""
    try:
        os.link(new, path)
    except FileExistsError:
        pass
    except OSError:  # a file system without hard links
        new.replace(path)


def _makes_environments(name: str, kwargs: Mapping[str, Any]) -> bool:
    """Whether it is a registered environment, or of a module that is one in an installed package."""
    if name in {"gymnasium:make", "gymnasium.make"}:
        return isinstance(made := kwargs.get("id"), str) and _GYMNASIUM.fullmatch(made) is not None
    return not {":", "."} & set(name) or _ENVIRONMENT.fullmatch(name) is not None


def _is_class(name: str, base: str) -> bool:
    """Whether `module:Class` is a class of an installed package, and of the kind that is meant."""
    module, _, attribute = name.partition(":")
    if module.partition(".")[0] not in _PACKAGES:
        return False
    try:
        kind = getattr(importlib.import_module(base.partition(":")[0]), base.partition(":")[2])
        found = getattr(importlib.import_module(module), attribute, None)
    except ImportError:
        return False
    return isinstance(found, type) and issubclass(found, kind)
