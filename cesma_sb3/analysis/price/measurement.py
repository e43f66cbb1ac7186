"""Measure the expert and the students of a run from the same initial states."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import numpy as np

from cesma_sb3.analysis.price.losses import StepLoss
from cesma_sb3.analysis.price.one_step_deviations import Deviations, measure_deviations
from cesma_sb3.analysis.price.rollouts import Rollouts, SoftLabels, collect_rollouts
from cesma_sb3.analysis.run_data import Role
from cesma_sb3.config.schema import CheckpointConfig, DaggerConfig, Experiment
from cesma_sb3.envs.particle.vec_env import ParticleVecEnv
from cesma_sb3.evaluation import (
    MessageAblation,
    Returns,
    ablate_messages,
    make_actor,
    policy_actor,
    random_actor,
)
from cesma_sb3.experts import Expert, RecurrentExpert, SamplingExpert
from cesma_sb3.experts.base import SoftExpert
from cesma_sb3.policies import TeamEnsemble, TeamPolicy, Visibility
from cesma_sb3.training.acting_mode import imitates_probabilities
from cesma_sb3.training.build import build_students
from cesma_sb3.training.checkpoint import Checkpoints
from cesma_sb3.training.context import RunContext, find_device
from cesma_sb3.training.evaluator import Evaluator
from cesma_sb3.training.load import load_expert, load_students
from cesma_sb3.training.run_folder import RunFolder
from cesma_sb3.training.stages import decentralize
from cesma_sb3.utils.progress import StageProgress


class ComparisonStudents(NamedTuple):
    """Students that are trained to the end, to be compared with those that the run kept."""

    own_view: TeamPolicy | None
    """Each agent sees its own observation; None: the run's students are these."""
    joint_view: TeamPolicy
    """Each agent sees all observations."""


