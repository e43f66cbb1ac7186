"""Controllers from files: of SB3, PyTorch, TorchScript and ONNX. The content of a file decides what it is.

SB3's and PyTorch's files hold pickled objects, and a TorchScript file is a program: loading one may do
whatever its author wanted. They are loaded only with `trust`. An ONNX file is data.
"""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch as th
from stable_baselines3.common.vec_env import VecNormalize

from cesma_sb3.errors import StorageError, UntrustedError
from cesma_sb3.experts.controllers import Network
from cesma_sb3.experts.sb3_files import (
    Saved,
    is_algorithm,
    is_torchscript,
    read_algorithm,
    read_policy,
    storage_errors,
)
from cesma_sb3.spaces.types import Masks, Space
from cesma_sb3.utils.file_names import as_path
from cesma_sb3.utils.installation import missing_extra


def load_sb3(
    path: Path, saved_by: Saved, *, trust: bool = False, known: Iterable[tuple[Space, Space]] = ()
) -> Any:
    """The policy in a file that SB3 or sb3-contrib wrote: `model.save`, `policy.save`, or a pickled policy.

    Args:
        path: The file.
        saved_by: The algorithm, or the policy's class.
        trust: That the file may run code.
        known: Observation and action spaces that the policy may be of, where the file's own cannot be read.

    Returns:
        A `BasePolicy`, in evaluation mode, on the processor.

    Raises:
        UntrustedError: `trust` is False.
        StorageError: There is no such file, it is no SB3 file, or another class wrote it.
    """
    _check_file(path, "an SB3 file holds pickled objects", trust)
    return read_algorithm(path, saved_by, known) if is_algorithm(path) else read_policy(path, saved_by)


def load_normalization(path: Path, *, trust: bool = False) -> VecNormalize:
    """The statistics that `VecNormalize.save` wrote, for observations to be normalized by.

    Raises:
        UntrustedError: `trust` is False: the file is a pickle.
        StorageError: There is no such file, or it holds something else.
    """
    _check_file(path, "it is a pickle", trust)
    with storage_errors(f"{path}: cannot be loaded"), path.open("rb") as file:
        found = pickle.load(file)
    if not isinstance(found, VecNormalize):
        raise StorageError(f"{path}: holds a {type(found).__name__}, expected VecNormalize")
    found.training = False
    return found


def load_torchscript(path: Path, *, trust: bool = False) -> Any:
    """A TorchScript module of joint observations [B, I] float32, or a whole module that `torch.save` wrote.

    Returns:
        A `Network`; of `torch.save` the `nn.Module`.

    Raises:
        UntrustedError: `trust` is False.
        StorageError: There is no such file, or it is no such module.
    """
    _check_file(path, "a TorchScript file is a program", trust)
    if not is_torchscript(path):
        return read_policy(path, None)
    with storage_errors(f"{path}: no TorchScript"), warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # newer PyTorch wants another format
        module = th.jit.load(str(path), map_location="cpu")
    return Network.of_module(module, path.name)


def load_onnx(path: Path) -> Network:
    """An ONNX model of joint observations [B, I], and of masks [B, M] if it has an input called so.

    Raises:
        MissingExtraError: onnxruntime is not installed.
        StorageError: There is no such file, it is no such model, or its inputs are others.
    """
    _check_file(path)
    try:
        import onnxruntime
    except ImportError as error:
        raise missing_extra(str(path), "onnx", error) from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = th.get_num_threads()
    options.log_severity_level = 3  # `Network.fit` reports what does not fit
    with storage_errors(f"{path}: no ONNX model"):
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    inputs = sorted(session.get_inputs(), key=lambda given: "mask" in given.name.lower())
    names = [given.name for given in inputs]
    masked = len(inputs) == 2 and "mask" in names[1].lower()
    if len(inputs) != 1 and not masked:
        raise StorageError(
            f"{path}: inputs {', '.join(names)}, expected one: the joint observations, or two: with masks"
        )
    kinds = [_ONNX_TYPES.get(given.type) for given in inputs]
    shape = inputs[0].shape
    if kinds[0] not in _FLOATS or kinds[-1] is None or len(shape) != 2:
        kind = f"{inputs[0].type} of shape {shape}" + f" and {inputs[-1].type}" * masked
        raise StorageError(f"{path}: takes {kind}, expected floating-point numbers of shape [batch, numbers]")
    batch, width = (size if isinstance(size, int) else None for size in shape)

    def run(observations: npt.NDArray[Any], masks: Masks | None) -> npt.NDArray[Any]:
        given = [observations] if masks is None else [observations, masks]
        arrays = (np.ascontiguousarray(array, dtype=kind) for array, kind in zip(given, kinds, strict=True))
        found = session.run(None, dict(zip(names, arrays, strict=True)))
        return np.asarray(found[0])

    return Network(run, path.name, width=width, takes_masks=masked, batch=batch)


_FLOATS = (np.float16, np.float32, np.float64)
_ONNX_TYPES: dict[str, Any] = {
    "tensor(float16)": np.float16,
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(bool)": np.bool_,
    "tensor(int64)": np.int64,
    "tensor(uint8)": np.uint8,
}


def resolve_file(path: Path | str) -> Path:
    """The file of a name: `~` is the home folder, and `.zip` may be left out, as in SB3's `load`."""
    named = as_path(path)
    zipped = named.with_name(f"{named.name}.zip") if named.name else named
    return zipped if zipped.is_file() and not named.is_file() else named


def _check_file(path: Path, risk: str | None = None, trust: bool = False) -> None:
    """Raise unless the file is there, and trusted where loading it is a risk."""
    if risk is not None and not trust:
        raise UntrustedError(
            f"{path}: {risk} and may run any code when it is loaded; expected trust=True (--trust, "
            "expert.trust: true) if you know where it comes from"
        )
    if not path.is_file():
        raise StorageError(f"{path}: no such file")
