"""Fine-tuning: students learn from the team's reward, with an imitation term that fades."""

from __future__ import annotations

from typing import Any

import torch as th
from stable_baselines3.common.type_aliases import RolloutBufferSamples

from cesma_sb3.algorithms import TeamPPO
from cesma_sb3.errors import ConfigError, ExpertError
from cesma_sb3.experts import Expert, RecurrentExpert
from cesma_sb3.policies.team_policy import TeamPolicy
from cesma_sb3.spaces.communication import message_columns


class FineTuningPPO(TeamPPO):
    """`TeamPPO` from the weights of students, with a term of imitation that fades.

    The critic is new: at first it learns alone, so that its noise does not undo what the students learned.
    The loss of the actors is PPO's plus `imitation_coef` times the negative log-likelihood of the expert's
    action (a mean over agents, without messages); the coefficient falls linearly to `imitation_coef_final`.

    Args:
        students: Their weights are copied into the actors.
        *args: Of `TeamPPO`: the policy, which has the students' networks, and the environment.
        expert: The expert of the imitation term; None: there is no such term.
        imitation_coef: Coefficient of that term at the start, in [0, inf).
        imitation_coef_final: Coefficient at the end, in [0, inf).
        critic_warmup_fraction: The fraction of the training in which the critic alone learns, in [0, 1).
        **kwargs: Of `TeamPPO`.

    Raises:
        ConfigError: The students are recurrent, a number is out of its range, or the environment has action
            masks, which this PPO does not take.
        ExpertError: The expert is recurrent: its labels are of whole episodes, not of single observations.

    Source: Yu et al. (2021) for PPO with `own` actors and a `joint` critic; the fading term as in Rajeswaran
        et al. (2018), section IV.
    """

    def __init__(
        self,
        *args: Any,
        students: TeamPolicy | None = None,
        expert: Expert | None = None,
        imitation_coef: float = 0.0,
        imitation_coef_final: float = 0.0,
        critic_warmup_fraction: float = 0.1,
        **kwargs: Any,
    ) -> None:
        if min(imitation_coef, imitation_coef_final) < 0 or not 0 <= critic_warmup_fraction < 1:
            raise ConfigError(
                f"imitation_coef {imitation_coef}, imitation_coef_final {imitation_coef_final}, "
                f"critic_warmup_fraction {critic_warmup_fraction}: expected at least 0, and below 1 for "
                "critic_warmup_fraction"
            )
        if isinstance(expert, RecurrentExpert) and max(imitation_coef, imitation_coef_final) > 0:
            raise ExpertError(
                f"{type(expert).__name__}: has a memory: expected imitation_coef 0 in fine-tuning"
            )
        if students is not None and (students.is_recurrent or students.team.has_masks):
            what = "have a memory" if students.is_recurrent else "have masks"
            raise ConfigError(f"fine_tuning: these students {what}, which PPO's rollouts here do not know")
        self.expert = expert
        self.imitation_coef = imitation_coef
        self.imitation_coef_final = imitation_coef_final
        self.critic_warmup_fraction = critic_warmup_fraction
        super().__init__(*args, **kwargs)
        if students is not None:  # else it is made by SB3, which gives it the weights in a file
            self.start_from(students, expert)

    def start_from(self, students: TeamPolicy, expert: Expert | None) -> None:
        """Give the actors the weights of students, and the way in which these act.

        Args:
            students: A team with the policy's networks.
            expert: What the term of imitation holds them to.
        """
        self.expert = expert
        self.policy.action_net.load_state_dict(students.action_net.state_dict())
        self.policy.log_std.data.copy_(students.log_std.detach())
        self.policy.acts_deterministically = students.acts_deterministically
        # What SB3 saves, and makes the policy by when it loads the model.
        self.policy_kwargs = {
            **self.policy_kwargs,
            "acts_deterministically": students.acts_deterministically,
        }

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "expert"]

    @property
    def imitation_weight(self) -> float:
        """The current coefficient of the imitation term."""
        span = self.imitation_coef - self.imitation_coef_final
        return self.imitation_coef_final + span * self._current_progress_remaining

    def train(self) -> None:
        """Update the policy from the rollouts (SB3's hook); at first the critic alone."""
        learns = 1.0 - self._current_progress_remaining >= self.critic_warmup_fraction
        actors = [*self.policy.action_net.parameters(), self.policy.log_std]
        for weight in actors:
            weight.requires_grad_(learns)
        super().train()
        for weight in actors:
            weight.requires_grad_(True)
        self.logger.record("train/imitation_weight", self.imitation_weight)

    def _loss(self, batch: RolloutBufferSamples) -> tuple[th.Tensor, dict[str, th.Tensor]]:
        loss, log = super()._loss(batch)
        weight = self.imitation_weight
        if self.expert is None or weight == 0:
            return loss, log
        assert isinstance(batch.observations, th.Tensor)
        labels = self.expert.labels(batch.observations.cpu().numpy().copy())  # the batch is used on
        log_probs = self.policy.distribution(batch.observations).column_log_probs(
            th.as_tensor(labels, device=self.device)
        )
        moves = th.as_tensor(~message_columns(self.policy.team), device=self.device)
        unlike = -(log_probs * moves).sum(dim=1).mean() / self.policy.team.n_agents
        return loss + weight * unlike, {**log, "imitation_loss": unlike.detach()}
