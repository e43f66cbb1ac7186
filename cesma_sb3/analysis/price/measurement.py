"""A run's two teams at work, measured on the same initial states."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import numpy as np

from cesma_sb3.analysis.price.losses import Measure
from cesma_sb3.analysis.price.one_step_deviations import Deviations, deviations
from cesma_sb3.analysis.price.rollouts import Soft, Visits, visit
from cesma_sb3.config.schema import CheckpointConfig, DaggerConfig, Experiment
from cesma_sb3.envs.particle.vec_env import ParticleVecEnv
from cesma_sb3.evaluation import Change, Returns, greedy, make_actor, random_act, with_channel
from cesma_sb3.experts import Expert, RecurrentExpert, SamplingExpert
from cesma_sb3.experts.base import SoftExpert
from cesma_sb3.policies import TeamEnsemble, TeamPolicy, Visibility
from cesma_sb3.training.acting_mode import imitates_probabilities
from cesma_sb3.training.checkpoint import Checkpoints
from cesma_sb3.training.evaluator import Evaluator
from cesma_sb3.training.load import load_expert, load_students
from cesma_sb3.training.run_folder import RunFolder
from cesma_sb3.training.stages import TrainedExpert, decentralize
from cesma_sb3.utils.progress import StageProgress


class TrainedOut(NamedTuple):
    """Students after all of their training."""

    own: TeamPolicy | None
    """With their own view; None: these are the run's."""
    seeing: TeamPolicy
    """With everybody's."""


class Measured:
    """A run's two teams, measured on the same initial states.

    Args:
        folder: Of the run.
        experiment: Its values, with the episodes and the seed of this measurement.
        evaluator: Of these.

    Attributes:
        returns, experts_returns: Of each episode.
        of_students, of_expert: The states that each comes to.
        is_soft: Whether the expert's distribution was imitated.
        measure: The loss of single steps.
    """

    def __init__(self, folder: RunFolder, experiment: Experiment, evaluator: Evaluator) -> None:
        self.folder, self.experiment, self.evaluator = folder, experiment, evaluator
        self.venv, self.team = evaluator.venv, evaluator.venv.team
        self.expert: Expert = load_expert(folder, evaluator)
        self.policy: TeamPolicy | TeamEnsemble = load_students(folder, self.team)
        self.is_soft = imitates_probabilities(self.dagger, self.expert, self.team)
        self.returns = evaluator.final(evaluator.act_of(self.policy))
        self.experts_returns = evaluator.final(make_actor(self.expert))
        self.of_students = self._visits(of_expert=False)
        self.of_expert = self._visits(of_expert=True)
        self.measure = Measure.of(self.dagger, self.team)

    @property
    def dagger(self) -> DaggerConfig:
        """How the students learned."""
        config = self.experiment.dagger
        assert config is not None
        return config

    @property
    def alike(self) -> float:
        """Share of the episodes that begin in the same state for both.

        Worlds that draw from one generator while they run, and whose episodes end at different times, begin
        later episodes in states of their own.
        """
        mine, experts = self.of_students.first_observations(), self.of_expert.first_observations()
        return float((mine == experts).all(axis=1).mean())

    @property
    def note(self) -> str:
        """What single actions are, where somebody draws them; empty where all are deterministic."""
        draws = {"the expert": isinstance(self.expert, SamplingExpert)}
        draws["the students"] = not self.policy.acts_deterministically
        who = " and ".join(name for name, flag in draws.items() if flag)
        return f" Actions of {who} are draws, which differ by chance too." if who else ""

    def _visits(self, *, of_expert: bool) -> Visits:
        """Where one of the two comes to."""
        expert, students = make_actor(self.expert), self.evaluator.act_of(self.policy)
        return visit(
            expert if of_expert else students,
            expert,
            students,
            self.venv,
            n_episodes=self.experiment.evaluation.n_final_episodes,
            seed=self.evaluator.seeds.final,
            soft=self._soft(),
        )

    def _soft(self) -> Soft | None:
        """The expert's distribution, if it was imitated."""
        if not self.is_soft:
            return None
        assert isinstance(self.expert, SoftExpert)
        return partial(self.expert.probabilities, temperature=self.dagger.label_temperature)

    def with_channel(self, change: Change) -> Returns:
        """The students' returns with what they hear changed."""
        rng = np.random.default_rng(self.evaluator.seeds.students)
        return self.evaluator.final(with_channel(self.evaluator.act_of(self.policy), self.team, change, rng))

    def deviations(self) -> Deviations | None:
        """What single deviations cost; None without states to put back, or with memories or draws."""
        if (
            not isinstance(self.venv, ParticleVecEnv)
            or isinstance(self.expert, RecurrentExpert | SamplingExpert)
            or not isinstance(self.policy, TeamPolicy)
            or self.policy.is_recurrent
            or not self.policy.acts_deterministically
        ):
            return None
        return deviations(
            make_actor(self.expert),
            greedy(self.policy),
            random_act(self.team, np.random.default_rng(self.evaluator.seeds.random)),
            self.venv,
            n_episodes=self.experiment.evaluation.n_final_episodes,
            seed=self.evaluator.seeds.final,
        )

    def trained_out(self, timesteps: int, progress: bool) -> TrainedOut | None:
        """Students after all of their training, with their own view and with everybody's.

        Args:
            timesteps: Of their training; 0: there are none.
            progress: Show how it goes.

        Returns:
            None also where the students' networks or algorithm can have none.
        """
        is_one_team = isinstance(self.policy, TeamPolicy) and self.dagger.algorithm == "dagger"
        if not timesteps or not is_one_team or self.experiment.students.network == "custom":
            return None
        own = None if self._kept_are_last(timesteps) else self._trained(timesteps, progress, "own")
        return TrainedOut(own, self._trained(timesteps, progress, "joint"))

    def _kept_are_last(self, timesteps: int) -> bool:
        """Whether the run's students are those that its training ended with."""
        run = self.folder.experiment
        return (
            self.dagger.keep == "last"
            and run.fine_tuning is None
            and run.students.init_from is None
            and run.seed == self.experiment.seed
            and timesteps == self.folder.report()["env_samples"].get("decentralize")
        )

    def _trained(self, timesteps: int, progress: bool, sees: Visibility) -> TeamPolicy:
        """Trained as the students were, from new weights, and as they were in the end.

        Which weights a run keeps is decided by the return: that says little of the loss, which goes on
        falling while returns no longer differ.
        """
        what = "everything" if sees == "joint" else "their own part"
        dagger = {
            "total_timesteps": timesteps,
            "shared_dataset": True,
            "early_stopping_evaluations": None,
            "keep": "last",
        }
        experiment = self.experiment.model_copy(
            update={
                "dagger": self.dagger.model_copy(update=dagger),
                "students": self.experiment.students.model_copy(update={"init_from": None}),
                "evaluation": self.experiment.evaluation.model_copy(update={"eval_freq": timesteps}),
            }
        )
        never = CheckpointConfig(minutes=None, save_freq=None)
        with StageProgress(f"students that see {what}", timesteps, enabled=progress) as shown:
            trained = decentralize(
                experiment,
                TrainedExpert([], 0, 0.0, self.expert, None),
                self.evaluator,
                Checkpoints(self.folder, never),
                shown.update,
                stage="see-everything" if sees == "joint" else "see-their-own",
                sees=sees,
            )
        assert isinstance(trained.policy, TeamPolicy)
        return trained.policy
