"""Who acts for whom: agents are found by their names, whatever order their arrays have."""

from __future__ import annotations

from cesma_sb3.experts.base import Actions, Actor, Masks, Observations
from cesma_sb3.spaces.team_spaces import TeamSpaces
from cesma_sb3.spaces.team_views import reordered_view


def made_for(act: Actor, team: TeamSpaces) -> Actor:
    """The same act, which knows the team that its observations and actions are of."""
    act.team = team  # type: ignore[attr-defined]  # functions and actors take any attribute
    return act


def acting_for(act: Actor, team: TeamSpaces) -> Actor:
    """An act as one of a team of the same agents, whose arrays may have another order.

    Args:
        act: Who acts: a function that `made_for` has marked, a method of an object with a `team`, or anything
            that does not say which team it is made for and is taken as it is.
        team: The team that it is to act for.

    Raises:
        SpaceError: It is made for other agents.
        LayoutError: The order of the others is part of what somebody observes, and is another one.
    """
    own = getattr(getattr(act, "__self__", act), "team", None)
    if not isinstance(own, TeamSpaces) or own.agents == team.agents:
        return act
    order = reordered_view(team, own)

    def reordered(observations: Observations, masks: Masks | None) -> Actions:
        seen = order.observations(observations)
        actions: Actions = order.actions(act(seen, None if masks is None else order.masks(masks)))
        return actions

    return made_for(with_memory_of(act, reordered), team)


def with_memory_of(act: Actor, changed: Actor) -> Actor:
    """A changed act, which passes on where episodes begin if the act that it changes has a memory."""
    if hasattr(act, "reset"):
        changed.reset = act.reset  # type: ignore[attr-defined]  # a function takes any attribute
    return changed
