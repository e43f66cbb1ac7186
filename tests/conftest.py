"""What holds in every test: one thread, no screen, no time limits, the same chance every time, and no GPU
unless CUDA_VISIBLE_DEVICES names one. And what tests of several folders share."""

import atexit
import os
import random
import shutil
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")  # few steps, which take less than compiling them
for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

# Runs are signed with a secret of the user's: in tests, of nobody's; one for all processes of a session.
_PREFIX = "cesma-tests-"
if _PREFIX not in os.environ.get("XDG_DATA_HOME", ""):
    os.environ["XDG_DATA_HOME"] = tempfile.mkdtemp(prefix=_PREFIX)
    atexit.register(shutil.rmtree, os.environ["XDG_DATA_HOME"], ignore_errors=True)

import numpy as np  # noqa: E402  # after the variables that these read
import pytest  # noqa: E402
import torch  # noqa: E402
from hypothesis import settings  # noqa: E402

from tests import shared_runs  # noqa: E402
from tests.in_this_process import in_this_process  # noqa: E402

torch.set_num_threads(1)
settings.register_profile("cesma", deadline=None, derandomize=True)
settings.load_profile("cesma")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """A test that draws untrained weights, say, draws the same whatever ran before it."""
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002  # SB3 and environments of others draw from it
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def runs_in_this_process() -> Iterator[None]:
    """Sweeps, figures and comparisons start no process, which would take seconds for each run."""
    with in_this_process():
        yield


@pytest.fixture(scope="session")
def shared_run(tmp_path_factory: pytest.TempPathFactory) -> shared_runs.SharedRuns:
    """The folder of a finished run that all processes of the session share (`tests.shared_runs`)."""
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:  # each has a folder in that of the session
        root = root.parent
    folder = root / "shared-runs"
    folder.mkdir(exist_ok=True)
    return partial(shared_runs.make, root=folder)


@pytest.fixture
def quiet_imitation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Imitation logs nothing where it is given no folder: that is files in /tmp that nobody closes."""
    from imitation.util import logger

    configure = logger.configure
    quiet = configure(tmp_path / "log", [])
    monkeypatch.setattr(
        logger,
        "configure",
        lambda folder=None, *args, **kwargs: quiet if folder is None else configure(folder, *args, **kwargs),
    )