class GapMeasurement:
    """The expert and the students of a run, measured from the same initial states.

    Args:
        folder: The run's folder.
        experiment: The run's experiment, with the number of episodes and the seed of this measurement.
        evaluator: The evaluator of this experiment.

    Attributes:
        students_returns, expert_returns: Returns of each episode.
        students_rollouts, expert_rollouts: Steps of these episodes, with what both would do there.
        is_soft: Whether the students imitated the expert's distribution.
        step_loss: The imitation loss of single steps.
    """

    def __init__(self, folder: RunFolder, experiment: Experiment, evaluator: Evaluator) -> None:
        self.folder, self.experiment, self.evaluator = folder, experiment, evaluator
        self.venv, self.team = evaluator.venv, evaluator.venv.team
        self.expert: Expert = load_expert(folder, experiment, evaluator)
        self.policy: TeamPolicy | TeamEnsemble = load_students(folder, self.team)
        self.is_soft = imitates_probabilities(self.dagger, self.expert, self.team)
        self.students_returns = evaluator.final(evaluator.act_of(self.policy))
        self.expert_returns = evaluator.final(make_actor(self.expert))
        self.students_rollouts = self._rollouts("students")
        self.expert_rollouts = self._rollouts("expert")
        self.step_loss = StepLoss.of(self.dagger, self.team)

    @property
    def dagger(self) -> DaggerConfig:
        """The configuration that the students were trained with."""
        config = self.experiment.dagger
        assert config is not None
        return config

    @property
    def began_with_states(self) -> bool:
        """Whether the students learned from states that others had visited, before they acted."""
        visited = self.folder.report().get("experience", {}).get("decentralize", 0)
        return bool(visited or self.dagger.rollout_timesteps)

    @property
    def share_of_equal_starts(self) -> float:
        """Share of the episodes that begin in the same state for expert and students.

        Where an environment draws from its generator during episodes, and episodes end at different times,
        only the first episodes are sure to begin alike.
        """
        students = self.students_rollouts.first_observations()
        return float((students == self.expert_rollouts.first_observations()).all(axis=1).mean())

    @property
    def note(self) -> str:
        """A sentence on whose actions are drawn at random; empty where all are deterministic."""
        draws = {"the expert": isinstance(self.expert, SamplingExpert)}
        draws["the students"] = not self.policy.acts_deterministically
        who = " and ".join(name for name, flag in draws.items() if flag)
        return f" Actions of {who} are draws, which differ by chance too." if who else ""

    def _rollouts(self, role: Role) -> Rollouts:
        soft_labels: SoftLabels | None = None
        if self.is_soft:
            assert isinstance(self.expert, SoftExpert)
            soft_labels = partial(self.expert.probabilities, temperature=self.dagger.label_temperature)
        return collect_rollouts(
            make_actor(self.expert),
            self.evaluator.act_of(self.policy),
            role,
            self.venv,
            n_episodes=self.experiment.evaluation.n_final_episodes,
            seed=self.evaluator.seeds.final,
            soft_labels=soft_labels,
        )

    def returns_with_messages(self, change: MessageAblation) -> Returns:
        """Return the students' returns with changed messages."""
        rng = np.random.default_rng(self.evaluator.seeds.students)
        return self.evaluator.final(
            ablate_messages(self.evaluator.act_of(self.policy), self.team, change, rng)
        )

    def deviations(self) -> Deviations | None:
        """Measure the costs of one-step deviations.

        Returns:
            None where the environment's state cannot be restored, or a policy has a memory or draws actions.
        """
        if (
            not isinstance(self.venv, ParticleVecEnv)
            or isinstance(self.expert, RecurrentExpert | SamplingExpert)
            or not isinstance(self.policy, TeamPolicy)
            or self.policy.is_recurrent
            or not self.policy.acts_deterministically
        ):
            return None
        return measure_deviations(
            make_actor(self.expert),
            policy_actor(self.policy),
            random_actor(self.team, np.random.default_rng(self.evaluator.seeds.random)),
            self.venv,
            n_episodes=self.experiment.evaluation.n_final_episodes,
            seed=self.evaluator.seeds.final,
        )

    def train_comparison_students(self, timesteps: int, progress: bool) -> ComparisonStudents | None:
        """Train students to the end, with their own view and with the joint view.

        Args:
            timesteps: Environment timesteps of each training; 0: train none.
            progress: Show a progress bar.

        Returns:
            None if none are trained, also because the networks or the algorithm of the run do not allow it.
        """
        is_one_team = isinstance(self.policy, TeamPolicy) and self.dagger.algorithm == "dagger"
        if not timesteps or not is_one_team or self.experiment.students.network == "custom":
            return None
        own = None if self._run_kept_the_last(timesteps) else self._train(timesteps, progress, "own")
        return ComparisonStudents(own, self._train(timesteps, progress, "joint"))

    def _run_kept_the_last(self, timesteps: int) -> bool:
        """Return whether the run's students are those that such a training ends with."""
        run = self.folder.experiment
        return (
            self.dagger.keep == "last"
            and not self.began_with_states
            and run.fine_tuning is None
            and run.students.init_from is None
            and run.seed == self.experiment.seed
            and timesteps == self.folder.report()["env_samples"].get("decentralize")
        )

    def _train(self, timesteps: int, progress: bool, sees: Visibility) -> TeamPolicy:
        """Train students as the run's were, from new weights, and return them as they are at the end.

        A run keeps the weights with the best return, which says little about the loss: that continues to fall
        while returns no longer differ.
        """
        what = "everything" if sees == "joint" else "their own part"
        dagger = {
            "total_timesteps": timesteps,
            "experience": None,  # a finished run need not keep it
            "shared_dataset": True,
            "early_stopping_evaluations": None,
            "keep": "last",
        }
        never = CheckpointConfig(minutes=None, save_freq=None)
        context = RunContext(
            self.evaluator,
            Checkpoints(self.folder, never),
            find_device(self.experiment.device),
            eval_freq=timesteps,
        )
        students = build_students(
            self.experiment.students.model_copy(update={"init_from": None}),
            self.dagger.model_copy(update=dagger),
            context,
            sees,
        )
        with StageProgress(f"students that see {what}", timesteps, enabled=progress) as shown:
            stage = "see-everything" if sees == "joint" else "see-their-own"
            trained = decentralize(students, self.expert, context, shown.update, stage=stage)
        assert isinstance(trained.policy, TeamPolicy)
        return trained.policy
