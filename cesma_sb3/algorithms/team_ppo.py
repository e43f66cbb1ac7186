"""PPO for a team of agents that act by themselves: MAPPO and IPPO, as an SB3 algorithm.

Shape suffixes: B batch, N agents, V values (1 of the team, or N), T steps of a rollout, E environments, I
entries of the joint observation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt
import torch as th
from gymnasium import spaces
from stable_baselines3 import PPO
from stable_baselines3.common.buffers import RolloutBuffer
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.utils import explained_variance
from torch import nn
from torch.nn import functional as F

from cesma_sb3.algorithms.team_rollout import TeamRolloutBuffer, TeamSamples
from cesma_sb3.envs.joint_vec_env import available_actions
from cesma_sb3.errors import ExpertError
from cesma_sb3.policies.distributions import TeamDistribution
from cesma_sb3.policies.networks.recurrent import RecurrentTeamNet, step_network
from cesma_sb3.policies.stateful_actor import DeviceState, predict_on_device, with_host_state
from cesma_sb3.policies.team_policy import TeamPolicy
from cesma_sb3.spaces.types import Floats


class _Cut(NamedTuple):
    """An episode of a rollout that was truncated."""

    step: int
    env: int
    observation: Floats
    """The last joint observation of the episode [I]."""


class TeamPPO(PPO):
    """PPO with a ratio, a clip and an entropy for each agent; everything else is SB3's PPO, arguments too.

    The joint ratio of SB3's PPO is a product over agents: with many of them it leaves the clip range although
    no single agent has changed much. Losses are means over agents, so that no weight depends on the size of
    the team, and a team of one is trained as by SB3's PPO.

    | actor, critic of `TeamPolicy` | algorithm |
    |---|---|
    | own, joint | MAPPO: one value and one advantage, which all agents share |
    | own, own | IPPO: each agent has a value and an advantage of its own, of the team's reward |

    The rollout is collected by SB3 as for a joint policy, but that agents choose among their available
    actions, and carry their memory where they have one. Log-probabilities of each agent, and in IPPO values
    and advantages too, are recomputed from it before the first update.

    Agents with a memory (`network: recurrent`) learn from whole rollouts of some environments: `batch_size`
    counts their timesteps, and is at least `n_steps`. The gradient goes back to the rollout's beginning, the
    memory before it is as it was when they acted. Their critic sees the present step alone.

    Raises:
        ExpertError: The policy is no `TeamPolicy`.

    Source: Yu et al. (2021) for MAPPO, de Witt et al. (2020) for IPPO, Schulman et al. (2017) for PPO.
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {"MlpPolicy": TeamPolicy}
    policy: TeamPolicy
    rollout_buffer: TeamRolloutBuffer
    uses_masks: ClassVar[bool] = True
    """Whether it keeps to the actions that are available while it trains."""

    def _setup_model(self) -> None:
        self.rollout_buffer_class = TeamRolloutBuffer
        super()._setup_model()
        if not isinstance(self.policy, TeamPolicy):
            name = type(self.policy).__name__
            raise ExpertError(f"policy: {name}, expected TeamPolicy, whose agents have actions of their own")
        self._cuts: list[_Cut] = []
        self._memory: DeviceState | None = None

    def collect_rollouts(self, *args: Any, **kwargs: Any) -> bool:
        """SB3's hook: a rollout, in which agents know what is available, and what they remember."""
        self.policy.forward = self._act  # type: ignore[method-assign]  # SB3 asks with observations alone
        try:
            return super().collect_rollouts(*args, **kwargs)
        finally:
            del self.policy.forward

    def _act(self, obs: th.Tensor, deterministic: bool = False) -> tuple[th.Tensor, th.Tensor, th.Tensor]:
        """The policy's `forward` in a rollout: actions [E, A], values [E, 1] and log probabilities [E]."""
        buffer, network, starts = self.rollout_buffer, self.policy.action_net, self._last_episode_starts
        assert self.env is not None
        assert starts is not None
        if starts.all():  # also where there are other environments than before
            self._memory = None
        if isinstance(network, RecurrentTeamNet) and buffer.pos == 0:
            buffer.memory = network.carried(self._memory, starts, len(starts))
        available = available_actions(self.env)
        buffer.note(masks=available)
        masks = None if available is None else th.as_tensor(available, device=self.device)
        outputs, self._memory = step_network(network, obs.float(), self._memory, starts)
        distribution = self.policy.distribution_of(outputs, masks)
        actions = distribution.get_actions(deterministic)
        return actions, self.policy.predict_values(obs), distribution.log_prob(actions)

    @with_host_state
    def predict(  # one argument more than SB3's, as in sb3-contrib's maskable algorithms
        self,
        observation: npt.NDArray[Any] | dict[str, npt.NDArray[Any]],
        state: DeviceState | None = None,
        episode_start: npt.NDArray[np.bool_] | None = None,
        deterministic: bool = False,
        action_masks: npt.NDArray[np.bool_] | None = None,
    ) -> tuple[npt.NDArray[Any], DeviceState | None]:
        """SB3's `predict`, with masks: see `TeamPolicy.predict`."""
        predict = predict_on_device(self.policy)
        return predict(observation, state, episode_start, deterministic, action_masks)

    def _excluded_save_params(self) -> list[str]:
        # What was remembered may lie on a GPU that is not there when the file is read.
        return [*super()._excluded_save_params(), "_cuts", "_memory"]

    def _update_info_buffer(
        self, infos: list[dict[str, Any]], dones: npt.NDArray[np.bool_] | None = None
    ) -> None:
        """SB3's hook in each step of a rollout, where the last observations of episodes are still at hand."""
        super()._update_info_buffer(infos, dones)
        step = self.rollout_buffer.pos
        if step == 0:
            self._cuts.clear()
        self._cuts += [
            _Cut(step, env, np.array(info["terminal_observation"], dtype=np.float32))
            for env, info in enumerate(infos)
            if info.get("TimeLimit.truncated", False) and info.get("terminal_observation") is not None
        ]

    def train(self) -> None:
        """SB3's hook: `n_epochs` over the rollout, in minibatches."""
        self.policy.set_training_mode(True)
        self._update_learning_rate(self.policy.optimizer)
        self._split_rollout()
        logs: list[dict[str, th.Tensor]] = []
        for epoch in range(self.n_epochs):
            goes_on = True
            for batch in self.rollout_buffer.get(self.batch_size):
                loss, log = self._loss(batch, self._distribution(batch))
                logs.append(log)
                if self.target_kl is not None and log["approx_kl"] > 1.5 * self.target_kl:
                    goes_on = False
                    if self.verbose >= 1:
                        self.logger.info(f"Epoch {epoch} ended early: KL divergence {log['approx_kl']:.2f}")
                    break
                self.policy.optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(self.policy.parameters(), self.max_grad_norm)
                self.policy.optimizer.step()
            self._n_updates += 1
            if not goes_on:
                break
        self._record(logs)

    def _distribution(self, batch: TeamSamples) -> TeamDistribution:
        """What the agents would do now in the steps of a batch; a memory is carried through all of them."""
        network = self.policy.action_net
        if not isinstance(network, RecurrentTeamNet):
            return self.policy.distribution(batch.observations, batch.masks)
        assert batch.memory is not None
        assert batch.starts is not None
        observations_TBI = batch.observations.view(*batch.starts.shape, -1)
        outputs_TBO = network.unroll_rollout(observations_TBI, batch.memory, batch.starts)
        return self.policy.distribution_of(outputs_TBO.flatten(0, 1), batch.masks)

    def _loss(
        self, batch: TeamSamples, distribution: TeamDistribution
    ) -> tuple[th.Tensor, dict[str, th.Tensor]]:
        """The loss of a minibatch, and what SB3 logs of it, scalars on the device."""
        clip_range, clip_range_vf = self._clip_ranges()
        values_BV = self.policy.agent_values(batch.observations)
        log_probs_BN = self.policy.by_agent(distribution.column_log_probs(batch.actions))
        entropies_BN = self.policy.by_agent(distribution.column_entropies())
        old_values_BV, returns_BV, advantages_BV = batch.old_values, batch.returns, batch.advantages
        if self.normalize_advantage and len(advantages_BV) > 1:
            mean, std = advantages_BV.mean(dim=0), advantages_BV.std(dim=0)
            advantages_BV = (advantages_BV - mean) / (std + 1e-8)
        log_ratios_BN = log_probs_BN - batch.old_log_prob
        ratios_BN = log_ratios_BN.exp()
        clipped_BN = ratios_BN.clamp(1 - clip_range, 1 + clip_range)
        policy_loss = -th.min(advantages_BV * ratios_BN, advantages_BV * clipped_BN).mean()
        if clip_range_vf is not None:
            changes_BV = (values_BV - old_values_BV).clamp(-clip_range_vf, clip_range_vf)
            values_BV = old_values_BV + changes_BV
        value_loss = F.mse_loss(returns_BV, values_BV)
        entropy_loss = -entropies_BN.mean()
        loss = policy_loss + self.ent_coef * entropy_loss + self.vf_coef * value_loss
        with th.no_grad():
            clip_fraction = ((ratios_BN - 1).abs() > clip_range).float().mean()
            approx_kl = (ratios_BN - 1 - log_ratios_BN).mean()
        return loss, {
            "loss": loss.detach(),
            "policy_gradient_loss": policy_loss.detach(),
            "value_loss": value_loss.detach(),
            "entropy_loss": entropy_loss.detach(),
            "clip_fraction": clip_fraction,
            "approx_kl": approx_kl,
        }

    def _clip_ranges(self) -> tuple[float, float | None]:
        progress = self._current_progress_remaining
        clip_range = self.clip_range(progress)  # type: ignore[operator]  # a schedule after _setup_model
        if self.clip_range_vf is None:
            return clip_range, None
        return clip_range, self.clip_range_vf(progress)  # type: ignore[operator]  # a schedule, too

    def _record(self, logs: Sequence[Mapping[str, th.Tensor]]) -> None:
        """Everything that SB3's PPO logs, under its names."""
        for key in logs[-1]:
            numbers = th.stack([log[key] for log in logs]).double().tolist()
            self.logger.record(f"train/{key}", numbers[-1] if key == "loss" else float(np.mean(numbers)))
        buffer = self.rollout_buffer
        explained = explained_variance(buffer.values.flatten(), buffer.returns.flatten())
        self.logger.record("train/explained_variance", explained)
        if self.policy.log_std.numel():
            self.logger.record("train/std", self.policy.log_std.exp().mean().item())
        clip_range, clip_range_vf = self._clip_ranges()
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")
        self.logger.record("train/clip_range", clip_range)
        if clip_range_vf is not None:
            self.logger.record("train/clip_range_vf", clip_range_vf)

    def _split_rollout(self) -> None:
        """Replace the joint values of a new rollout [T, E] by those of each agent [T, E, N]."""
        buffer = self.rollout_buffer
        shape = buffer.rewards.shape
        rollout = buffer.sequences(np.arange(buffer.n_envs))
        with th.no_grad():
            log_probs = self.policy.by_agent(self._distribution(rollout).column_log_probs(rollout.actions))
            values = self.policy.agent_values(rollout.observations)
        buffer.log_probs = log_probs.view(*shape, -1).cpu().numpy()
        if self.policy.critic_visibility == "own":
            values_TEN = values.view(*shape, -1).cpu().numpy()
            advantages_TEN = self._advantages(values_TEN)
            buffer.values, buffer.advantages = values_TEN, advantages_TEN
            buffer.returns = advantages_TEN + values_TEN

    def _advantages(self, values_TEN: Floats) -> Floats:
        """Generalized advantage estimates of each agent [T, E, N], of the team's reward."""
        n_steps, n_envs, n_agents = values_TEN.shape
        buffer = self.rollout_buffer
        space = spaces.Discrete(1)  # of no account: only the estimates of the buffer are used
        agents = RolloutBuffer(
            n_steps, space, space, gamma=self.gamma, gae_lambda=self.gae_lambda, n_envs=n_envs * n_agents
        )
        # An agent in an environment is to the buffer an environment of its own.
        agents.values = values_TEN.reshape(n_steps, -1)
        agents.rewards = self._rewards(n_agents).reshape(n_steps, -1)
        agents.episode_starts = buffer.episode_starts.repeat(n_agents, axis=1)
        assert self._last_obs is not None
        assert self._last_episode_starts is not None
        last_values = self._values_of(np.asarray(self._last_obs))
        ended = np.asarray(self._last_episode_starts).repeat(n_agents)
        agents.compute_returns_and_advantage(th.as_tensor(last_values), ended)
        advantages: Floats = agents.advantages.reshape(values_TEN.shape)
        return advantages

    def _rewards(self, n_agents: int) -> Floats:
        """The team's rewards to each agent [T, E, N], and where an episode was truncated its own bootstrap.

        SB3 has added there the bootstrap by the sum of all values.
        """
        rewards = self.rollout_buffer.rewards[:, :, None].repeat(n_agents, axis=2)
        if self._cuts:
            values = self._values_of(np.stack([cut.observation for cut in self._cuts]))
            where = [cut.step for cut in self._cuts], [cut.env for cut in self._cuts]
            rewards[where] += self.gamma * (values - values.sum(axis=1, keepdims=True))
        return rewards

    def _values_of(self, observations: npt.NDArray[Any]) -> Floats:
        """Each agent's value [B, N] of joint observations [B, I]."""
        with th.no_grad():
            values = self.policy.agent_values(th.as_tensor(observations, device=self.device).float())
        numbers: Floats = values.cpu().numpy()
        return numbers
