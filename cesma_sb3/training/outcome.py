"""What the stages of a run return: policies, how they got there, and what that cost."""

from __future__ import annotations

import dataclasses

from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import BasePolicy

from cesma_sb3.envs.experience import Experience
from cesma_sb3.experts import Expert
from cesma_sb3.policies import TeamEnsemble, TeamPolicy
from cesma_sb3.training.acting_mode import ActingMode
from cesma_sb3.training.callbacks import NOT_MEASURED, Curve

NOT_TRAINED = (
    "students: not one gradient step was made: dagger.min_samples, batch_size or samples_per_update is more "
    "than was collected; or no episode was whole, and these students have a memory; or none had its "
    "beginning, which experts with a memory and teams that talk need"
)


@dataclasses.dataclass(kw_only=True)
class Trained:
    """What every stage returns beside its policy."""

    curve: Curve = dataclasses.field(default_factory=lambda: NOT_MEASURED)
    """What was measured on the way."""
    env_samples: int = 0
    """Environment timesteps of the stage."""
    seconds: float = 0.0
    """Wall-clock time of the stage."""
    processor_seconds: float = 0.0
    """Processor time of the stage, without worker processes: what other jobs beside it change little."""


@dataclasses.dataclass(kw_only=True)
class TrainedExpert(Trained):
    """The centralized controller."""

    expert: Expert
    model: BaseAlgorithm | BasePolicy | None
    """The SB3 algorithm, if it is one; of an expert that was loaded from a file, the policy alone."""
    is_pretrained: bool = False
    """Whether it was not trained in this run."""
    mode: ActingMode | None = None
    """How it was found to act best; None where that was not measured."""
    experience: Experience | None = None
    """States that were visited before the students act; None where none were recorded."""


@dataclasses.dataclass(kw_only=True)
class TrainedStudents(Trained):
    """The decentralized team."""

    policy: TeamPolicy | TeamEnsemble
    n_experience: int = 0
    """States that had been visited before, which the students began with."""
    stopped_early: bool = False
    """Whether the students matched the expert before their budget was spent."""
    n_updates: int | None = None
    """Gradient steps of imitation; None of a team that did not imitate."""
    model: BaseAlgorithm | None = None
    """The SB3 algorithm of a baseline or of fine-tuning; None of students that imitate."""
    mode: ActingMode | None = None
    """How a baseline was found to act best; None of students that imitate, which act as their expert does."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What a run trained."""

    expert: TrainedExpert | None
    """The expert; None of a baseline."""
    students: TrainedStudents | None
    """The team that acts in the end; None of a run of the expert alone."""
    imitators: TrainedStudents | None = None
    """The students before fine-tuning, if there was any."""

    @property
    def modes(self) -> dict[str, ActingMode]:
        """How each policy that was trained by itself was found to act best, by its name in the report."""
        stages = {"expert": self.expert, "students": self.students}
        modes = {who: stage.mode for who, stage in stages.items() if stage is not None}
        return {who: mode for who, mode in modes.items() if mode is not None}

    @property
    def stages(self) -> dict[str, Trained]:
        """What was trained, by the name of the stage in the report, in order."""
        stages: dict[str, Trained | None] = {"students": self.students}
        if self.expert is not None:
            fine_tuned = None if self.imitators is None else self.students
            imitated = self.imitators or self.students
            stages = {"expert": self.expert, "decentralize": imitated, "fine-tune": fine_tuned}
        return {name: stage for name, stage in stages.items() if stage is not None}
