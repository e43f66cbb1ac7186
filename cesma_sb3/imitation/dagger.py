"""`MultiAgentDAggerTrainer`: one expert in, one policy for each agent out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch as th
from imitation.algorithms.base import AnyTransitions, DemonstrationAlgorithm
from imitation.data import types
from imitation.util.logger import HierarchicalLogger

from cesma_sb3.envs.experience import Experience
from cesma_sb3.envs.joint_vec_env import JointVecEnv
from cesma_sb3.envs.rollouts import Rollout, ValidatedActor
from cesma_sb3.errors import SpaceError
from cesma_sb3.experts import make_actor
from cesma_sb3.experts.wrappers import name_of
from cesma_sb3.imitation.base import DAggerProgress, LoopState, RunningMean, TeamTrainer
from cesma_sb3.imitation.dataset import EpisodeDataset
from cesma_sb3.imitation.demonstrations import demonstrated
from cesma_sb3.imitation.labelling import ExperienceLabeller
from cesma_sb3.imitation.learner import LearningRate, UpdateSchedule
from cesma_sb3.imitation.losses import ClassWeighting, ImitationLoss, LossName
from cesma_sb3.imitation.settings import BufferConfig, LabelConfig, MessageConfig, OptimizerConfig
from cesma_sb3.policies.team_policy import TeamPolicy
from cesma_sb3.utils.torch_defaults import plain_torch


class MultiAgentDAggerTrainer(TeamTrainer, DemonstrationAlgorithm[types.Transitions]):
    """DAgger for a team: students act, the centralized expert labels, all agents learn in one batched update.

    An algorithm of the `imitation` library: demonstrations, types, beta schedules and logger are imitation's.
    Unlike imitation's `DAggerTrainer` it keeps its dataset in memory, as arrays.

    The paper's Algorithm 1 sets `samples_per_update=1` (its k) and `beta_schedule=None`. By default the
    trainer makes fewer gradient steps, on larger batches.
    Where the team's layouts declare messages it is Algorithm 2 (`Communication`).

    Args:
        venv: Batched joint environment in the `joint` action view.
        expert_policy: Labels joint observations: a model or policy of SB3, a function, an `Expert`, or
            anything else that `adapt_expert` takes.
        rng: Random generator that draws the training batches and, at each step, whether the expert acts.
        policy: The students; a `TeamPolicy` with the paper's sizes if None.
        demonstrations: The expert's trajectories or transitions to start from (`set_demonstrations`).
        beta_schedule: Probability of the expert's action by round, as imitation's `BetaSchedule`; None is the
            paper's 0: students act from the start.
        beta_per_agent: Draw who acts for each agent by itself in place of the whole team.
        round_timesteps: Timesteps in a round of the beta schedule; None: one step of all environments.
        samples_per_update: Environment timesteps collected for each gradient step.
        batch_size: Samples of each gradient step; of recurrent students, episodes.
        learning_rate: A number, or a function of the progress remaining (1 to 0) in a call of `train`.
        loss: `auto`, `cross-entropy`, `mse`, or an `ImitationLoss`.
        class_weights: `inverse-frequency`: rare labels weigh more (`LabelCounts`).
        deterministic: Students take their likeliest actions while the dataset grows; False: they sample.
        buffer: The dataset: its size, when learning starts, and whether agents share it.
        labels: Hard or soft labels.
        messages: How messages are learned, where the team communicates.
        optimizer: The optimizer of the students.
        use_symmetries: Each sample is turned by a multiple of 90 degrees and mirrored or not, at random, in a
            team whose layouts say how (`cesma_sb3.spaces.symmetries`).
        custom_logger: imitation's logger; None makes a new one.

    Raises:
        SpaceError: The policy is not one for this team.
        ExpertError: The expert does not fit the team, or soft labels are wanted of one that has none.
        LayoutError: The team's layouts do not say who receives whose messages, or declare no symmetries to
            use.
        ConfigError: `buffer` asks for a dataset for each agent, of a team that communicates or sees
            everything; or class weights are wanted of a loss that is not by name; or recurrent students
            have datasets of their own, or a reservoir.
        ValueError: A number is out of its range.
        UnknownNameError: There is no such loss or class weighting.

    Source: section 4.3 and Algorithm 1 (appendix B); section 4.4 and Algorithm 2 (appendix C); Ross et al.
    (2011).
    """

    state_attributes = (*TeamTrainer.state_attributes, "update_schedule")

    @plain_torch()
    def __init__(
        self,
        *,
        venv: JointVecEnv,
        expert_policy: Any,
        rng: np.random.Generator,
        policy: TeamPolicy | None = None,
        demonstrations: AnyTransitions | None = None,
        beta_schedule: Callable[[int], float] | None = None,
        beta_per_agent: bool = False,
        round_timesteps: int | None = None,
        samples_per_update: int = 64,
        batch_size: int = 256,
        learning_rate: LearningRate = 3e-3,
        loss: LossName | ImitationLoss = "auto",
        class_weights: ClassWeighting = "none",
        deterministic: bool = True,
        buffer: BufferConfig | None = None,
        labels: LabelConfig | None = None,
        messages: MessageConfig | None = None,
        optimizer: OptimizerConfig | None = None,
        use_symmetries: bool = False,
        custom_logger: HierarchicalLogger | None = None,
    ) -> None:
        self.update_schedule = UpdateSchedule(samples_per_update)
        super().__init__(
            venv=venv,
            expert_policy=expert_policy,
            rng=rng,
            policy=policy,
            beta_schedule=beta_schedule,
            beta_per_agent=beta_per_agent,
            batch_size=batch_size,
            learning_rate=learning_rate,
            loss=loss,
            class_weights=class_weights,
            deterministic=deterministic,
            buffer=buffer,
            labels=labels,
            messages=messages,
            optimizer=optimizer,
            use_symmetries=use_symmetries,
            custom_logger=custom_logger,
            demonstrations=None,
        )
        self.round_timesteps = venv.num_envs if round_timesteps is None else round_timesteps
        least = self.buffer.min_samples
        self.min_samples = batch_size if least is None else least
        if demonstrations is not None:
            self.set_demonstrations(demonstrations)

    @property
    def policy(self) -> TeamPolicy:
        """The students."""
        return self.students

    @property
    def round_number(self) -> int:
        """The round that the next timestep belongs to, from 0."""
        return self.timesteps // self.round_timesteps

    def set_demonstrations(self, demonstrations: AnyTransitions) -> None:
        """Add demonstrations to the dataset, as if the students had seen these states.

        Args:
            demonstrations: imitation's trajectories, `Transitions`, or an iterable of batches (mappings with
                `obs` and `acts`); observations joint, actions packed. Recurrent students take trajectories
                alone, each as one episode.

        Raises:
            SpaceError: Observations or actions are not of this team's shape.
            ConfigError: Transitions are given to recurrent students, or an episode is longer than `capacity`.
        """
        for samples in demonstrated(
            demonstrations,
            self.venv.team,
            has_masks=self.venv.team.has_masks,
            has_probabilities=self.collector.labels.soft,
            communicates=self.learner.communication is not None,
            episodes=self.students.is_recurrent,
        ):
            self._add(samples)

    def add_experience(self, experience: Experience) -> None:
        """Label states that others have visited, and add them to the dataset as if students had seen them.

        Args:
            experience: The states, of this team, which the expert labels unless they have labels. Recurrent
                students learn from its whole episodes.

        Raises:
            SpaceError: The states are another team's, or not of finite numbers.
            InvalidActionError: The expert's label is no action that the agent can do.
            ConfigError: An episode is longer than `capacity`, or there is not enough memory.
        """
        if experience.team != self.venv.team:
            raise SpaceError(
                "experience: of another team than the students'; expected joint observations of it"
            )
        self.dataset.expect(len(experience))
        labeller = ExperienceLabeller(
            experience,
            self.expert,
            labels=self.collector.labels,
            rng=self.rng,
            label_rng=self._label_rng(),
            replaces_unavailable=self.venv.replaces_unavailable,
        )
        for samples in labeller.episodes() if self.students.is_recurrent else labeller.samples():
            self._add(samples)

    def add_rollouts(self, total_timesteps: int) -> None:
        """Have the expert act, and add the states that it visits to the dataset, labelled.

        Args:
            total_timesteps: Over all environments, rounded up to whole vector steps.

        Raises:
            InvalidActionError: An action of the expert is no action that the agent can do.
            ConfigError: As of `add_experience`.
            ValueError: The number is below 1.
        """
        if total_timesteps < 1:
            raise ValueError(f"total_timesteps={total_timesteps}: expected at least 1")
        n_steps = -(-total_timesteps // self.venv.num_envs)
        experience = Experience(self.venv.team, self.venv.num_envs, self.buffer.capacity)
        actor = make_actor(self.expert, self._label_rng())
        act = ValidatedActor(actor, self.venv, f"{name_of(self.expert)}.labels")
        rollout = Rollout(self.venv, act)
        for _ in range(n_steps):
            step = next(rollout)
            experience.append(step.observations, step.alive, step.starts, step.masks)
        self.timesteps += n_steps * self.venv.num_envs
        self.add_experience(experience)

    def reset(self) -> None:
        """Begin new episodes at the next timestep, and drop unfinished ones."""
        super().reset()
        if isinstance(self.dataset, EpisodeDataset):
            self.dataset.store.forget_begun()

    def update(self) -> th.Tensor:
        """Make one gradient step of every agent on one batch of the dataset.

        Returns:
            The loss of each agent before the step, [n_agents] float32.
        """
        return self.learner.update(self.dataset)

    def _new_loop(self, n_steps: int) -> LoopState:
        self.dataset.expect(n_steps * self.venv.num_envs)
        return super()._new_loop(n_steps)

    def _step(self, loop: LoopState) -> None:
        self._add(*self.collector.step(self.round_number))
        self._set_progress(loop)
        if self.dataset.has(self.min_samples):
            for _ in range(self.update_schedule.due(self.venv.num_envs)):
                loop.losses.add(self.update())

    def _set_progress(self, loop: LoopState) -> None:
        per_step = self.venv.num_envs / self.update_schedule.samples_per_update
        done = loop.pretrained + loop.step * per_step
        self.learner.set_progress(1.0 - done / (loop.n_pretraining + loop.n_steps * per_step))

    def _is_logged(self, loop: LoopState, log_interval: int) -> bool:
        return loop.step % log_interval == 0 or loop.step == loop.n_steps

    def _log(self, progress: DAggerProgress, rate: float) -> None:
        super()._log(progress, rate)
        self._loop.losses = RunningMean(self.venv.team.n_agents)
