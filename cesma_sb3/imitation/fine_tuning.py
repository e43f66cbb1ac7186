"""Fine-tuning: students learn from the team's reward, with an imitation term that fades."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch as th

from cesma_sb3.algorithms import TeamPPO
from cesma_sb3.algorithms.team_rollout import TeamSamples
from cesma_sb3.envs.action_validator import ActionRules
from cesma_sb3.envs.joint_vec_env import attribute, available_actions
from cesma_sb3.envs.rollouts import reset_actor
from cesma_sb3.errors import ConfigError
from cesma_sb3.experts import Expert, make_actor
from cesma_sb3.experts.wrappers import name_of
from cesma_sb3.policies.distributions import TeamDistribution
from cesma_sb3.policies.team_policy import TeamPolicy
from cesma_sb3.spaces.communication import message_columns
from cesma_sb3.spaces.types import Actor


class FineTuningPPO(TeamPPO):
    """`TeamPPO` from the weights of students, with a term of imitation that fades.

    The critic is new: at first it learns alone, so that its noise does not undo what the students learned.
    The loss of the actors is PPO's plus `imitation_coef` times the negative log-likelihood of the expert's
    action (a mean over agents, without messages); the coefficient falls linearly to `imitation_coef_final`.
    The expert labels each step of a rollout once, with its memory if it has one; the dead are not held to it.

    Args:
        students: Their weights are copied into the actors.
        *args: Of `TeamPPO`: the policy, which has the students' networks, and the environment.
        expert: The expert of the imitation term; None: there is no such term.
        imitation_coef: Coefficient of that term at the start, in [0, inf).
        imitation_coef_final: Coefficient at the end, in [0, inf).
        critic_warmup_fraction: The fraction of the training in which the critic alone learns, in [0, 1).
        **kwargs: Of `TeamPPO`.

    Raises:
        ConfigError: A number is out of its range.
        InvalidActionError: While it trains: the expert's label is no action that the agent can do.

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
        self.expert = expert
        self.expert_actor: Actor | None = None
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
        self._label_rng = np.random.default_rng(self.seed)
        self.expert_actor = None if expert is None else make_actor(expert, self._label_rng)
        self.policy.action_net.load_state_dict(students.action_net.state_dict())
        self.policy.log_std.data.copy_(students.log_std.detach())
        self.policy.acts_deterministically = students.acts_deterministically
        # What SB3 saves, and makes the policy by when it loads the model.
        self.policy_kwargs = {
            **self.policy_kwargs,
            "acts_deterministically": students.acts_deterministically,
        }

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "expert", "expert_actor"]

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

    def _act(self, obs: th.Tensor, deterministic: bool = False) -> tuple[th.Tensor, th.Tensor, th.Tensor]:
        if self.expert_actor is not None and max(self.imitation_coef, self.imitation_coef_final) > 0:
            self._label(self.expert_actor, obs)
        return super()._act(obs, deterministic)

    def _label(self, act: Actor, observations: th.Tensor) -> None:
        """Note the expert's joint actions, or what the environment does in their place, and who is alive."""
        env, starts, step, team = self.env, self._last_episode_starts, self.num_timesteps, self.policy.team
        assert env is not None
        assert starts is not None
        reset_actor(act, None if starts.all() else starts)
        masks, alive = available_actions(env), attribute(env, "alive")
        alive = np.ones((len(starts), team.n_agents), dtype=bool) if alive is None else alive
        # A copy: an expert may write into its input.
        labels = act(observations.cpu().numpy().copy(), masks)
        rules = ActionRules(team, replaces_unavailable=attribute(env, "replaces_unavailable"))
        place, name = f"after {step} timesteps", f"{name_of(self.expert)}.labels"
        labels = rules(labels, masks, alive, name, lambda row: f"environment {row}, {place}")
        self.rollout_buffer.note(labels=labels, alive=alive)

    def _loss(
        self, batch: TeamSamples, distribution: TeamDistribution
    ) -> tuple[th.Tensor, dict[str, th.Tensor]]:
        loss, log = super()._loss(batch, distribution)
        weight = self.imitation_weight
        if batch.labels is None or batch.alive is None or weight == 0:
            return loss, log
        moves = th.as_tensor(~message_columns(self.policy.team), device=self.device)
        log_probs = self.policy.by_agent(distribution.column_log_probs(batch.labels) * moves)
        unlike = -(log_probs * batch.alive).mean()
        return loss + weight * unlike, {**log, "imitation_loss": unlike.detach()}
