"""An SB3 (or sb3-contrib) algorithm or policy as an expert."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch as th
from sb3_contrib.common.recurrent.policies import RecurrentActorCriticPolicy
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.distributions import (
    CategoricalDistribution,
    Distribution,
    MultiCategoricalDistribution,
)
from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy
from stable_baselines3.dqn.policies import DQNPolicy
from torch.nn import functional as F

from cesma_sb3.errors import ExpertError
from cesma_sb3.experts.factored_q_policy import FactoredQPolicy
from cesma_sb3.experts.gumbel_softmax_policy import GumbelSoftmaxPolicy
from cesma_sb3.experts.protocol import Actions, Masks, Observations
from cesma_sb3.joint.actions import ActionView, OneAtATimeActions, ProductActions
from cesma_sb3.joint.spaces import TeamSpaces
from cesma_sb3.networks.head import TeamDistribution
from cesma_sb3.networks.memory import MemoryActor, State


class SB3Expert:
    """Labels joint observations with what an SB3 model would do, greedily.

    Args:
        model: A trained algorithm, or its policy alone.
        team: The team that it controls.
        view: The action view in which it acts (`joint`, `product`, `relaxed`, ...).

    Raises:
        ExpertError: The model's spaces are not those of the team in this view; both are named.
    """

    def __init__(self, model: BaseAlgorithm | BasePolicy, team: TeamSpaces, view: ActionView) -> None:
        self.model = model
        self.policy: BasePolicy = model.policy if isinstance(model, BaseAlgorithm) else model
        self.team = team
        self.view = view
        for kind, has, wanted in (
            ("observation", model.observation_space, team.observation_space),
            ("action", model.action_space, view.space),
        ):
            if has != wanted:
                raise ExpertError(
                    f"{type(model).__name__}: its {kind} space is {has}, the team's in the action view "
                    f"{view.name!r} is {wanted}"
                )

    def labels(self, observations: Observations, masks: Masks | None = None) -> Actions:
        """See `Expert.labels`."""
        actions, _ = self.model.predict(observations, deterministic=True, **self.mask_arguments(masks))
        return self.view.decode(actions)

    def mask_arguments(self, masks: Masks | None) -> dict[str, Any]:
        """Joint masks [B, mask_size] as the argument of `predict` that maskable policies take."""
        if masks is None or not _takes_masks(self.policy):
            return {}
        return {"action_masks": self.view.masks(masks)}

    def probabilities(
        self, observations: Observations, masks: Masks | None = None, *, temperature: float = 1.0
    ) -> npt.NDArray[np.float32]:
        """See `SoftExpert.probabilities`. Values (DQN's) are read as logits divided by the temperature.

        Raises:
            ExpertError: This kind of model has neither a distribution over categories nor values.
        """
        self.policy.set_training_mode(False)
        with th.no_grad():
            tensor, _ = self.policy.obs_to_tensor(observations)
            flat = self._probabilities(tensor, temperature).cpu().numpy().astype(np.float32)
        if isinstance(self.view, ProductActions):
            flat = self.view.marginals(flat)
        elif isinstance(self.view, OneAtATimeActions):
            flat = _marginals(flat, self.view)
        if masks is None:
            return flat
        return _renormalized(np.where(masks, flat, 0.0), self.team)

    def _probabilities(self, observations: Any, temperature: float) -> th.Tensor:
        policy = self.policy
        if isinstance(policy, GumbelSoftmaxPolicy):
            logits = policy.logits(observations.float()) / temperature
            return policy.head.flatten(F.softmax(logits, dim=-1))
        if isinstance(policy, FactoredQPolicy):
            return policy.head.flatten(F.softmax(policy.values(observations.float()) / temperature, dim=-1))
        if isinstance(policy, DQNPolicy):
            return F.softmax(policy.q_net(observations) / temperature, dim=-1)
        if isinstance(policy, ActorCriticPolicy):
            return _distribution_probabilities(policy.get_distribution(observations), temperature)
        raise ExpertError(f"{type(policy).__name__}: has no distribution over categories: use hard labels")


class RecurrentSB3Expert(SB3Expert):
    """An SB3 (or sb3-contrib) model with a memory; `labels` takes each observation for an episode's first."""

    def actor(self) -> MemoryActor:
        """See `RecurrentExpert.actor`."""
        return MemoryActor(self._step)

    def _step(
        self, observations: Observations, state: State | None, starts: Masks, masks: Masks | None
    ) -> tuple[Actions, State | None]:
        actions, state = self.model.predict(
            observations, state, starts, deterministic=True, **self.mask_arguments(masks)
        )
        return self.view.decode(actions), state


def sb3_expert(model: BaseAlgorithm | BasePolicy, team: TeamSpaces, view: ActionView) -> SB3Expert:
    """The model as an expert, with its memory if it has one."""
    policy = model.policy if isinstance(model, BaseAlgorithm) else model
    remembers = isinstance(policy, RecurrentActorCriticPolicy) or getattr(policy, "is_recurrent", False)
    return (RecurrentSB3Expert if remembers else SB3Expert)(model, team, view)


def _distribution_probabilities(distribution: Distribution, temperature: float) -> th.Tensor:
    if isinstance(distribution, TeamDistribution):
        return distribution.probabilities(temperature)
    if isinstance(distribution, MultiCategoricalDistribution):
        # Newer SB3 releases declare the attribute as the list that it is; older ones do not declare it.
        columns: Any = distribution.distribution
        return th.cat([F.softmax(column.logits / temperature, dim=-1) for column in columns], dim=-1)
    if isinstance(distribution, CategoricalDistribution):
        categorical: Any = distribution.distribution
        return F.softmax(categorical.logits / temperature, dim=-1)
    raise ExpertError(f"{type(distribution).__name__}: not a distribution over categories: use hard labels")


def _marginals(probabilities: npt.NDArray[np.float32], view: ActionView) -> npt.NDArray[np.float32]:
    """The distribution of each column [B, M] from one over the actions of a Discrete view [B, n]."""
    packed = view.decode(np.arange(probabilities.shape[1]))
    categories = zip(packed.T.astype(np.int64), view.team.column_categories, strict=True)
    chosen = np.concatenate([np.eye(n, dtype=np.float32)[column] for column, n in categories], axis=1)
    return np.asarray(probabilities @ chosen, dtype=np.float32)


def _takes_masks(policy: BasePolicy) -> bool:
    return "action_masks" in policy.predict.__code__.co_varnames


def _renormalized(probabilities: npt.NDArray[np.float32], team: TeamSpaces) -> npt.NDArray[np.float32]:
    """Makes the categories of each column sum to 1 again."""
    starts = np.cumsum([0, *[k for k in team.column_categories if k > 0]])[:-1]
    sums = np.add.reduceat(probabilities, starts, axis=1)
    sizes = [k for k in team.column_categories if k > 0]
    shares: npt.NDArray[np.float32] = probabilities / np.repeat(np.maximum(sums, 1e-12), sizes, axis=1)
    return shares.astype(np.float32)
