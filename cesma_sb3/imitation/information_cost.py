"""A reward penalty for experts whose actions depend on what the students do not observe.

Shape suffixes: B environments (or samples), N agents, C action columns, M mask flags, I joint observation.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch as th

from cesma_sb3.envs.joint_vec_env import JointVecEnv
from cesma_sb3.envs.vec_wrappers import JointVecEnvWrapper
from cesma_sb3.errors import ConfigError
from cesma_sb3.imitation.dataset import AggregatedDataset, Samples
from cesma_sb3.imitation.learner import UpdateSchedule
from cesma_sb3.policies import TeamPolicy
from cesma_sb3.policies.networks.factory import NetworkSpec
from cesma_sb3.policies.networks.visibility import Visibility
from cesma_sb3.spaces.communication import MessageChannel
from cesma_sb3.spaces.team_spaces import TeamSpaces
from cesma_sb3.spaces.types import Floats, Info, Masks
from cesma_sb3.utils.stateful import Stateful

LIMIT = 5.0
"""Largest cost of an agent's action, either way, in nats: rare actions are hard to predict."""


class InformationCostVecEnv(JointVecEnvWrapper, Stateful):
    """A joint environment whose reward is reduced by the privileged information in the actions.

    An expert sees all observations, a student only its own: what the expert decides by the rest, no student
    can imitate (asymmetric information). While an expert trains here, two teams of predictors learn its
    actions: one with `own` actors, as the students will be, and one with `joint` actors. The reward of a step
    is reduced by `weight` times

        sum over agents i of  log p(a_i | all observations) - log q(a_i | own observation of i)

    whose mean is the information in the actions about what their agents do not observe, in nats; it is 0 for
    an expert that students can imitate exactly. An expert then prefers states in which the agents observe
    what they need, and pays in reward for getting there. Actions that both teams predict equally well cost
    nothing, however rare they are: exploration is free. Episode statistics are of the unchanged reward.

    Every algorithm of SB3 can train on it. Algorithms with a replay buffer keep rewards with the cost at the
    time of the step; on-policy algorithms such as PPO fit best.

    Args:
        venv: Batched joint environment, in any action view.
        weight: Reward that each nat costs, in (0, inf).
        spec: Networks of the predictors: those of the students, so that what these cannot express costs too.
        learning_rate: Learning rate of the predictors' Adam.
        samples_per_update: Environment timesteps for each gradient step of the predictors.
        batch_size: Samples of each gradient step.
        capacity: Most samples kept; the newest stay.
        seed: Seed of initial weights and batches.

    Raises:
        ConfigError: A number is out of its range; the networks are recurrent; or the agents communicate, and
            may send each other what they do not observe.

    Source: Warrington et al. (2021), whose expert is trained for the reward of the student that it induces;
        here by a cost, and for any algorithm. Its mean is a conditional mutual information (Cover and Thomas,
        2006, section 2.5).
    """

    state_attributes = ("venv", "own", "joint", "optimizer", "dataset", "_updates", "_now")

    def __init__(
        self,
        venv: JointVecEnv,
        *,
        weight: float,
        spec: NetworkSpec,
        learning_rate: float = 1e-3,
        samples_per_update: int = 32,
        batch_size: int = 256,
        capacity: int = 20_000,
        seed: int = 0,
    ) -> None:
        numbers = {"weight": weight, "samples_per_update": samples_per_update, "batch_size": batch_size}
        for name, number in numbers.items():
            if number <= 0:
                raise ConfigError(f"information_cost: {name} is {number}, expected more than 0")
        if spec.kind == "recurrent":
            raise ConfigError("information_cost: expected students without a memory")
        if MessageChannel.of(venv.team) is not None:
            raise ConfigError("information_cost: expected agents that do not communicate")
        super().__init__(venv)
        self.weight, self.batch_size = weight, batch_size
        with th.random.fork_rng(devices=[]):
            th.manual_seed(seed)
            self.own, self.joint = (_predictors(venv.team, spec, sees) for sees in ("own", "joint"))
        self.optimizer = th.optim.Adam([*self.own.parameters(), *self.joint.parameters()], lr=learning_rate)
        self.dataset = AggregatedDataset(capacity, rng=np.random.default_rng(seed))
        self.cost = np.zeros(self.num_envs, dtype=np.float32)
        """Cost of the last step in each environment, in nats, [B]."""
        self._updates = UpdateSchedule(samples_per_update)
        self._now: Floats | None = None
        self._taken: Samples | None = None

    def reset(self) -> Floats:
        """Reset all environments, and return their observations [B, I]."""
        self._now = super().reset()
        return self._now

    def step_async(self, actions: npt.NDArray[Any]) -> None:
        """Start a step with actions of the action view."""
        assert self._now is not None, "expected reset before step"
        masks = self.agent_masks
        self._taken = Samples(
            self._now.copy(),
            self.view.decode(np.asarray(actions), masks),
            self.alive.copy(),
            None if masks is None else masks.copy(),
        )
        super().step_async(actions)

    def step_wait(self) -> tuple[Floats, Floats, npt.NDArray[np.bool_], list[Info]]:
        """Finish the step: observations, rewards [B] less the cost of the actions, dones and infos."""
        observations, rewards, dones, infos = super().step_wait()
        assert self._taken is not None
        self._now = observations
        self.dataset.add(self._taken)
        self.cost = self.costs(self._taken)
        for _ in range(self._updates.due(self.num_envs)):
            if self.dataset.has(self.batch_size):
                self._update()
        return observations, (rewards - self.weight * self.cost).astype(np.float32), dones, infos

    def costs(self, samples: Samples) -> Floats:
        """The cost of actions in nats, summed over the agents alive, [B] float32."""
        with th.no_grad():
            observations, actions = th.as_tensor(samples.observations), th.as_tensor(samples.labels)
            masks = None if samples.masks is None else th.as_tensor(samples.masks)
            joint, own = (
                _log_likelihoods(team, observations, actions, masks) for team in (self.joint, self.own)
            )
        cost_BN: npt.NDArray[np.float32] = (joint - own).clamp(-LIMIT, LIMIT).numpy() * samples.alive
        costs: Floats = cost_BN.sum(axis=1, dtype=np.float32)
        return costs

    def _update(self) -> None:
        """Make one gradient step of both teams of predictors, by maximum likelihood."""
        batch = self.dataset.sample(self.batch_size, "cpu")
        alive = batch.alive.float()
        loss = th.zeros(())
        for team in (self.own, self.joint):
            likelihoods = _log_likelihoods(team, batch.observations, batch.labels, batch.masks)
            loss = loss - (likelihoods * alive).sum(dim=1).mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()


def _predictors(team: TeamSpaces, spec: NetworkSpec, sees: Visibility) -> TeamPolicy:
    """A team whose likelihoods are used, and that never acts."""
    if sees == "joint" and spec.kind == "custom":  # which is made for one agent's observation
        spec = NetworkSpec()
    return TeamPolicy(
        team.observation_space,
        team.action_space,
        lambda _: 0.0,
        team=team,
        actor_visibility=sees,
        critic_visibility="own",
        **spec.arguments(),
    )


def _log_likelihoods(
    policy: TeamPolicy, observations_BI: th.Tensor, actions_BC: th.Tensor, masks_BM: th.Tensor | Masks | None
) -> th.Tensor:
    """The log-likelihood of each agent's action, [B, N]."""
    masks = None if masks_BM is None else th.as_tensor(masks_BM)
    columns = policy.distribution(observations_BI, masks).column_log_probs(actions_BC)
    return policy.by_agent(columns)
