"""`MultiAgentDAggerTrainer`: one expert in, one policy for each agent out."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch as th
from imitation.algorithms.base import AnyTransitions, DemonstrationAlgorithm
from imitation.data import types
from imitation.util.logger import HierarchicalLogger
from torch import nn

from cesma_sb3.envs.joint_vec_env import JointVecEnv
from cesma_sb3.envs.rollouts import Actor
from cesma_sb3.errors import ConfigError, SpaceError
from cesma_sb3.experts import SamplingExpert, adapt_expert
from cesma_sb3.imitation.action_std import Spread
from cesma_sb3.imitation.class_weights import ClassWeighting
from cesma_sb3.imitation.collector import Collector, students_actor
from cesma_sb3.imitation.communication import Communication, Messages
from cesma_sb3.imitation.dataset import AggregatedDataset, Batch, EpisodeDataset, Samples, WhenFull
from cesma_sb3.imitation.demonstrations import demonstrated
from cesma_sb3.imitation.losses import ColumnwiseLoss, ImitationLoss, LossName
from cesma_sb3.policies.team_policy import TeamPolicy
from cesma_sb3.spaces.communication import MessageChannel
from cesma_sb3.spaces.row_arrays import compact_dtype
from cesma_sb3.utils.stateful import Stateful
from cesma_sb3.utils.torch_defaults import plain_torch

LearningRate = float | Callable[[float], float]


@dataclasses.dataclass
class DAggerProgress:
    """Where a call of `train` stands, for its callback."""

    timesteps: int
    """Environment timesteps collected in this call, over all environments."""
    total_timesteps: int
    """The budget of this call."""
    round_number: int
    """Rounds begun, over all calls."""
    n_updates: int
    """Gradient steps, over all calls."""
    mean_losses: th.Tensor | npt.NDArray[np.float64]
    """See `losses`; on the device of the students, which need not wait for whoever does not ask."""

    @property
    def losses(self) -> npt.NDArray[np.float64]:
        """Mean loss of each agent since the last log, [n_agents]; NaN before the first update."""
        found = self.mean_losses
        return found.double().cpu().numpy() if isinstance(found, th.Tensor) else found


Callback = Callable[[DAggerProgress], bool | None]


class MultiAgentDAggerTrainer(DemonstrationAlgorithm[types.Transitions], Stateful):
    """DAgger for a team: students act, the centralized expert labels, all agents learn in one batched update.

    An algorithm of the `imitation` library: demonstrations, types, beta schedules and logger are imitation's.
    The data path is its own: arrays in memory, no disk, no collation sample by sample.

    Algorithm 1 is `samples_per_update=1` (its k), `beta_schedule=None`; defaults: larger batches, less often.
    Where the team's layouts declare messages it is Algorithm 2: see `Communication`.

    Args:
        venv: Batched joint environment in the `joint` action view.
        expert: Labels joint observations: an `Expert`, or what `adapt_expert` makes one of.
        policy: The students; a `TeamPolicy` with the paper's sizes if None.
        rng: Draws batches, and who acts.
        demonstrations: The expert's trajectories or transitions to start from, as `set_demonstrations` takes
            them.
        beta_schedule: Probability of the expert's action by round, as imitation's `BetaSchedule`; None is the
            paper's 0: students act from the start.
        beta_per_agent: Draw who acts for each agent by itself in place of the whole team.
        round_timesteps: Environment timesteps in a round of the beta schedule; None: one vector step.
        samples_per_update: Environment timesteps collected for each gradient step.
        batch_size: Samples of each gradient step; of students with a memory, episodes.
        min_samples: The dataset is large enough to learn from when it holds this many of what a batch is made
            of: samples; of students with a memory, whole episodes (fewer where `capacity` holds fewer). None:
            `batch_size`.
        capacity: Most samples kept.
        when_full: `drop-oldest` or `reservoir`.
        learning_rate: A number, or a function of the progress remaining (1 to 0) in a call of `train`.
        optimizer_class: Optimizer of the students.
        optimizer_kwargs: Its arguments, less the learning rate.
        max_grad_norm: Gradient norm of the team is clipped to it; None clips nothing.
        loss: `auto`, `cross-entropy`, `mse`, or an `ImitationLoss`.
        class_weights: `inverse-frequency`: rare labels weigh more (`LabelCounts`).
        shared_dataset: All agents learn from the same samples; False: each draws its own
            (`AggregatedDataset`).
        message_relaxation: What a discrete message is in training (`Communication`), where the team
            communicates.
        message_temperature: Of its softmax, in (0, inf).
        message_entropy: How much it counts that all symbols are in use (`Communication.cost`), in [0, inf).
            The paper has no such term (0); where symbols are as few as things to say, 0.3 avoids that several
            things get one symbol.
        soft_labels: Imitate the expert's distribution in place of its action.
        label_temperature: Of the soft labels, in (0, inf).
        deterministic: Students act greedily while the dataset grows; False samples their distribution.
        custom_logger: imitation's logger; None makes a new one.

    Raises:
        SpaceError: The policy is not one for this team.
        ExpertError: Soft labels are wanted of an expert that has none.
        LayoutError: The team's layouts do not say who hears whom.
        ConfigError: The agents' own datasets are wanted of a team that communicates or that sees everything,
            or class weights of a loss that is not by name; or students with a memory communicate, have
            datasets of their own, or a reservoir.
        ValueError: A number is out of its range.
        UnknownNameError: There is no such loss, kind of messages, class weighting, or `when_full`.

    Source: section 4.3 and Algorithm 1 (appendix B); section 4.4 and Algorithm 2 (appendix C); Ross et al.
    (2011).
    """

    state_attributes: ClassVar[tuple[str, ...]] = (
        *("venv", "rng", "_policy", "optimizer", "collector", "dataset", "loss", "communication"),
        *("timesteps", "n_updates", "_spread", "_owed", "_call"),
    )

    @plain_torch()
    def __init__(
        self,
        *,
        venv: JointVecEnv,
        expert: Any,
        rng: np.random.Generator,
        policy: TeamPolicy | None = None,
        demonstrations: AnyTransitions | None = None,
        beta_schedule: Callable[[int], float] | None = None,
        beta_per_agent: bool = False,
        round_timesteps: int | None = None,
        samples_per_update: int = 64,
        batch_size: int = 256,
        min_samples: int | None = None,
        capacity: int = 200_000,
        when_full: WhenFull = "drop-oldest",
        learning_rate: LearningRate = 3e-3,
        optimizer_class: type[th.optim.Optimizer] = th.optim.Adam,
        optimizer_kwargs: Mapping[str, Any] | None = None,
        max_grad_norm: float | None = None,
        loss: LossName | ImitationLoss = "auto",
        class_weights: ClassWeighting = "none",
        shared_dataset: bool = True,
        message_relaxation: Messages = "straight-through",
        message_temperature: float = 1.0,
        message_entropy: float = 0.0,
        soft_labels: bool = False,
        label_temperature: float = 1.0,
        deterministic: bool = True,
        custom_logger: HierarchicalLogger | None = None,
    ) -> None:
        _check(
            samples_per_update=samples_per_update, batch_size=batch_size, label_temperature=label_temperature
        )
        self.venv = venv
        self.expert = expert = adapt_expert(expert, venv.team)
        self.rng = rng
        self._policy = policy if policy is not None else _default_policy(venv)
        if self._policy.team != venv.team:
            raise SpaceError("MultiAgentDAggerTrainer: policy and venv are of different teams")
        self.round_timesteps = venv.num_envs if round_timesteps is None else round_timesteps
        self.samples_per_update = samples_per_update
        self.batch_size = batch_size
        self.min_samples = batch_size if min_samples is None else min_samples
        self.learning_rate = learning_rate
        self.max_grad_norm = max_grad_norm
        self.communication = _communication(
            self._policy,
            rng,
            kind=message_relaxation,
            temperature=message_temperature,
            entropy=message_entropy,
        )
        if not shared_dataset:
            _check_separable(self._policy, self.communication)
        self.dataset: AggregatedDataset | EpisodeDataset
        stored_as = compact_dtype(venv.team)
        if self._policy.is_recurrent:
            _check_recurrent(self.communication, when_full, shared_dataset=shared_dataset)
            self.dataset = EpisodeDataset(capacity, rng=rng, observation_dtype=stored_as)
        else:
            self.dataset = AggregatedDataset(
                capacity,
                when_full=when_full,
                rng=rng,
                separate=None if shared_dataset else venv.team,
                observation_dtype=stored_as,
            )
        # The expert's draws are its own: what students draw, and the batches, are as with any other expert.
        label_rng = rng.spawn(1)[0] if isinstance(expert, SamplingExpert) else None
        self.collector = Collector(
            venv,
            self._students_actor(deterministic),
            expert,
            label_rng=label_rng,
            beta=beta_schedule if beta_schedule is not None else _students_act,
            beta_per_agent=beta_per_agent,
            soft_labels=soft_labels,
            temperature=label_temperature,
            rng=rng,
        )
        self.loss = _loss(self._policy, loss, class_weights)
        # The critic has no part in imitation: its weights stay as they are.
        actor_parameters = list(self._policy.action_net.parameters())
        self.optimizer = optimizer_class(
            actor_parameters,
            lr=_rate(learning_rate, 1.0),  # type: ignore[call-arg]  # the base class declares none
            **(optimizer_kwargs or {}),
        )
        self.timesteps = 0  # environment timesteps, over all calls
        self.n_updates = 0
        self._spread = Spread(self._policy)
        self._owed = 0.0  # updates that the samples so far have earned and that are not yet done
        self._call = _Call(0, venv.team.n_agents)
        super().__init__(
            demonstrations=demonstrations, custom_logger=custom_logger, allow_variable_horizon=False
        )

    def _students_actor(self, deterministic: bool) -> Actor:
        """Who acts while the dataset grows."""
        return students_actor(self._policy, deterministic=deterministic)

    @property
    def policy(self) -> TeamPolicy:
        """The students."""
        return self._policy

    @property
    def round_number(self) -> int:
        """The round that the next timestep belongs to, from 0."""
        return self.timesteps // self.round_timesteps

    def set_demonstrations(self, demonstrations: AnyTransitions) -> None:
        """Adds demonstrations to the dataset, as if the students had seen these states.

        Args:
            demonstrations: imitation's trajectories, `Transitions`, or an iterable of batches (mappings with
                `obs` and `acts`); observations joint, actions packed.

        Raises:
            SpaceError: Observations or actions are not of this team's shape.
        """
        kinds = {
            "has_masks": self.venv.team.has_masks,
            "has_probabilities": self.collector.soft_labels,
            "has_channel": self.communication is not None,
        }
        for samples in demonstrated(demonstrations, self.venv.team, **kinds):
            self._add(samples)

    def _add(self, samples: Samples, ended: npt.NDArray[np.bool_] | None = None) -> None:
        self.dataset.add(samples, ended)
        if isinstance(self.loss, ColumnwiseLoss):
            self.loss.see(samples)

    @plain_torch()
    def train(
        self,
        total_timesteps: int,
        *,
        callback: Callback | None = None,
        log_interval: int = 100,
    ) -> None:
        """Collects `total_timesteps` environment timesteps and learns on the way.

        Args:
            total_timesteps: Budget over all environments; rounded up to whole vector steps. Begins with new
                episodes.
            callback: Called after every vector step; returning False ends the training (as in SB3).
            log_interval: Vector steps between two rows of the log.
        """
        self._call = _Call(-(-total_timesteps // self.venv.num_envs), self.venv.team.n_agents)
        self.dataset.expect(self._call.n_steps * self.venv.num_envs)
        self.restart()
        self.go_on(callback=callback, log_interval=log_interval)

    def restart(self) -> None:
        """Has the next timestep begin new episodes; those that have begun are forgotten."""
        self.collector.reset()
        if isinstance(self.dataset, EpisodeDataset):
            self.dataset.store.forget_begun()

    @plain_torch()
    def go_on(self, *, callback: Callback | None = None, log_interval: int = 100) -> None:
        """Does what is left of the call of `train` that was stopped in its callback.

        Args:
            callback: See `train`.
            log_interval: Likewise.
        """
        call, n_envs = self._call, self.venv.num_envs
        started, before = time.perf_counter(), call.step
        while call.step < call.n_steps:
            samples, ended = self.collector.step(self.round_number)
            self._add(samples, ended)
            self.timesteps += n_envs
            self._set_learning_rate(1.0 - call.step / call.n_steps)
            for _ in range(self._updates_due(n_envs)):
                call.losses.add(self.update())
            call.step += 1
            done, total = call.step * n_envs, call.n_steps * n_envs
            progress = DAggerProgress(done, total, self.round_number, self.n_updates, call.losses.mean())
            if call.step % log_interval == 0 or call.step == call.n_steps:
                self._log(progress, (call.step - before) * n_envs / (time.perf_counter() - started))
                call.losses = _RunningMean(self.venv.team.n_agents)
            if callback is not None and callback(progress) is False:
                return

    def update(self) -> th.Tensor:
        """One gradient step of every agent on one batch (Algorithm 1: lines 7 to 9; Algorithm 2: 6 to 16).

        Returns:
            The loss of each agent before the step, [n_agents] float32.
        """
        batch = self.dataset.sample(self.batch_size, self._policy.device)
        self._policy.set_training_mode(True)
        losses, total = self._losses(batch)
        self.optimizer.zero_grad()
        total.backward()
        if self.max_grad_norm is not None:
            nn.utils.clip_grad_norm_(self._policy.action_net.parameters(), self.max_grad_norm)
        self.optimizer.step()
        self.n_updates += 1
        return losses.detach()

    def _losses(self, batch: Batch) -> tuple[th.Tensor, th.Tensor]:
        """The loss of each agent [n_agents], and what is differentiated, []."""
        cost = None
        if self._policy.is_recurrent:
            outputs, batch = self._policy.unroll(batch.observations).flatten(0, 1), batch.flat()
        elif self.communication is None:
            outputs = self._policy.outputs(batch.observations)
        else:  # what the agents see: with the messages that the others would send today
            assert batch.previous is not None
            before = self._policy.outputs(batch.previous)
            outputs = self._policy.outputs(self.communication.observations(before, batch))
            cost = self.communication.cost(before, batch)
        losses = self.loss(outputs, batch)
        self._spread.fit(outputs.detach(), batch)
        # The sum: each agent's weights get the gradient of its own loss, as if it were trained alone.
        return losses, losses.sum() if cost is None else losses.sum() + cost

    def _updates_due(self, collected: int) -> int:
        """Gradient steps that fall due with these samples: one for every `samples_per_update`."""
        episodes = self.dataset if isinstance(self.dataset, EpisodeDataset) else None
        if not (episodes.has(self.min_samples) if episodes else len(self.dataset) >= self.min_samples):
            return 0
        self._owed += collected / self.samples_per_update
        due = int(self._owed + 1e-9)
        self._owed -= due
        return due

    def _set_learning_rate(self, progress_remaining: float) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = _rate(self.learning_rate, progress_remaining)

    def _log(self, progress: DAggerProgress, rate: float) -> None:
        self.logger.record("dagger/timesteps", self.timesteps)
        self.logger.record("dagger/round", progress.round_number)
        self.logger.record("dagger/beta", self.collector.beta(progress.round_number))
        self.logger.record("dagger/n_updates", self.n_updates)
        self.logger.record("dagger/dataset_size", len(self.dataset))
        self.logger.record("dagger/learning_rate", self.optimizer.param_groups[0]["lr"])
        self.logger.record("dagger/steps_per_second", rate)
        for agent, loss in zip(self.venv.team.agents, progress.losses, strict=True):
            self.logger.record(f"dagger/loss/{agent}", float(loss))
        self.logger.dump(self.timesteps)


def _check(**numbers: float) -> None:
    for name, value in numbers.items():
        if value <= 0:
            raise ValueError(f"{name}={value}: expected more than 0")


class _RunningMean(Stateful):
    """Mean of a few tensors, on their device."""

    state_attributes = ("_sum", "_count")

    def __init__(self, size: int) -> None:
        self._sum = th.zeros(size)
        self._count = 0

    def add(self, values: th.Tensor) -> None:
        self._sum = self._sum.to(values.device) + values
        self._count += 1

    def mean(self) -> th.Tensor:
        return self._sum / self._count if self._count else th.full_like(self._sum, th.nan)


class _Call(Stateful):
    """How far a call of `train` is."""

    state_attributes = ("n_steps", "step", "losses")

    def __init__(self, n_steps: int, n_agents: int) -> None:
        self.n_steps = n_steps  # vector steps
        self.step = 0  # of these, done
        self.losses = _RunningMean(n_agents)  # since the last row of the log


def _students_act(round_number: int) -> float:
    """The paper's schedule: the expert never acts."""
    del round_number  # a schedule is given it
    return 0.0


