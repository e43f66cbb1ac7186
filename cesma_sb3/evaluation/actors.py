"""Actors of a team: policies, experts and random actions, in the order of agents that an environment has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import BasePolicy

from cesma_sb3.envs.rollouts import WrappedActor
from cesma_sb3.experts import Expert, adapt_expert, make_actor
from cesma_sb3.policies.ensembles import TeamEnsemble
from cesma_sb3.policies.team_policy import TeamPolicy
from cesma_sb3.spaces.random_actions import random_actions
from cesma_sb3.spaces.team_spaces import TeamSpaces
from cesma_sb3.spaces.team_views import reordered_view
from cesma_sb3.spaces.types import Actor


class TeamActor(WrappedActor):
    """An actor that knows the team whose observations it takes.

    Args:
        actor: The actor.
        team: Its team.
        call: What is done in place of the actor, by way of it; None: the actor itself.
    """

    def __init__(self, actor: Actor, team: TeamSpaces, call: Actor | None = None) -> None:
        super().__init__(actor, call)
        self.team = team


def policy_actor(
    policy: TeamPolicy | TeamEnsemble, *, deterministic: bool = True, seed: int = 0
) -> TeamActor:
    """Make the actor of a team of policies.

    Args:
        policy: The team. Its weights may change.
        deterministic: Take the likeliest actions; False: sample them.
        seed: Seed of the samples.
    """
    return TeamActor(policy.actor(None if deterministic else np.random.default_rng(seed)), policy.team)


def actor_for(controller: Any, team: TeamSpaces, *, deterministic: bool = True, seed: int = 0) -> Actor:
    """Make the actor of a policy or an expert, for a team of the same agents in any order.

    Args:
        controller: A `TeamPolicy`, an ensemble, an `Expert`, a model or policy of SB3, a mapping with one
            controller for each agent, or an actor: a function of observations and masks.
        team: The team that it acts for.
        deterministic: Take the likeliest actions; False: sample, where the controller has a distribution.
        seed: Seed of the samples.

    Raises:
        ExpertError: The model or expert does not fit the team.
        SpaceError: The policy or actor is one of other agents.
        LayoutError: The order of the others is part of what somebody observes, and is another one.
    """
    if isinstance(controller, TeamPolicy | TeamEnsemble):
        actor: Actor = policy_actor(controller, deterministic=deterministic, seed=seed)
    elif isinstance(controller, Expert | BaseAlgorithm | BasePolicy | Mapping):
        expert: Any = adapt_expert(controller, team)
        sampler = None if deterministic else getattr(expert, "sampler", None)
        return make_actor(expert) if sampler is None else sampler(np.random.default_rng(seed))
    else:
        actor = controller
    own = getattr(getattr(actor, "__self__", actor), "team", None)
    if not isinstance(own, TeamSpaces) or own.agents == team.agents:
        return actor
    return TeamActor(actor, team, reordered_view(team, own).actor(actor))


def random_actor(team: TeamSpaces, rng: np.random.Generator) -> TeamActor:
    """Make an actor that draws uniformly among the available actions.

    Args:
        team: The team that it acts for.
        rng: The generator of the draws.
    """
    return TeamActor(
        lambda observations, masks: random_actions(team, len(observations), masks, rng),
        team,
    )
