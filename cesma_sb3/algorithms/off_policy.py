"""`DiscreteOffPolicyAlgorithm`: what `FactoredDQN` and the forms of DDPG have in common."""

from __future__ import annotations

from typing import Any, TypeVar

import torch as th
from gymnasium import spaces
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.policies import BasePolicy
from stable_baselines3.common.type_aliases import GymEnv, MaybeCallback, Schedule
from torch import nn

from cesma_sb3.algorithms.symmetric_samples import SymmetricSamples
from cesma_sb3.errors import integer

SelfAlgorithm = TypeVar("SelfAlgorithm", bound="DiscreteOffPolicyAlgorithm")


class DiscreteOffPolicyAlgorithm(OffPolicyAlgorithm):
    """An off-policy algorithm of SB3 for Discrete and MultiDiscrete actions; base class.

    Subclasses set their own attributes before this constructor, which ends with SB3's setup of the model.

    Args:
        policy: "MlpPolicy" or a policy class of the algorithm.
        env: Environment or its id.
        learning_rate: Or a schedule.
        buffer_size: Transitions kept.
        learning_starts: Environment steps with uniformly random actions before learning.
        batch_size: Transitions of each update.
        tau: Soft update of the target networks, in (0, 1]; 1 copies them.
        gamma: Discount factor (the paper: 0.9 in every particle experiment but the one-at-a-time one).
        train_freq: Environment (vector) steps between trainings.
        gradient_steps: Updates at each of them.
        use_symmetries: Each sampled transition is turned by a multiple of 90 degrees and mirrored or not, at
            random, in a team whose layouts say how (`cesma_sb3.spaces.symmetries`).
        replay_buffer_class: SB3's by default; its `NStepReplayBuffer` (newer releases) gives n-step returns.
        replay_buffer_kwargs: Its arguments.
        stats_window_size: Episodes of the rollout statistics.
        tensorboard_log: Folder for TensorBoard.
        policy_kwargs: Arguments of the policy class.
        verbose: 0, 1 or 2.
        seed: Of all generators.
        device: "auto", "cpu", "cuda".
        _init_setup_model: As in SB3.

    Raises:
        LayoutError: The team declares no symmetries to use.
        ValueError: `tau` or `batch_size` is out of its range.
    """

    policy: Any
    _symmetric: SymmetricSamples | None

    def __init__(  # noqa: PLR0917  # SB3's own order
        self,
        policy: str | type[BasePolicy],
        env: GymEnv | str,
        learning_rate: float | Schedule = 1e-3,
        buffer_size: int = 1_000_000,
        learning_starts: int = 1000,
        batch_size: int = 256,
        tau: float = 0.01,
        gamma: float = 0.9,
        train_freq: int | tuple[int, str] = 1,
        gradient_steps: int = 1,
        use_symmetries: bool = False,
        replay_buffer_class: type[ReplayBuffer] | None = None,
        replay_buffer_kwargs: dict[str, Any] | None = None,
        stats_window_size: int = 100,
        tensorboard_log: str | None = None,
        policy_kwargs: dict[str, Any] | None = None,
        verbose: int = 0,
        seed: int | None = None,
        device: th.device | str = "auto",
        _init_setup_model: bool = True,
    ) -> None:
        if not 0 < tau <= 1:
            raise ValueError(f"tau={tau}: expected more than 0 and at most 1")
        if batch_size < 1:
            raise ValueError(f"batch_size={batch_size}: expected at least 1")
        self.use_symmetries = use_symmetries
        # Not the next constructor in line: DDPG's and TD3's insist on Box actions.
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
            seed=None if seed is None else integer("seed", seed),
            sde_support=False,
            supported_action_spaces=(spaces.Discrete, spaces.MultiDiscrete),
            support_multi_env=True,
        )
        if _init_setup_model:
            self._setup_model()

    def _setup_model(self) -> None:
        super()._setup_model()
        self._symmetric = self._make_symmetric() if self.use_symmetries else None

    def _make_symmetric(self) -> SymmetricSamples:
        """What changes the samples by the team's symmetries."""
        return SymmetricSamples(self.policy.team, self.device)

    def _excluded_save_params(self) -> list[str]:
        return [*super()._excluded_save_params(), "_symmetric"]

    def _sample(self, batch_size: int) -> Any:
        """Transitions of the replay buffer, changed by symmetries if they are to be used."""
        assert self.replay_buffer is not None
        data = self.replay_buffer.sample(batch_size, env=self._vec_normalize_env)
        return data if self._symmetric is None else self._symmetric(data)

    def learn(  # noqa: PLR0917  # SB3's own order
        self: SelfAlgorithm,
        total_timesteps: int,
        callback: MaybeCallback = None,
        log_interval: int = 4,
        tb_log_name: str | None = None,
        reset_num_timesteps: bool = True,
        progress_bar: bool = False,
    ) -> SelfAlgorithm:
        """SB3's `learn`: collects `total_timesteps` environment steps and trains on the way.

        Args:
            total_timesteps: Environment steps.
            callback: Called at every step.
            log_interval: Episodes between two entries of the log.
            tb_log_name: Name of the run in TensorBoard; None: the name of the class.
            reset_num_timesteps: Whether the count of steps begins at 0.
            progress_bar: Shows one.
        """
        return super().learn(
            total_timesteps,
            callback,
            log_interval,
            tb_log_name or type(self).__name__,
            reset_num_timesteps,
            progress_bar,
        )

    def _discounts(self, data: Any) -> Any:
        """The discount of the next values: `gamma`, or of newer SB3's n-step buffers their own, [B, 1]."""
        discounts = getattr(data, "discounts", None)
        return self.gamma if discounts is None else discounts


def polyak_update(module: nn.Module, target: nn.Module, tau: float) -> None:
    """Update a target network: weights w become (1 - tau) w + tau w', with w' of `module`.

    SB3's function of this name goes weight by weight; here all are updated at once, which is faster for
    entity networks with their many small weights, and rounds differently in the last digit.

    Args:
        module: The online network.
        target: The target network, of the same architecture.
        tau: In (0, 1]; 1 copies.
    """
    with th.no_grad():
        th._foreach_lerp_(list(target.parameters()), list(module.parameters()), tau)
