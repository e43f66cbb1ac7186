"""SB3's own files, read for acting alone: a policy and its weights.

What `model.save` writes holds all that a training needs to resume: schedules, buffers' sizes, noise, the
last observations, each a pickle of its own. Here only four are read: the policy's class, its arguments, and
the two spaces. So a file of a training with a buffer of any size can be read, and one of another Python or
NumPy, most of whose pickles cannot.
"""

from __future__ import annotations

import base64
import io
import json
import warnings
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cloudpickle
import torch as th
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.save_util import data_to_json
from stable_baselines3.common.vec_env.patch_gym import _convert_space

from cesma_sb3.errors import StorageError, message_of
from cesma_sb3.spaces.types import Space
from cesma_sb3.utils.signatures import arguments_of

Saved = type[BaseAlgorithm] | type[BasePolicy]
"""What wrote a file: the algorithm, or a policy that was saved alone."""


def read_algorithm(path: Path, saved_by: Saved, known: Iterable[tuple[Space, Space]] = ()) -> BasePolicy:
    """The policy in what an algorithm's `save` wrote, on the processor.

    Args:
        path: The `.zip`.
        saved_by: The algorithm's class, or the policy's.
        known: Observation and action spaces that the policy may be of, for a file whose own cannot be read.

    Raises:
        StorageError: It is no file of SB3's, another class wrote it, or what the policy needs cannot be
            read.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            data = json.loads(archive.read("data"))
            written = archive.read("policy.pth")
        if not isinstance(data, dict):
            raise ValueError("its data is no mapping")
    except (zipfile.BadZipFile, KeyError, ValueError, OSError) as error:
        raise StorageError(f"{path}: no file of SB3's: {message_of(error)}") from None
    policy_class = _policy_class(path, data, saved_by)
    kwargs = _kwargs(path, data, policy_class)
    with storage_errors(f"{path}: its weights cannot be read"):
        weights: dict[str, th.Tensor] = th.load(io.BytesIO(written), map_location="cpu", weights_only=True)
    own, problems = _spaces(data)
    if own is not None:
        return _filled(path, policy_class, own, kwargs, weights)
    for pair in known:
        if all(map(_may_be, pair, (data.get(key) for key in _SPACES))):
            try:
                found = _filled(path, policy_class, pair, kwargs, weights)
            except StorageError:
                continue
            message = f"{path}: {problems}: the team's own is used, which its weights fit"
            warnings.warn(message, stacklevel=2)
            return found
    raise StorageError(f"{path}: {problems}, and its weights fit no space of the team's")


def read_policy(path: Path, saved_by: Saved | None) -> Any:
    """What PyTorch's `save` wrote: a policy, if it was saved alone (`policy.save`), or a whole module.

    Args:
        path: The file.
        saved_by: The algorithm that trained the policy, or the policy's class; None: nobody said.

    Raises:
        StorageError: It cannot be read, holds something else, or a policy of another class.
    """
    with storage_errors(f"{path}: cannot be loaded"):
        found = th.load(path, map_location="cpu", weights_only=False)
    if isinstance(found, th.nn.Module):
        return found
    if not (isinstance(found, Mapping) and {"state_dict", "data"} <= found.keys()):
        what = "weights alone" if _is_weights(found) else f"a {type(found).__name__}"
        raise StorageError(
            f"{path}: holds {what}, expected a policy (policy.save), a whole module (torch.save) or "
            "TorchScript"
        )
    if saved_by is None:
        raise StorageError(
            f"{path}: holds a policy that was saved alone; expected algorithm=, the class that trained it "
            '("PPO") or its own ("module:Class")'
        )
    problem = "it names no policy"
    for policy_class in _policies(saved_by):
        try:
            policy = policy_class(**found["data"])
            policy.load_state_dict(found["state_dict"])
        except Exception as error:  # of arguments that are another class's, or weights
            problem = message_of(error)
        else:
            return policy.eval()
    raise StorageError(f"{path}: cannot be loaded as the policy of {saved_by.__name__}: {problem}")


def is_algorithm(path: Path) -> bool:
    """Whether it is a file of an algorithm's, not one of PyTorch's, which are archives too."""
    return not _names(path) or "data" in _names(path)


def is_torchscript(path: Path) -> bool:
    """Whether a file may hold TorchScript: an archive with code, or one that nobody can look into."""
    return not _names(path) or any("/code/" in name for name in _names(path))


_SPACES = ("observation_space", "action_space")


def _names(path: Path) -> Sequence[str]:
    """What is in an archive; nothing if it is none."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.namelist()
    except (zipfile.BadZipFile, OSError):
        return ()


