"""DDPG for discrete joint actions, by the Gumbel-softmax relaxation: an SB3 algorithm like any other."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar, TypeVar

import torch as th
from gymnasium import spaces
from stable_baselines3 import DDPG
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback, PyTorchObs, Schedule
from stable_baselines3.common.utils import polyak_update
from stable_baselines3.td3.policies import TD3Policy
from torch import nn
from torch.nn import functional as F

from cesma_sb3.joint.spaces import TeamSpaces
from cesma_sb3.networks.components import Visibility, actor_net, critic_net
from cesma_sb3.networks.head import ActionHead

SelfGumbelSoftmaxDDPG = TypeVar("SelfGumbelSoftmaxDDPG", bound="GumbelSoftmaxDDPG")


class _Actor(nn.Module):
    """Joint observations [B, I] -> logits of every category of every action column [B, O]."""

    optimizer: th.optim.Optimizer

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, observations: th.Tensor) -> th.Tensor:
        logits: th.Tensor = self.net(observations)
        return logits

    def set_training_mode(self, mode: bool) -> None:
        self.train(mode)


class _Critics(_Actor):
    """Joint observations [B, I] and relaxed one-hot actions [B, O] -> the team's value [B, n_critics]."""

    def __init__(self, nets: Sequence[nn.Module]) -> None:
        super().__init__(nn.ModuleList(nets))

    def forward(self, observations: th.Tensor, actions: th.Tensor) -> th.Tensor:  # type: ignore[override]
        inputs = th.cat([observations, actions], dim=1)
        return th.stack([net(inputs).sum(dim=1) for net in self.net], dim=1)  # type: ignore[union-attr]


class GumbelSoftmaxPolicy(TD3Policy):
    """Actor and critic of `GumbelSoftmaxDDPG`, by visibility.

    Args:
        observation_space: Box [I].
        action_space: Discrete or MultiDiscrete.
        lr_schedule: Learning rate by remaining progress (1 to 0).
        team: The team's spaces; None treats the environment as one agent.
        actor_visibility: What each actor component sees: `joint` is the centralized expert.
        critic_visibility: What each critic component sees.
        hidden_sizes: Hidden layers of the actor (the paper's expert for 3 agents: 225 and 225, E.2).
        critic_hidden_sizes: Hidden layers of the critic; `hidden_sizes` if None.
        activation_fn: Module class put after each hidden layer.
        share_parameters: One set of weights for all agents' own components.
        n_critics: Critics; the target is the smallest of them.
        optimizer_class: Optimizer of actor and critic.
        optimizer_kwargs: Its arguments, less the learning rate.
    """

    def __init__(
        self,
        observation_space: spaces.Space[Any],
        action_space: spaces.Discrete | spaces.MultiDiscrete,
        lr_schedule: Schedule,
        *,
        team: TeamSpaces | None = None,
        actor_visibility: Visibility = "joint",
        critic_visibility: Visibility = "joint",
        hidden_sizes: Sequence[int] = (225, 225),
        critic_hidden_sizes: Sequence[int] | None = None,
        activation_fn: type[nn.Module] = nn.ReLU,
        share_parameters: bool = False,
        n_critics: int = 1,
        optimizer_class: type[th.optim.Optimizer] = th.optim.Adam,
        optimizer_kwargs: dict[str, Any] | None = None,
    ) -> None:
        # Plain values, set before nn.Module.__init__ has run; `_build` needs them.
        self.team = team or TeamSpaces(["agent"], {"agent": observation_space}, {"agent": action_space})
        self.team_kwargs: dict[str, Any] = {
            "team": team,
            "actor_visibility": actor_visibility,
            "critic_visibility": critic_visibility,
            "hidden_sizes": tuple(hidden_sizes),
            "critic_hidden_sizes": tuple(critic_hidden_sizes or hidden_sizes),
            "share_parameters": share_parameters,
        }
        super().__init__(
            observation_space,
            action_space,  # type: ignore[arg-type]  # TD3 declares a Box
            lr_schedule,
            activation_fn=activation_fn,
            n_critics=n_critics,
            optimizer_class=optimizer_class,
            optimizer_kwargs=optimizer_kwargs,
        )

    def _build(self, lr_schedule: Schedule) -> None:
        self.head = ActionHead(self.team.column_categories)
        super()._build(lr_schedule)

    def make_actor(self, features_extractor: Any = None) -> _Actor:  # type: ignore[override]
        net = actor_net(
            self.team,
            self.team_kwargs["actor_visibility"],
            hidden_sizes=self.team_kwargs["hidden_sizes"],
            activation=self.activation_fn,
            share_parameters=self.team_kwargs["share_parameters"],
        )
        return _Actor(net).to(self.device)

    def make_critic(self, features_extractor: Any = None) -> _Critics:  # type: ignore[override]
        make = partial(
            critic_net,
            self.team,
            self.team_kwargs["critic_visibility"],
            hidden_sizes=self.team_kwargs["critic_hidden_sizes"],
            activation=self.activation_fn,
            with_actions=True,
            share_parameters=self.team_kwargs["share_parameters"],
        )
        return _Critics([make() for _ in range(self.critic_kwargs["n_critics"])]).to(self.device)

    def logits(self, observations: th.Tensor) -> th.Tensor:
        """Logits [B, C, K] of the joint action's columns for joint observations [B, I]."""
        return self.head.logits(self.actor(observations))

    def _predict(self, observation: PyTorchObs, deterministic: bool = False) -> th.Tensor:
        assert isinstance(observation, th.Tensor)
        logits = self.logits(observation.float())
        if not deterministic:  # the Gumbel-max sample: exploration needs no other noise
            logits = logits + gumbel_noise(logits)
        return logits.argmax(dim=-1)

    def _get_constructor_parameters(self) -> dict[str, Any]:
        data = BasePolicy._get_constructor_parameters(self)
        for unused in ("features_extractor_class", "features_extractor_kwargs", "normalize_images", "squash_output"):
            data.pop(unused, None)
        data.update(
            self.team_kwargs,
            activation_fn=self.activation_fn,
            n_critics=self.critic_kwargs["n_critics"],
            lr_schedule=self._dummy_schedule,
            optimizer_class=self.optimizer_class,
            optimizer_kwargs=self.optimizer_kwargs,
        )
        return data


