"""Runs that commands would start as processes, in this one: each process takes seconds to begin."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from cesma_sb3 import cli
from cesma_sb3.multirun import plan as plan_module


def _run_jobs(jobs, workers, *, started, ended):
    """In place of `plan.run_jobs`: one after the other, with the same logs and exit statuses."""
    for job in jobs:
        started(job)
        job.log.parent.mkdir(parents=True, exist_ok=True)
        with job.log.open("w") as log, contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
            try:
                cli.main(job.command[3:])  # after `python -m cesma_sb3`
            except SystemExit as caught:
                status = caught.code
        ended(job, status, 0.0)


@contextlib.contextmanager
def in_this_process() -> Iterator[None]:
    """Sweeps, figures and comparisons make their runs here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan_module, "run_jobs", _run_jobs)
        yield