def _unpickled(entry: Any) -> Any:
    """One value as SB3 wrote it: plain, or a pickle in text. Raises whatever unpickling does."""
    if isinstance(entry, dict) and ":serialized:" in entry:
        return cloudpickle.loads(base64.b64decode(entry[":serialized:"]))
    return entry


def _policies(saved_by: Saved) -> tuple[type[BasePolicy], ...]:
    """The classes that a policy may be of."""
    if issubclass(saved_by, BasePolicy):
        return (saved_by,)
    return tuple(dict.fromkeys(saved_by.policy_aliases.values()))


def _policy_class(path: Path, data: Mapping[str, Any], saved_by: Saved) -> type[BasePolicy]:
    entry = data.get("policy_class")
    module = entry.get("__module__", "?") if isinstance(entry, dict) else "?"
    message = f"{path}: cannot be loaded as {saved_by.__name__}: its policy is of {module}"
    with storage_errors(message):
        found = _unpickled(entry)
    wanted = _policies(saved_by)
    if not (isinstance(found, type) and issubclass(found, wanted or BasePolicy)):
        names = " or ".join(each.__name__ for each in wanted)
        raise StorageError(f"{message}: {getattr(found, '__name__', found)}, expected {names}")
    return found


def _kwargs(path: Path, data: Mapping[str, Any], policy_class: type[BasePolicy]) -> dict[str, Any]:
    """The policy's arguments, less what its training alone needs."""
    with storage_errors(f"{path}: its policy_kwargs cannot be read"):
        kwargs = dict(_unpickled(data.get("policy_kwargs")) or {})
    kwargs.pop("device", None)
    layers = kwargs.get("net_arch")
    if isinstance(layers, list) and layers and isinstance(layers[0], dict):  # as SB3 wrote it before 1.8
        kwargs["net_arch"] = layers[0]
    takes = set(arguments_of(policy_class))
    if data.get("use_sde") and "use_sde" in takes:
        kwargs.setdefault("use_sde", True)
    if "lr_schedule" in takes:
        kwargs["lr_schedule"] = _constant
    return kwargs


def _constant(progress_remaining: float) -> float:
    """A learning rate, for an optimizer that is never used."""
    del progress_remaining
    return 1e-3


def _spaces(data: Mapping[str, Any]) -> tuple[tuple[Space, Space] | None, str]:
    """Both spaces, or None and what is wrong with them."""
    found = []
    for key in _SPACES:
        try:
            space = _convert_space(_unpickled(data[key]))
        except Exception as error:  # of another NumPy, or of gym
            return None, f"its {key.replace('_', ' ')} cannot be read ({message_of(error)})"
        found.append(space)
    return (found[0], found[1]), ""


def _may_be(space: Space, entry: Any) -> bool:
    """Whether a space is the one that SB3 described in words beside a pickle that cannot be read."""
    described = json.loads(data_to_json({"space": space}))["space"]
    if not isinstance(entry, dict):
        return False
    return all(
        _words(described.get(key)) == _words(entry.get(key)) for key in (":type:", "_shape", "n", "nvec")
    )


def _words(value: Any) -> str:
    """A value as text, whatever release wrote it; of a class its name alone."""
    return "".join(str(value).split()).rpartition(".")[2]


def _filled(
    path: Path,
    policy_class: type[BasePolicy],
    pair: tuple[Space, Space],
    kwargs: Mapping[str, Any],
    weights: Mapping[str, th.Tensor],
) -> BasePolicy:
    """The policy of these spaces, with its weights, in evaluation mode."""
    message = f"{path}: cannot be loaded as {policy_class.__name__}"
    with storage_errors(message):  # of arguments that a policy refuses, or weights of other shapes
        policy = policy_class(*pair, **kwargs)
        missing, unexpected = policy.load_state_dict(weights, strict=False)
    # Before 1.7 SB3 did not write the features extractor that actor and critic share twice more.
    shared = ("pi_features_extractor.", "vf_features_extractor.")
    wrong = [*unexpected, *(name for name in missing if not name.startswith(shared))]
    if wrong:
        raise StorageError(f"{message}: weights of {wrong[0]} differ")
    return policy.eval()


def _is_weights(found: Any) -> bool:
    return isinstance(found, Mapping) and any(isinstance(value, th.Tensor) for value in found.values())


@contextmanager
def storage_errors(message: str) -> Iterator[None]:
    """Raise a StorageError, `message` and the first line of the error, for any error within."""
    try:
        yield
    except Exception as error:  # whatever unpickling raises
        raise StorageError(f"{message}: {message_of(error)}") from error
