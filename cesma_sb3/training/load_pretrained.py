"""`load_pretrained` loads a team that comes with this package, or that of any finished run."""

from __future__ import annotations

import dataclasses
from functools import cached_property
from pathlib import Path
from typing import Any

from cesma_sb3.experts import Expert
from cesma_sb3.policies import TeamEnsemble, TeamPolicy
from cesma_sb3.training.evaluator import Evaluator
from cesma_sb3.training.load import load_expert, load_students
from cesma_sb3.training.run_folder import RunFolder
from cesma_sb3.utils.closing import closing


@dataclasses.dataclass(frozen=True)
class PretrainedTeam:
    """What a finished run trained."""

    students: TeamPolicy | TeamEnsemble
    """All decentralized policies as one; `students.agent(i)` is one of them."""
    report: dict[str, Any]
    """The content of `report.json`."""
    folder: RunFolder
    """The run: its experiment, and where its files are."""

    @cached_property
    def expert(self) -> Expert | None:
        """The centralized controller; None of a baseline. It is loaded when it is first asked for.

        Raises:
            StorageError: A file is missing or torn, or the expert was never in one.
            MissingExtraError: Its environment needs a package that is not installed.
        """
        if self.folder.experiment.dagger is None:
            return None
        experiment = self.folder.load({"evaluation.n_envs": 1})
        with closing(Evaluator(experiment, agents=self.folder.agents)) as evaluator:
            return load_expert(self.folder, experiment, evaluator)


def load_pretrained(name: str | Path, *, trust: bool = False) -> PretrainedTeam:
    """Load a team that comes with this package, or that of a finished run, and its report.

    Args:
        name: The name of a pretrained team (`cesma list` marks them), or a run folder.
        trust: Whether a run folder may run the code that it names or holds, though it was made elsewhere.

    Raises:
        StorageError: There is no such team, or a file is missing or torn.
        UntrustedError: The folder would run code, and was not made here.

    Example:
        >>> team = cesma_sb3.load_pretrained("spread-6-hetero")
        >>> action, _ = team.students.agent("agent_0").predict(own_observation, deterministic=True)
    """
    folder = RunFolder.open(name, trust=trust)
    return PretrainedTeam(load_students(folder), folder.report(), folder)
