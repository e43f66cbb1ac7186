"""Students step through the environment, the expert labels what they saw."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from cesma_sb3.envs.action_validator import ActionValidator
from cesma_sb3.envs.joint_vec_env import JointVecEnv
from cesma_sb3.errors import ExpertError
from cesma_sb3.experts.base import Expert, RecurrentExpert, SoftExpert, StatefulActor, make_actor
from cesma_sb3.experts.objects import name_of
from cesma_sb3.imitation.dataset import Samples
from cesma_sb3.policies.team_policy import TeamPolicy
from cesma_sb3.spaces.communication import MessageChannel, message_columns


class Collector:
    """One vector step at a time: act, label, step (lines 2 to 5 of Algorithm 1, 2 to 4 of Algorithm 2).

    Of a team that communicates each sample keeps the step before too. Where the expert acts, the students
    still talk: it has nothing to say.

    Args:
        venv: Batched joint environment in the `joint` action view.
        policy: The students, who act.
        expert: Labels every joint observation.
        beta: Probability that the expert acts in the students' place, by round, as imitation's
            `BetaSchedule`. The paper's is 0.
        beta_per_agent: Draw for each agent by itself in place of the whole team.
        deterministic: Students act greedily; False samples their distribution.
        soft_labels: Keep the expert's distribution too.
        temperature: Of the soft labels.
        rng: Draws who acts.
        label_rng: Draws the labels of an expert that samples; None: they are always the same draws.

    Raises:
        ExpertError: Soft labels are wanted of an expert that has none or that has a memory, or of a team
            without categories.
    """

    def __init__(
        self,
        venv: JointVecEnv,
        policy: TeamPolicy,
        expert: Expert,
        *,
        beta: Callable[[int], float],
        beta_per_agent: bool,
        deterministic: bool,
        soft_labels: bool,
        temperature: float,
        rng: np.random.Generator,
        label_rng: np.random.Generator | None = None,
    ) -> None:
        if soft_labels and not isinstance(expert, SoftExpert):
            raise ExpertError(f"{name_of(expert)}: has no `probabilities`: use labels 'hard'")
        if soft_labels and isinstance(expert, RecurrentExpert):
            raise ExpertError(f"{name_of(expert)}: has a memory, and gives actions alone: use labels 'hard'")
        if soft_labels and venv.team.is_continuous:
            raise ExpertError(
                "labels 'soft': this team's actions are numbers, without categories: use 'hard'"
            )
        self.venv = venv
        self.team = venv.team
        self.policy = policy
        self.expert = expert
        self.beta = beta
        self.beta_per_agent = beta_per_agent
        self.deterministic = deterministic
        self.soft_labels = soft_labels
        self.temperature = temperature
        self.rng = rng
        self.label_rng = label_rng
        self.has_channel = MessageChannel.of(venv.team) is not None
        self._moves = ~message_columns(venv.team)
        self._observations: npt.NDArray[np.float32] | None = None
        self._before: Samples | None = None
        self._began = np.ones(venv.num_envs, dtype=bool)
        self._possible = ActionValidator(venv)
        self._labels = make_actor(expert, label_rng)
        self._state: tuple[npt.NDArray[np.generic], ...] | None = None

    @property
    def began(self) -> npt.NDArray[np.bool_]:
        """In which worlds the step before was an episode's last, [B]."""
        return self._began

    def restart(self) -> None:
        """Forgets where the environments were: they may have been used in the meantime, to evaluate."""
        self._observations = None

    def step(self, round_number: int) -> tuple[Samples, list[dict[str, object]]]:
        """One step of every environment.

        Args:
            round_number: Which round this is, from 0, for the beta schedule.

        Returns:
            The labelled observations of this step, and the infos of the step.

        Raises:
            ExpertFault: Labels are of another shape, or one is no number, no action of the agent, or one that
                it cannot do now.
        """
        if self._observations is None:
            self._observations = np.asarray(self.venv.reset(), dtype=np.float32)
            self._began = np.ones(self.venv.num_envs, dtype=bool)
            self._possible.begin(None)
            self._state = None
            self._labels = make_actor(self.expert, self.label_rng)  # with nothing in its memory
        observations = self._observations
        # Copied: the environment may overwrite its own arrays when it steps.
        alive = self.venv.alive.copy()
        masks = None if self.venv.agent_masks is None else self.venv.agent_masks.copy()
        # Students learn what is done in place of an unavailable label, which they could not do.
        labels = self._possible(self._labels(observations, masks), f"{name_of(self.expert)}.labels")
        probabilities = None
        if self.soft_labels:
            assert isinstance(self.expert, SoftExpert)
            probabilities = self.expert.probabilities(observations, masks, temperature=self.temperature)
        actions, self._state = self.policy.predict(
            observations, self._state, self._began, deterministic=self.deterministic, action_masks=masks
        )
        if self.has_channel and not self.deterministic:  # messages are never drawn: see `TeamPolicy.step`
            likeliest, _ = self.policy.predict(observations, deterministic=True, action_masks=masks)
            actions = np.where(self._moves, actions, likeliest)
        actions = self._mix(actions, labels, self.beta(round_number))
        samples = Samples(observations, labels, alive, masks, probabilities)
        if self.has_channel:
            samples = self._with_previous(samples)
        next_observations, _, dones, infos = self.venv.step(actions)
        self._observations = np.asarray(next_observations, dtype=np.float32)
        self._began = np.array(dones, dtype=bool)
        self._possible.begin(self._began)
        if isinstance(self._labels, StatefulActor):
            self._labels.reset(self._began)
        return samples, list(infos)

    def _with_previous(self, samples: Samples) -> Samples:
        """The samples joined by those of the step before, from which the messages in them came."""
        before = samples if self._before is None else self._before
        self._before = samples
        return samples._replace(
            previous=before.observations,
            follows=before.alive & ~self._began[:, None],
            previous_masks=before.masks,
        )

    def _mix(
        self, students: npt.NDArray[np.generic], expert: npt.NDArray[np.generic], beta: float
    ) -> npt.NDArray[np.generic]:
        if beta <= 0:
            return students
        n_draws = self.team.n_agents if self.beta_per_agent else 1
        by_expert = np.broadcast_to(
            self.rng.random((len(students), n_draws)) < beta, (len(students), self.team.n_agents)
        )
        sizes = [columns.stop - columns.start for columns in self.team.action_columns]
        return np.where(np.repeat(by_expert, sizes, axis=1) & self._moves, expert, students)
