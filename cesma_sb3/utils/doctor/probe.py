"""Imports in a process of their own: a package that is broken may end Python, or print.

`look` starts the process, `main` is what runs in it. Each line that comes back is JSON.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from cesma_sb3.errors import error_line, message_of

# The folders of this process come first: `-I` leaves out the current folder, in which any file may lie.
_CODE = """\
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from cesma_sb3.utils.doctor.probe import main
main(json.loads(sys.argv[2]), json.loads(sys.argv[3]))
"""


@dataclass
class Probe:
    """What the process found.

    Attributes:
        errors: Of each module that cannot be imported, why.
        missing: Of each of these, the module that is not installed; None if that is not the reason.
        torch: PyTorch's `version`, `cuda` (what it is built for, or None), `threads`, `devices` (names of the
            GPUs), and `errors` (of a GPU that cannot be used); None if it cannot be imported.
    """

    errors: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str | None] = field(default_factory=dict)
    torch: dict[str, Any] | None = None


def look(modules: Sequence[str], after: Sequence[str] = ()) -> Probe:
    """Import modules in a new process, and ask PyTorch what it has.

    Args:
        modules: The modules, each of which is tried.
        after: Modules that are tried if all of these can be imported, up to the first that cannot.
    """
    words = [json.dumps(list(each)) for each in (sys.path, modules, after)]
    done = subprocess.run(
        [sys.executable, "-I", "-c", _CODE, *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={"JAX_PLATFORMS": "cpu", **os.environ},  # JAX takes most of a GPU's memory
        check=False,
    )
    probe, begun = Probe(), "Python"
    for line in done.stdout.decode("utf-8", "replace").splitlines():
        told = json.loads(line)
        begun = told.get("begin", begun)
        if "error" in told:
            probe.errors[begun], probe.missing[begun] = told["error"], told["missing"]
        probe.torch = told.get("torch", probe.torch)
    if done.returncode:
        probe.errors.setdefault(begun, f"importing it ends Python (exit status {done.returncode})")
        probe.missing.setdefault(begun, None)
    return probe


def main(modules: Sequence[str], after: Sequence[str]) -> None:
    """Import the modules and tell about each; what they print goes nowhere."""
    told = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)

    def tell(**content: Any) -> None:
        print(json.dumps(content), file=told, flush=True)

    def works(module: str) -> bool:
        tell(begin=module)
        try:
            importlib.import_module(module)
        except (Exception, SystemExit) as error:  # whatever it raises
            tell(error=error_line(error), missing=_missing(error))
            return False
        return True

    broken = [module for module in modules if not works(module)]
    if not broken:
        all(works(module) for module in after)
    if hasattr(sys.modules.get("torch"), "get_num_threads"):
        tell(begin="torch")
        tell(torch=_torch())


def _missing(error: BaseException) -> str | None:
    return error.name if isinstance(error, ModuleNotFoundError) else None


def _torch() -> dict[str, Any]:
    import torch as th

    errors: list[str] = []
    devices: list[str] = []
    with warnings.catch_warnings(record=True) as caught:  # why a GPU is not taken is a warning
        warnings.simplefilter("always")
        count = th.cuda.device_count() if th.cuda.is_available() else 0
        for index in range(count):
            try:
                devices.append(th.cuda.get_device_name(index))
                th.ones(2, device=f"cuda:{index}").sum().item()
            except Exception as error:  # a GPU that this PyTorch has no code for, or that is full
                errors.append(f"cuda:{index}: {message_of(error)}")
    if not devices:
        errors += [message_of(each.message) for each in caught if isinstance(each.message, Warning)]
    return {
        "version": th.__version__,
        "cuda": th.version.cuda or getattr(th.version, "hip", None),
        "threads": th.get_num_threads(),
        "devices": devices,
        "errors": errors,
    }
