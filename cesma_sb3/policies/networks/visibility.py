"""What a component of a network may see, and in which order."""

from __future__ import annotations

from typing import Literal

from cesma_sb3.spaces.team_spaces import TeamSpaces

Visibility = Literal["own", "joint"]
"""`own`: its own agent's observation; `joint`: the observations of the whole team."""


def are_alike(team: TeamSpaces) -> bool:
    """Whether all agents have the same observations, as their layouts say, and the same actions."""
    first = team.agents[0]
    return all(
        team.layouts[agent].observation == team.layouts[first].observation
        and team.action_spaces[agent] == team.action_spaces[first]
        for agent in team.agents
    )


def egocentric_order(team: TeamSpaces, with_actions: bool = False) -> list[list[int]]:
    """Columns of the joint observation in each agent's egocentric order: its own part first.

    The others follow in the order of the team, cyclically from the agent on: the first comes after the last.
    So do the entries of parts that hold one entity or message of each other agent. A column then means the
    same for every agent, so that all of them can share weights.

    Args:
        team: Its agents are alike.
        with_actions: The joint observation is followed by the actions, flat [output_size]; these too are put
            in that order.

    Returns:
        For each agent, a permutation of the columns of the input.
    """
    n_agents = team.n_agents
    around = [[(agent + step) % n_agents for step in range(n_agents)] for agent in range(n_agents)]
    parts = own_egocentric_order(team)
    columns = [[column for other in order for column in parts[other]] for order in around]
    if not with_actions:
        return columns
    offset = team.observation_size
    actions = [range(offset + where.start, offset + where.stop) for where in team.output_slices]
    return [
        [*seen, *(column for other in order for column in actions[other])]
        for seen, order in zip(columns, around, strict=True)
    ]


def own_egocentric_order(team: TeamSpaces) -> list[list[int]]:
    """The columns of each agent's own observation, what it holds of the others in the order around it.

    Args:
        team: Its agents are alike.
    """
    return [_own_columns(team, agent) for agent in range(team.n_agents)]


def _own_columns(team: TeamSpaces, agent: int) -> list[int]:
    columns: list[int] = []
    start = team.observation_slices[agent].start
    n_others = team.n_agents - 1
    for part in team.layouts[team.agents[agent]].observation.parts:
        places = list(range(part.count))
        if part.kind in {"agents", "message"} and part.count == n_others:
            # The layout has the others in the order of the team, without the agent: those behind it first.
            places = [(agent + step) % n_others for step in range(n_others)]
        columns += [start + place * part.size + entry for place in places for entry in range(part.size)]
        start += part.width
    return columns