def gumbel_noise(like: th.Tensor) -> th.Tensor:
    """Standard Gumbel noise of the shape, type and device of `like`."""
    return -th.empty_like(like).exponential_().log()


class GumbelSoftmaxDDPG(DDPG):
    """DDPG whose actor gives logits and acts through the Gumbel-softmax: the paper's expert for discrete actions.

    The critic sees one-hot actions; the actor's gradient reaches it through a relaxed (or straight-through) sample.
    The environment's action space is Discrete or MultiDiscrete; the replay buffer keeps integers. `learn`, `predict`,
    `save`, `load`, callbacks and logger are SB3's.

    Args:
        policy: "MlpPolicy" or a subclass of `GumbelSoftmaxPolicy`.
        env: Environment or its id.
        learning_rate: Of actor and critic, or a schedule.
        buffer_size: Transitions kept.
        learning_starts: Environment steps with uniformly random actions before learning.
        batch_size: Transitions of each update.
        tau: Soft update of the targets, in (0, 1].
        gamma: Discount factor (the paper: 0.9 in every particle experiment).
        train_freq: Environment (vector) steps between updates.
        gradient_steps: Updates at each of them.
        replay_buffer_class: SB3's by default.
        replay_buffer_kwargs: Its arguments.
        temperature: Of the Gumbel-softmax, in (0, inf).
        straight_through: Hard one-hot actions forward, relaxed gradient backward; False gives the critic the relaxed
            sample itself.
        logit_penalty: Weight of the mean squared logit in the actor's loss: it keeps the policy from freezing
            (1e-3 in MADDPG's own code).
        max_grad_norm: Gradient norm is clipped to it, actor and critic apart (the paper: 0.1); None clips nothing.
        stats_window_size: Episodes of the rollout statistics.
        tensorboard_log: Folder for TensorBoard.
        policy_kwargs: Arguments of `GumbelSoftmaxPolicy`.
        verbose: 0, 1 or 2.
        seed: Of all generators.
        device: "auto", "cpu", "cuda".
        _init_setup_model: As in SB3.

    Source: sections 4.2 and 6.2, appendix E.2; Jang et al. (2016), Maddison et al. (2016), Lowe et al. (2017).
    """

    policy_aliases: ClassVar[dict[str, type[BasePolicy]]] = {"MlpPolicy": GumbelSoftmaxPolicy}
    policy: GumbelSoftmaxPolicy
    actor: _Actor  # type: ignore[assignment]
    actor_target: _Actor  # type: ignore[assignment]
    critic: _Critics  # type: ignore[assignment]
    critic_target: _Critics  # type: ignore[assignment]

    def __init__(
        self,
        policy: str | type[GumbelSoftmaxPolicy],
        env: GymEnv | str,
        learning_rate: float | Schedule = 1e-3,
        buffer_size: int = 1_000_000,
        learning_starts: int = 1000,
        batch_size: int = 256,
        tau: float = 0.01,
        gamma: float = 0.9,
        train_freq: int | tuple[int, str] = 1,
        gradient_steps: int = 1,
        replay_buffer_class: type[ReplayBuffer] | None = None,
        replay_buffer_kwargs: dict[str, Any] | None = None,
        temperature: float = 1.0,
        straight_through: bool = True,
        logit_penalty: float = 1e-3,
        max_grad_norm: float | None = 0.5,
        stats_window_size: int = 100,
        tensorboard_log: str | None = None,
        policy_kwargs: dict[str, Any] | None = None,
        verbose: int = 0,
        seed: int | None = None,
        device: th.device | str = "auto",
        _init_setup_model: bool = True,
    ) -> None:
        # DDPG's and TD3's own constructors insist on Box actions: go to theirs, and set what they would have set.
        OffPolicyAlgorithm.__init__(
            self,
            policy,
            env,
            learning_rate,
            buffer_size=buffer_size,
            learning_starts=learning_starts,
            batch_size=batch_size,
            tau=tau,
            gamma=gamma,
            train_freq=train_freq,
            gradient_steps=gradient_steps,
            replay_buffer_class=replay_buffer_class,
            replay_buffer_kwargs=replay_buffer_kwargs,
            stats_window_size=stats_window_size,
            tensorboard_log=tensorboard_log,
            policy_kwargs=policy_kwargs,
            verbose=verbose,
            device=device,
            seed=seed,
            sde_support=False,
            supported_action_spaces=(spaces.Discrete, spaces.MultiDiscrete),
            support_multi_env=True,
        )
        self.policy_delay = 1
        self.target_policy_noise = self.target_noise_clip = 0.0
        self.temperature = temperature
        self.straight_through = straight_through
        self.logit_penalty = logit_penalty
        self.max_grad_norm = max_grad_norm
        if _init_setup_model:
            self._setup_model()

    def train(self, gradient_steps: int, batch_size: int = 100) -> None:
        """SB3's hook: `gradient_steps` updates of critic, actor and targets from the replay buffer."""
        self.policy.set_training_mode(True)
        self._update_learning_rate([self.actor.optimizer, self.critic.optimizer])
        assert self.replay_buffer is not None
        losses = th.zeros(2)
        for _ in range(gradient_steps):
            self._n_updates += 1
            data = self.replay_buffer.sample(batch_size, env=self._vec_normalize_env)
            observations, next_observations = data.observations.float(), data.next_observations.float()
            discounts = getattr(data, "discounts", None)  # n-step buffers of newer SB3 releases bring their own
            with th.no_grad():
                next_actions = self._relaxed(self.policy.actor_target(next_observations), hard=True)
                next_values = self.critic_target(next_observations, next_actions).amin(dim=1, keepdim=True)
                targets = data.rewards + (1 - data.dones) * (self.gamma if discounts is None else discounts) * next_values
            values = self.critic(observations, self._one_hot(data.actions))
            critic_loss = F.mse_loss(values, targets.expand_as(values)) * values.shape[1]
            self._step(self.critic, critic_loss)

            logits = self.actor(observations)
            relaxed = self._relaxed(logits, hard=self.straight_through)
            with _frozen(self.critic):
                actor_loss = -self.critic(observations, relaxed)[:, 0].mean()
                actor_loss = actor_loss + self.logit_penalty * logits.square().mean()
                self._step(self.actor, actor_loss)

            polyak_update(self.critic.parameters(), self.critic_target.parameters(), self.tau)
            polyak_update(self.actor.parameters(), self.actor_target.parameters(), self.tau)
            losses += th.stack([actor_loss.detach(), critic_loss.detach()]).cpu()
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")
        self.logger.record("train/actor_loss", float(losses[0]) / gradient_steps)
        self.logger.record("train/critic_loss", float(losses[1]) / gradient_steps)

    def _step(self, module: _Actor, loss: th.Tensor) -> None:
        module.optimizer.zero_grad()
        loss.backward()
        if self.max_grad_norm is not None:
            nn.utils.clip_grad_norm_(module.parameters(), self.max_grad_norm)
        module.optimizer.step()

    def _relaxed(self, logits_BO: th.Tensor, *, hard: bool) -> th.Tensor:
        """A Gumbel-softmax sample of every action column, flat: [B, O] -> [B, O]."""
        head = self.policy.head
        logits = head.logits(logits_BO)
        soft = F.softmax((logits + gumbel_noise(logits)) / self.temperature, dim=-1)
        if hard:
            one_hot = F.one_hot(soft.argmax(dim=-1), soft.shape[-1]).to(soft.dtype)
            soft = one_hot + (soft - soft.detach())
        return head.flatten(soft)

    def _one_hot(self, actions: th.Tensor) -> th.Tensor:
        """Integer actions [B, C] of the replay buffer as flat one-hot vectors [B, O] float32."""
        head = self.policy.head
        return head.flatten(F.one_hot(actions.long(), head.n_categories).float())

    def learn(
        self: SelfGumbelSoftmaxDDPG,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int = 4,
        tb_log_name: str = "GumbelSoftmaxDDPG",
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> SelfGumbelSoftmaxDDPG:
        """SB3's `learn`: collects `total_timesteps` environment steps and trains on the way."""
        return super().learn(
            total_timesteps=total_timesteps,
            callback=callback,
            log_interval=log_interval,
            tb_log_name=tb_log_name,
            reset_num_timesteps=reset_num_timesteps,
            progress_bar=progress_bar,
        )


class _frozen:  # noqa: N801  # a context manager, used like a function
    """Spares the backward pass the gradients of a module's own weights."""

    def __init__(self, module: nn.Module) -> None:
        self.parameters = list(module.parameters())

    def __enter__(self) -> None:
        for parameter in self.parameters:
            parameter.requires_grad_(False)

    def __exit__(self, *exception: object) -> None:
        for parameter in self.parameters:
            parameter.requires_grad_(True)


