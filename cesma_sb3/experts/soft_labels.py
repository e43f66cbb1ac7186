"""Soft labels: the probability of each category, from a model's distribution, values or logits.

Shape suffixes: B batch, n actions of the view, M categories of all columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch as th
from sb3_contrib.common.maskable.policies import MaskableActorCriticPolicy
from sb3_contrib.qrdqn.policies import QRDQNPolicy
from stable_baselines3.common.policies import ActorCriticPolicy, BasePolicy
from stable_baselines3.dqn.policies import DQNPolicy
from torch.distributions import Categorical
from torch.nn import functional as F

from cesma_sb3.algorithms.ddpg.policies import GumbelSoftmaxPolicy
from cesma_sb3.algorithms.factored_dqn.policies import FactoredQPolicy
from cesma_sb3.errors import ExpertError
from cesma_sb3.policies.distributions import TeamDistribution
from cesma_sb3.spaces.action_views import ActionView, OneAtATimeActions, ProductActions, RelaxedActions
from cesma_sb3.spaces.team_spaces import TeamSpaces
from cesma_sb3.spaces.types import Masks

Probabilities = npt.NDArray[np.float32]


def model_probabilities(
    policy: BasePolicy, observations: Any, view: ActionView, temperature: float
) -> th.Tensor:
    """The distribution over the view's actions [B, n], or over the categories of its columns [B, M].

    Values (DQN's; of QR-DQN, the mean of the quantiles) are read as logits, and so are the numbers of an
    actor in the `relaxed` view.

    Args:
        policy: Of an SB3 model.
        observations: As its `obs_to_tensor` gives them.
        view: The action view that it acts in.
        temperature: Divides the logits.

    Raises:
        ExpertError: This kind of policy has neither a distribution over categories nor values.
    """
    if isinstance(policy, GumbelSoftmaxPolicy):
        logits = policy.logits(observations.float()) / temperature
        return policy.head.flatten(F.softmax(logits, dim=-1))
    if isinstance(policy, FactoredQPolicy):
        return policy.head.flatten(F.softmax(policy.values(observations.float()) / temperature, dim=-1))
    if isinstance(policy, DQNPolicy):
        return F.softmax(policy.q_net(observations) / temperature, dim=-1)
    if isinstance(policy, QRDQNPolicy):
        return F.softmax(policy.quantile_net(observations).mean(dim=1) / temperature, dim=-1)
    if isinstance(policy, ActorCriticPolicy | MaskableActorCriticPolicy) and not isinstance(
        view, RelaxedActions
    ):
        return _of_distribution(policy.get_distribution(observations), temperature)
    if isinstance(view, RelaxedActions):
        logits = policy._predict(observations, deterministic=True)
        return column_probabilities(logits, view.team, temperature)
    raise ExpertError(f"{type(policy).__name__}: has no distribution over categories: use hard labels")


def column_probabilities(outputs: th.Tensor, team: TeamSpaces, temperature: float) -> th.Tensor:
    """Softmax of each categorical column's outputs: [B, output_size] -> [B, M]."""
    columns = zip(team.column_outputs, team.column_categories, strict=True)
    shares = [F.softmax(outputs[:, where] / temperature, dim=-1) for where, n in columns if n]
    return th.cat(shares, dim=-1)


def by_column(flat: Probabilities, view: ActionView, masks: Masks | None) -> Probabilities:
    """What `model_probabilities` gives as the distribution of each column [B, M], among what is available.

    Args:
        flat: Over the actions of a Discrete view [B, n], or over the categories of each column [B, M].
        view: The action view.
        masks: Joint masks [B, M]; None: all is available. Of a Discrete view whole actions are left out
            first: what one agent does there depends on what the others can do.
    """
    if isinstance(view, ProductActions | OneAtATimeActions):
        if masks is not None:
            flat = _among(view.masks(masks), flat, [flat.shape[1]])
        flat = view.marginals(flat) if isinstance(view, ProductActions) else _marginals(flat, view)
    return among_available(flat, masks, view.team)


def among_available(flat: Probabilities, masks: Masks | None, team: TeamSpaces) -> Probabilities:
    """Probabilities [B, M] of each choice's categories, shared by those that are available."""
    return flat if masks is None else _among(masks, flat, [k for k in team.column_categories if k > 0])


def _among(available: Masks, probabilities: Probabilities, sizes: Sequence[int]) -> Probabilities:
    """Probabilities of what is available [B, M]; each distribution, of these sizes, sums to 1 again.

    Where all that is available has probability 0, all of it is alike.
    """
    starts = np.cumsum([0, *sizes])[:-1]

    def sums(values: Probabilities) -> Probabilities:
        return np.repeat(np.add.reduceat(values, starts, axis=1), sizes, axis=1)

    kept = np.where(available, probabilities, 0.0)
    total = sums(kept)
    flags = available.astype(np.float32)
    shares = np.where(total > 0, kept / np.where(total > 0, total, 1), flags / np.maximum(sums(flags), 1))
    return shares.astype(np.float32)


def _of_distribution(distribution: Any, temperature: float) -> th.Tensor:
    """Of one categorical, or of one for each column, which sb3-contrib's maskable distributions call so."""
    if isinstance(distribution, TeamDistribution):
        return distribution.probabilities(temperature)
    found = getattr(distribution, "distributions", None) or distribution.distribution
    columns = found if isinstance(found, list) else [found]
    if not all(isinstance(column, Categorical) for column in columns):
        kind = type(distribution).__name__
        raise ExpertError(f"{kind}: not a distribution over categories: use hard labels")
    return th.cat([F.softmax(column.logits / temperature, dim=-1) for column in columns], dim=-1)


def _marginals(probabilities: Probabilities, view: ActionView) -> Probabilities:
    """The distribution of each column [B, M] from one over the actions of a Discrete view [B, n]."""
    packed = view.decode(np.arange(probabilities.shape[1]))
    categories = zip(packed.T.astype(np.int64), view.team.column_categories, strict=True)
    chosen = np.concatenate([np.eye(n, dtype=np.float32)[column] for column, n in categories], axis=1)
    return np.asarray(probabilities @ chosen, dtype=np.float32)
