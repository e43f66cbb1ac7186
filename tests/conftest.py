"""What holds in every test: one thread, no screen, no time limits, the same examples every time, and no GPU
unless CUDA_VISIBLE_DEVICES names one."""

import os

os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")

import torch  # noqa: E402  # after the variables that it reads
from hypothesis import settings  # noqa: E402  # likewise

torch.set_num_threads(1)
settings.register_profile("cesma", deadline=None, derandomize=True)
settings.load_profile("cesma")
