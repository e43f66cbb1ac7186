"""A rehearsal of a run's end before its beginning: what it will write is written once, of untrained objects.

An algorithm whose weights cannot be saved, a network without a file format, a title that cannot be drawn: all
of that is known before anything is trained, and is one line. The files go into a folder that is removed.
"""

from __future__ import annotations

import copy
import shutil
import warnings
from itertools import chain, repeat

import numpy as np

from cesma_sb3.config.schema import Experiment
from cesma_sb3.errors import ConfigError
from cesma_sb3.evaluation import Returns
from cesma_sb3.imitation.dataset import sample_bytes
from cesma_sb3.policies import MixturePolicy, SequencePolicy, TeamEnsemble, TeamPolicy
from cesma_sb3.spaces.communication import MessageChannel
from cesma_sb3.training.build import make_students
from cesma_sb3.training.callbacks import NOT_MEASURED
from cesma_sb3.training.evaluator import Evaluator
from cesma_sb3.training.report import Outcome, make_report, save_results
from cesma_sb3.training.run_folder import RUN, RunFolder
from cesma_sb3.training.stages import TrainedExpert, TrainedStudents, fine_tuning_model
from cesma_sb3.utils import atomic
from cesma_sb3.utils.memory import in_words, memory
from cesma_sb3.utils.torch_defaults import own_generators

_DRAWS = chain([True], repeat(False))
"""The first rehearsal of a process draws: what can go wrong with a figure is the same for all of its runs."""


class Rehearsal:
    """Writes what a run will write, once, into a folder of its own inside the run folder.

    Args:
        folder: The run's.
        experiment: As resolved.
        evaluator: Knows the team.
    """

    def __init__(self, folder: RunFolder, experiment: Experiment, evaluator: Evaluator) -> None:
        self.folder = folder
        self.experiment = experiment
        self.evaluator = evaluator

    def dataset(self) -> str:
        """Whether there is memory for the students' dataset; how much it takes at most, in words.

        Raises:
            ConfigError: It would take more than there is.
        """
        config, team = self.experiment.dagger, self.evaluator.venv.team
        assert config is not None
        n_samples = min(config.capacity, config.total_timesteps + config.n_envs - 1)
        size = n_samples * sample_bytes(
            team,
            has_masks=team.has_masks,
            soft_labels=config.labels == "soft",
            communicates=MessageChannel.of(team) is not None,
        )
        there_is = memory()
        if there_is is not None and size > there_is:
            raise ConfigError(
                f"dagger.capacity {config.capacity}: the dataset would take up to {in_words(size)} for "
                f"{n_samples:,} samples, and there are {in_words(there_is)} of memory; expected at most "
                f"{there_is * n_samples // size}"
            )
        return in_words(size)

    def expert(self, untrained: TrainedExpert) -> None:
        """The files of an expert, and of the students that will imitate it.

        Raises:
            CesmaError: Something could not be written at the end, or the students could not be fine-tuned.
        """
        with own_generators(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # they come when the objects are made for good
            self._write(self._outcome(untrained))

    def team(self, untrained: TrainedStudents) -> None:
        """The files of a baseline's agents.

        Raises:
            CesmaError: Something could not be written at the end.
        """
        with own_generators():
            self._write(Outcome(None, untrained))

    def alone(self, untrained: TrainedExpert) -> None:
        """The files of an expert that nobody imitates in this run.

        Raises:
            CesmaError: Something could not be written at the end.
        """
        with own_generators():
            self._write(Outcome(untrained, None))

    def _outcome(self, expert: TrainedExpert) -> Outcome:
        experiment, config = self.experiment, self.experiment.dagger
        assert config is not None
        policy = make_students(experiment, self.evaluator.venv.team, config.learning_rate)
        students = _untrained(_acting(config.algorithm, policy))
        if experiment.fine_tuning is None:
            return Outcome(expert, students)
        # Never stepped: as many environments as in the stage, for the sizes that depend on it.
        venv = copy.copy(self.evaluator.venv)
        venv.num_envs = experiment.fine_tuning.n_envs
        seed = self.evaluator.seeds.fine_tuning
        model = fine_tuning_model(experiment, students.policy, expert.expert, venv, seed)
        tuned = _untrained(model.policy)
        tuned.model = model
        return Outcome(expert, tuned, imitators=students)

    def _write(self, outcome: Outcome) -> None:
        scratch = RunFolder(
            self.folder.path / f"{atomic.PREFIX}rehearsal", self.experiment, dict(self.folder.info)
        )
        returns = _returns(self.evaluator.venv.team.agents)
        try:
            scratch.path.mkdir()
            scratch.write_json(RUN, scratch.info)
            report = make_report(self.experiment, returns, outcome)
            save_results(
                scratch,
                self.experiment,
                returns=returns,
                outcome=outcome,
                report=report,
                draws=next(_DRAWS),
            )
        finally:
            shutil.rmtree(scratch.path, ignore_errors=True)


def _acting(algorithm: str, policy: TeamPolicy) -> TeamPolicy | TeamEnsemble:
    """What the algorithm will make of such teams."""
    if algorithm == "forward-training":
        return SequencePolicy([policy])
    return MixturePolicy([policy]) if algorithm in {"smile", "searn"} else policy


def _untrained(policy: TeamPolicy | TeamEnsemble) -> TrainedStudents:
    return TrainedStudents(NOT_MEASURED, 0, 0.0, policy=policy, stopped_early=False)


def _returns(agents: tuple[str, ...]) -> dict[str, Returns]:
    """Returns of two episodes that nobody played."""
    numbers = np.array([0.0, 1.0])
    returns = Returns(
        team=numbers,
        lengths=np.ones(2, dtype=np.int64),
        agents=dict.fromkeys(agents, numbers),
        wins=numbers > 0,
    )
    return dict.fromkeys(("expert", "students", "imitators", "random", "reference"), returns)
