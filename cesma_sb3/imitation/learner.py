"""Gradient steps of a team of students.

Shape suffixes: B batch, D continuous columns.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch as th
from torch import nn

from cesma_sb3.algorithms.symmetric_samples import SymmetricSamples
from cesma_sb3.errors import ConfigError
from cesma_sb3.imitation.communication import Communication
from cesma_sb3.imitation.dataset import Batch, Dataset, Samples, earlier
from cesma_sb3.imitation.losses import ClassWeighting, ColumnwiseLoss, ImitationLoss, LossName
from cesma_sb3.imitation.settings import MessageConfig, OptimizerConfig
from cesma_sb3.policies.team_policy import TeamPolicy
from cesma_sb3.spaces.communication import MessageChannel
from cesma_sb3.utils.stateful import Stateful

LearningRate = float | Callable[[float], float]


class UpdateSchedule(Stateful):
    """Counter of the gradient steps that fall due: one for every `samples_per_update` samples.

    Args:
        samples_per_update: Samples collected for each gradient step, more than 0.

    Raises:
        ValueError: `samples_per_update` is not more than 0.
    """

    state_attributes = ("_pending_updates",)

    def __init__(self, samples_per_update: int) -> None:
        if samples_per_update <= 0:
            raise ValueError(f"samples_per_update={samples_per_update}: expected more than 0")
        self.samples_per_update = samples_per_update
        self._pending_updates = 0.0

    def due(self, n_samples: int) -> int:
        """The gradient steps that fall due with so many new samples."""
        self._pending_updates += n_samples / self.samples_per_update
        due = int(self._pending_updates + 1e-9)
        self._pending_updates -= due
        return due


class Learner(Stateful):
    """Training of all agents of a team on one batch, in one backward pass.

    Args:
        policy: The students, which are trained in place. Their critic has no part in imitation.
        rng: Seeds the noise of messages, where the team communicates.
        batch_size: Samples of each gradient step; of recurrent students, episodes.
        learning_rate: A number, or a function of the remaining progress (1 to 0).
        loss: `auto`, `cross-entropy`, `mse`, or an `ImitationLoss`.
        class_weights: Whether rare labels weigh more (`LabelCounts`).
        messages: How messages are learned.
        optimizer: The optimizer.
        use_symmetries: Each sample is turned and mirrored at random (`SymmetricSamples`).

    Raises:
        LayoutError: The team declares no symmetries to use.
        ConfigError: Class weights are wanted of an `ImitationLoss` of the caller's own.
    """

    state_attributes = ("optimizer", "loss", "communication", "n_updates", "_action_std")

    def __init__(
        self,
        policy: TeamPolicy,
        *,
        rng: np.random.Generator,
        batch_size: int,
        learning_rate: LearningRate,
        loss: LossName | ImitationLoss,
        class_weights: ClassWeighting,
        messages: MessageConfig,
        optimizer: OptimizerConfig,
        use_symmetries: bool = False,
    ) -> None:
        self.policy = policy
        self.symmetric = SymmetricSamples(policy.team, policy.device) if use_symmetries else None
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.max_grad_norm = optimizer.max_grad_norm
        self.n_updates = 0
        self.communication: Communication | None = None
        channel = MessageChannel.of(policy.team, policy.spec.topology)
        if channel is not None:
            generator = th.Generator(device=policy.device).manual_seed(int(rng.integers(2**31)))
            self.communication = Communication(channel, policy.head, messages, generator=generator)
        if isinstance(loss, str):
            loss = ColumnwiseLoss(policy.team, policy.head, loss, class_weights=class_weights)
        elif class_weights != "none":
            raise ConfigError(
                f"class_weights {class_weights!r}: {type(loss).__name__} has weights of its own"
            )
        self.loss: ImitationLoss = loss
        self.optimizer = optimizer.optimizer_class(
            list(policy.action_net.parameters()),
            lr=learning_rate(1.0) if callable(learning_rate) else learning_rate,  # type: ignore[call-arg]  # torch's base class declares none
            **optimizer.optimizer_kwargs,
        )
        self._action_std = _ActionStd(policy)

    def observe(self, samples: Samples) -> None:
        """Count the labels of new samples, if rare labels weigh more."""
        if isinstance(self.loss, ColumnwiseLoss):
            self.loss.observe(samples)

    def set_progress(self, progress_remaining: float) -> None:
        """Set learning rate and temperature of messages for the remaining progress, from 1 to 0."""
        rate = self.learning_rate
        for group in self.optimizer.param_groups:
            group["lr"] = rate(progress_remaining) if callable(rate) else rate
        if self.communication is not None:
            self.communication.set_progress(progress_remaining)

    def update(self, dataset: Dataset) -> th.Tensor:
        """Make one gradient step of every agent (Algorithm 1: lines 7 to 9; Algorithm 2: 6 to 16).

        Args:
            dataset: Where the batch is drawn from.

        Returns:
            The loss of each agent before the step, [n_agents] float32.
        """
        batch = dataset.sample(self.batch_size, self.policy.device)
        if self.symmetric is not None:
            batch = _changed(batch, self.symmetric)
        self.policy.set_training_mode(True)
        losses, total = self.losses(batch)
        self.optimizer.zero_grad()
        total.backward()
        if self.max_grad_norm is not None:
            nn.utils.clip_grad_norm_(self.policy.action_net.parameters(), self.max_grad_norm)
        self.optimizer.step()
        self.n_updates += 1
        return losses.detach()

    def losses(self, batch: Batch) -> tuple[th.Tensor, th.Tensor]:
        """The loss of each agent, [n_agents], and the scalar to differentiate, []."""
        cost: th.Tensor | float = 0.0
        seen = batch.observations
        if self.communication is not None:
            if batch.sizes is not None:  # the step before is in the same episode
                before = earlier(self.policy.unroll_packed(seen, batch.sizes), batch.sizes)
                batch = batch.with_step_before()
            else:
                assert batch.previous is not None
                before = self.policy.outputs(batch.previous)
            # What the agents see, with the messages that the current senders would send.
            seen = self.communication.observations(before, batch)
            cost = self.communication.entropy_cost(before, batch)
        if batch.sizes is not None:
            outputs = self.policy.unroll_packed(seen, batch.sizes)
        else:
            outputs = self.policy.outputs(seen)
        losses = self.loss(outputs, batch)
        self._action_std.fit(outputs.detach(), batch)
        # The sum: each agent's weights get the gradient of its own loss, as if it were trained alone.
        return losses, losses.sum() + cost


def _changed(batch: Batch, symmetric: SymmetricSamples) -> Batch:
    """The batch with every sample, or every episode, turned and mirrored at random."""
    if batch.sizes is None:
        which = symmetric.draw(len(batch.alive))
    else:
        of_episodes = symmetric.draw(batch.sizes[0])
        which = th.cat([of_episodes[:size] for size in batch.sizes])
    change = {
        "observations": symmetric.observations,
        "previous": symmetric.observations,
        "labels": symmetric.actions,
        "masks": symmetric.flags,
        "previous_masks": symmetric.flags,
        "probabilities": symmetric.flags,
    }
    fields = {name: getattr(batch, name) for name in change}
    changed: dict[str, Any] = {
        name: change[name](field, which) for name, field in fields.items() if field is not None
    }
    return batch._replace(**changed)


class _ActionStd(Stateful):
    """Standard deviations of continuous actions that students sample.

    The squared error fits the mean of the labels and not their spread: the spread is a running estimate, in
    which the newest hundred batches weigh most. Students that act deterministically are left as they are.
    """

    state_attributes = ("_n_fits", "_variance_D")

    def __init__(self, policy: TeamPolicy) -> None:
        self._policy = policy
        self._n_fits = 0
        self._variance_D = th.ones(policy.head.n_continuous)
        team = policy.team
        owners = np.repeat(np.arange(team.n_agents), [own.stop - own.start for own in team.action_columns])
        self._owners_D = owners[np.array(team.column_categories) == 0].tolist()

    def fit(self, outputs: th.Tensor, batch: Batch) -> None:
        """Take the squared errors of a batch into account."""
        head = self._policy.head
        if self._policy.acts_deterministically or not head.n_continuous:
            return
        self._n_fits += 1
        errors_BD = (head.means(outputs) - head.unpack(batch.labels)[1]).square()
        alive_BD = batch.alive[:, self._owners_D].to(errors_BD.dtype)
        now_D = (errors_BD * alive_BD).sum(dim=0) / alive_BD.sum(dim=0).clamp(min=1.0)
        self._variance_D = self._variance_D.to(now_D.device).lerp(now_D, max(0.01, 1.0 / self._n_fits))
        self._policy.log_std.data.copy_(0.5 * self._variance_D.clamp(min=1e-8).log())
