"""A dry run of a run's end before its beginning: what it will write is written once, of untrained objects.

An algorithm whose weights cannot be saved, a network without a file format, a title that cannot be drawn: all
of that is known before anything is trained, and is one line. The files go into a folder that is removed.
"""

from __future__ import annotations

import shutil
import warnings
from collections.abc import Sequence
from itertools import chain, repeat

import numpy as np

from cesma_sb3.config.schema import Experiment
from cesma_sb3.evaluation import Returns
from cesma_sb3.training.outcome import Outcome
from cesma_sb3.training.report import make_report, save_results
from cesma_sb3.training.run_folder import RUN, RunFolder
from cesma_sb3.utils import atomic
from cesma_sb3.utils.torch_defaults import own_generators

_DRAWS = chain([True], repeat(False))
"""The first dry run of a process draws: what can go wrong with a figure is the same for all of its runs."""


def check_results(
    folder: RunFolder, experiment: Experiment, untrained: Outcome, agents: Sequence[str]
) -> None:
    """Writes what a run will write, once, into a folder of its own inside the run folder.

    Args:
        folder: The run folder.
        experiment: As resolved.
        untrained: What the run would return if nothing trained.
        agents: Names of the agents.

    Raises:
        CesmaError: Something could not be written at the end.
    """
    scratch = RunFolder(folder.path / f"{atomic.PREFIX}dry-run", experiment, dict(folder.info))
    returns = _returns(agents)
    with own_generators(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they come when the results are written for good
        try:
            scratch.path.mkdir()
            scratch.write_json(RUN, scratch.info)
            report = make_report(experiment, returns, untrained)
            save_results(
                scratch, experiment, returns=returns, outcome=untrained, report=report, draws=next(_DRAWS)
            )
        finally:
            shutil.rmtree(scratch.path, ignore_errors=True)


def _returns(agents: Sequence[str]) -> dict[str, Returns]:
    """Returns of two episodes that nobody played."""
    numbers = np.array([0.0, 1.0])
    returns = Returns(
        team=numbers,
        lengths=np.ones(2, dtype=np.int64),
        agents=dict.fromkeys(agents, numbers),
        wins=numbers > 0,
    )
    return dict.fromkeys(("expert", "students", "imitators", "random", "reference"), returns)
