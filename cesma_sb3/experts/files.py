"""Controllers that are files: SB3's `.zip`, TorchScript, ONNX.

An SB3 file holds pickled objects, and a TorchScript file is a program: loading one may do whatever its author
wanted. Both are loaded only if `trust` says so. An ONNX file is data.
"""

from __future__ import annotations

import json
import pickle
import warnings
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch as th
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.vec_env import VecNormalize

from cesma_sb3.errors import MissingExtraError, StorageError, UntrustedError
from cesma_sb3.experts.functions import Function, of_tensors
from cesma_sb3.experts.protocol import Observations


def load_sb3(path: Path, algorithm: type[BaseAlgorithm], *, trust: bool = False) -> BaseAlgorithm:
    """What `model.save` of SB3 or sb3-contrib wrote.

    Args:
        path: The `.zip`.
        algorithm: The class that was saved.
        trust: That the file may run code.

    Raises:
        UntrustedError: `trust` is False.
        StorageError: There is no such file, it is no SB3 file, or another class wrote it.
    """
    _ask_trust(path, "an SB3 file holds pickled objects", trust)
    _must_exist(path)
    try:
        with zipfile.ZipFile(path) as archive:
            saved = json.loads(archive.read("data"))
    except (zipfile.BadZipFile, KeyError, ValueError, OSError) as error:
        raise StorageError(f"{path}: no file of SB3's: {_line(error)}") from None
    try:
        return algorithm.load(path, device="cpu")
    except Exception as error:  # whatever unpickling raises, or a class that is given another one's weights
        policy = saved.get("policy_class") if isinstance(saved, dict) else None
        module = policy.get("__module__", "?") if isinstance(policy, dict) else "?"
        raise StorageError(
            f"{path}: cannot be loaded as {algorithm.__name__}: its policy is of {module}: {_line(error)}"
        ) from error


def load_normalization(path: Path, *, trust: bool = False) -> VecNormalize:
    """The statistics that `VecNormalize.save` wrote, for observations to be normalized by.

    Raises:
        UntrustedError: `trust` is False: the file is a pickle.
        StorageError: There is no such file, or it holds something else.
    """
    _ask_trust(path, "it is a pickle", trust)
    _must_exist(path)
    try:
        with path.open("rb") as file:
            found = pickle.load(file)
    except Exception as error:  # whatever unpickling raises
        raise StorageError(f"{path}: cannot be loaded: {_line(error)}") from error
    if not isinstance(found, VecNormalize):
        raise StorageError(f"{path}: holds a {type(found).__name__}, expected VecNormalize")
    found.training = False
    return found


def load_torchscript(path: Path, *, trust: bool = False) -> Function:
    """A TorchScript module as a function of joint observations [B, I] float32.

    Raises:
        UntrustedError: `trust` is False.
        StorageError: There is no such file, or it is no such module.
    """
    _ask_trust(path, "a TorchScript file is a program", trust)
    _must_exist(path)
    try:
        with warnings.catch_warnings():  # newer PyTorch wants another format; this one is what was asked for
            warnings.simplefilter("ignore", DeprecationWarning)
            module = th.jit.load(str(path), map_location="cpu")
    except (RuntimeError, ValueError) as error:
        raise StorageError(f"{path}: no TorchScript: {_line(error)}") from None
    module.eval()

    call = of_tensors(module)
    call.__qualname__ = path.name
    return call


def load_onnx(path: Path) -> Function:
    """An ONNX model with one input as a function of joint observations [B, I] float32.

    Raises:
        MissingExtraError: onnxruntime is not installed.
        StorageError: There is no such file, it is no such model, or it has several inputs.
    """
    _must_exist(path)
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtraError(f"{path}: {error}; try: pip install 'cesma-sb3[onnx]'") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = th.get_num_threads()
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's own exceptions have no common base but this
        raise StorageError(f"{path}: no ONNX model: {_line(error)}") from None
    inputs = [argument.name for argument in session.get_inputs()]
    if len(inputs) != 1:
        raise StorageError(f"{path}: inputs {', '.join(inputs)}, expected one: the joint observations")

    def call(observations: Observations) -> Any:
        found = session.run(None, {inputs[0]: np.ascontiguousarray(observations, dtype=np.float32)})
        return found[0]

    call.__qualname__ = path.name
    return call


def _ask_trust(path: Path, why: str, trust: bool) -> None:
    if not trust:
        raise UntrustedError(
            f"{path}: {why} and may run any code when it is loaded; expected trust=True (--trust, "
            "expert.trust: true) if you know where it comes from"
        )


def _must_exist(path: Path) -> None:
    if not path.is_file():
        raise StorageError(f"{path}: no such file")


def _line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
