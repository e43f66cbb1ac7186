"""Threads, GPUs, folders and StarCraft on this machine."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from cesma_sb3.errors import message_of, short_repr
from cesma_sb3.utils.doctor.finding import NOTE, WRONG, Finding, set_variable
from cesma_sb3.utils.installation import SMAC
from cesma_sb3.utils.memory import in_words, memory
from cesma_sb3.utils.processes import cores
from cesma_sb3.utils.user_folders import cache_folder, data_folder

_LEAST_BYTES = 2**30
"""Free space below which a run may not find room for its files."""
_GAMES = {"win32": "C:/Program Files (x86)/StarCraft II", "darwin": "/Applications/StarCraft II"}
"""Where the game is without SC2PATH; elsewhere in the user's home. Source: pysc2, `run_configs`."""
_THREADS = "OMP_NUM_THREADS"


def threads(torch: Mapping[str, Any] | None) -> Iterator[Finding]:
    """Threads against cores, and memory.

    Args:
        torch: `Probe.torch`.
    """
    usable, chosen = cores(), os.environ.get(_THREADS)
    yield Finding("machine", "cores", f"{usable} of {os.cpu_count()}")
    limit = memory()
    if limit is not None:
        yield Finding("machine", "memory", in_words(limit))
    if chosen is not None:
        if re.fullmatch(r"\s*[1-9]\d*\s*(,\s*[1-9]\d*\s*)*", chosen):
            yield Finding("machine", _THREADS, chosen)
        else:
            text = f"{short_repr(chosen)}: expected a number of threads"
            yield Finding("machine", _THREADS, text, WRONG, set_variable(_THREADS, "1"))
    if torch is not None:
        count = torch["threads"]
        yield Finding("machine", "torch threads", str(count))
        if count > usable:
            text = f"{count} on {usable} cores: slow outside of runs, which have `threads` of the experiment"
            yield Finding("machine", "torch threads", text, NOTE, set_variable(_THREADS, str(usable)))


def gpu(torch: Mapping[str, Any] | None) -> Iterator[Finding]:
    """GPUs: what the driver has, and what PyTorch can use.

    Args:
        torch: `Probe.torch`.
    """
    driver, problem = _driver()
    if problem is not None:
        mismatch = "mismatch" in problem  # the driver was updated under the running kernel
        status, fix = (WRONG, "sudo reboot") if mismatch else (NOTE, None)
        yield Finding("gpu", "driver", problem, status, fix)
    elif driver:
        yield Finding("gpu", "driver", driver)
    if torch is None:
        return
    built = "the processor alone" if torch["cuda"] is None else f"CUDA {torch['cuda']}"
    other = "https://pytorch.org/get-started/locally: install PyTorch for this driver and GPU"
    if torch["devices"]:
        yield Finding("gpu", "torch", f"{', '.join(torch['devices'])}; built for {built}; device=cuda")
        for error in torch["errors"]:
            yield Finding("gpu", "torch", f"built for {built}: {error}", WRONG, other)
    elif not driver:
        yield Finding("gpu", "torch", f"no GPU, built for {built}: networks learn on the processor")
    elif (visible := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None and torch["cuda"] is not None:
        text = f"sees no GPU: CUDA_VISIBLE_DEVICES={short_repr(visible)}"
        yield Finding("gpu", "torch", text, NOTE, "unset CUDA_VISIBLE_DEVICES")
    else:
        why = "; ".join(torch["errors"]) or "finds no GPU"
        yield Finding("gpu", "torch", f"built for {built}: {why}", WRONG if torch["cuda"] else NOTE, other)


def _driver() -> tuple[str | None, str | None]:
    """Return GPUs and driver as NVIDIA's tool has them, or why it has none; neither where it is not there."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return None, None
    words = [tool, "--query-gpu=name,driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    except OSError as error:
        return None, message_of(error)
    lines = (done.stdout + done.stderr).decode("utf-8", "replace").splitlines()
    printed = "; ".join(line.strip() for line in lines if line.strip())
    return (None, printed or "nvidia-smi fails") if done.returncode else (printed, None)


def folders() -> Iterator[Finding]:
    """Folders that runs and libraries write into, and the space that is left."""
    yield _folder("data", data_folder, WRONG, "XDG_DATA_HOME", "runs are not known as yours")
    yield _folder("temporary", lambda: Path(tempfile.gettempdir()), WRONG, "TMPDIR", "libraries need it")
    yield _folder("cache", cache_folder, NOTE, "XDG_CACHE_HOME", "libraries make again what they keep there")
    yield _folder("current", Path.cwd, NOTE, None, "runs need --out")
    try:
        free = shutil.disk_usage(Path.cwd()).free
    except OSError:
        return
    if free < _LEAST_BYTES:
        text = f"{in_words(free)}: expected {in_words(_LEAST_BYTES)}"
        yield Finding("folders", "free space", text, WRONG, "cd FOLDER_WITH_SPACE")
    else:
        yield Finding("folders", "free space", in_words(free))


def _folder(name: str, find: Callable[[], Path], status: str, variable: str | None, without: str) -> Finding:
    """Look whether files can be made in a folder, or, if it is not there, in the one that would hold it."""
    fix = "cd FOLDER_OF_YOURS" if variable is None else set_variable(variable, "FOLDER_OF_YOURS")
    try:
        path = find()
        there = next(each for each in (path, *path.parents) if os.path.lexists(each))
        with tempfile.TemporaryFile(dir=there):
            pass
    except (OSError, RuntimeError) as error:  # RuntimeError: the user has no home
        return Finding("folders", name, f"cannot be written: {message_of(error)}; {without}", status, fix)
    return Finding("folders", name, str(path))


def starcraft() -> Iterator[Finding]:
    """SMAC and its game. SMAX, which needs no game, is an extra."""
    package = _smac()
    chosen = os.environ.get("SC2PATH")
    home = os.path.expanduser("~/StarCraftII")  # noqa: PTH111  # no error where the user has no home
    game = Path(chosen or _GAMES.get(sys.platform) or home)
    where = f"{'SC2PATH=' if chosen else ''}{game}"
    versions = sorted(each.name for each in game.glob("Versions/Base*"))
    if package == "smac":
        yield Finding("starcraft", "SMAC", "is installed")
    elif package == "other":
        text = "is not installed: the package smac that is there is a hyperparameter optimiser of that name"
        yield Finding("starcraft", "SMAC", text, NOTE, f"pip uninstall smac, {SMAC}")
    else:
        yield Finding("starcraft", "SMAC", "is not installed; experiments smac-... need it", NOTE, SMAC)
    if versions:
        yield Finding("starcraft", "game", f"{where}: {', '.join(versions)}")
        if package == "smac" and not (game / "Maps" / "SMAC_Maps").is_dir():
            fix = f"unzip SMAC_Maps.zip -d {game / 'Maps'}"
            yield Finding("starcraft", "maps", f"{where}: no folder Maps/SMAC_Maps", WRONG, fix)
    elif chosen or package == "smac":
        text = f"{where}: expected the game's folder, which holds Versions/Base..."
        yield Finding("starcraft", "game", text, WRONG, set_variable("SC2PATH", "FOLDER_OF_STARCRAFT_II"))


def _smac() -> str | None:
    """Return `smac`, or `other` for another package of that name; nothing of it is imported."""
    found = importlib.util.find_spec("smac")
    if found is None:
        return None
    places = found.submodule_search_locations or []
    return "smac" if any(Path(place, "env").is_dir() for place in places) else "other"
