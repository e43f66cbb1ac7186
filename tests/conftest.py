"""What holds in every test: one thread, no screen, no time limits, the same examples every time, and no GPU
unless CUDA_VISIBLE_DEVICES names one."""

import atexit
import os
import shutil
import tempfile

os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

# Runs are signed with a secret of the user's: in tests, of nobody's.
os.environ["XDG_DATA_HOME"] = tempfile.mkdtemp(prefix="cesma-tests-")
atexit.register(shutil.rmtree, os.environ["XDG_DATA_HOME"], ignore_errors=True)

import torch  # noqa: E402  # after the variables that it reads
from hypothesis import settings  # noqa: E402  # likewise

torch.set_num_threads(1)
settings.register_profile("cesma", deadline=None, derandomize=True)
settings.load_profile("cesma")