def _rate(learning_rate: LearningRate, progress_remaining: float) -> float:
    return learning_rate(progress_remaining) if callable(learning_rate) else learning_rate


def _default_policy(venv: JointVecEnv) -> TeamPolicy:
    team = venv.team
    return TeamPolicy(team.observation_space, team.action_space, lambda _: 1e-3, team=team)


def _communication(policy: TeamPolicy, rng: np.random.Generator, **kwargs: Any) -> Communication | None:
    """What the team's channel needs in training; None, and nothing is drawn, where it has none."""
    channel = MessageChannel.of(policy.team)
    if channel is None:
        return None
    generator = th.Generator(device=policy.device).manual_seed(int(rng.integers(2**31)))
    return Communication(channel, policy.head, generator=generator, **kwargs)


def _check_separable(policy: TeamPolicy, communication: Communication | None) -> None:
    if communication is not None:
        raise ConfigError("dataset 'own': agents that communicate learn from one another; use 'shared'")
    if policy.actor_visibility != "own":
        raise ConfigError("dataset 'own': a `joint` actor learns from joint observations; use 'shared'")


def _check_recurrent(
    communication: Communication | None, when_full: WhenFull, *, shared_dataset: bool
) -> None:
    if communication is not None:
        raise ConfigError("network 'recurrent': agents that communicate need another network")
    if not shared_dataset:
        raise ConfigError("dataset 'own': agents with a memory learn from the team's episodes; use 'shared'")
    if when_full != "drop-oldest":
        raise ConfigError(f"when_full {when_full!r}: expected 'drop-oldest' for agents with a memory")


def _loss(policy: TeamPolicy, loss: LossName | ImitationLoss, class_weights: ClassWeighting) -> ImitationLoss:
    if isinstance(loss, str):
        return ColumnwiseLoss(policy.team, policy.head, loss, class_weights=class_weights)
    if class_weights != "none":
        raise ConfigError(f"class_weights {class_weights!r}: {type(loss).__name__} has weights of its own")
    return loss
