"""What agents that talk have to say: returns without it, and what it tells of goals."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import get_args

import numpy as np

from cesma_sb3.analysis.price.estimates import Row, mean_row
from cesma_sb3.analysis.price.mutual_information import (
    Codes,
    by_chance,
    entropy,
    interval,
    mutual_information,
)
from cesma_sb3.analysis.price.rollouts import Visits
from cesma_sb3.envs.particle.goals import GOAL
from cesma_sb3.evaluation import Change, Returns
from cesma_sb3.spaces.communication import message_columns
from cesma_sb3.spaces.team_spaces import TeamSpaces

_HOW = {
    "shuffled": "each world hears what was said in another world",
    "zeroed": "nobody says anything",
    "random": "each message that is said becomes one drawn uniformly",
}


def channel_rows(as_it_is: Returns, changed: Callable[[Change], Returns], n_worlds: int) -> Iterator[Row]:
    """The return with the channel changed, less the return as it is.

    Args:
        as_it_is: The students' returns.
        changed: Their returns on the same initial states where the channel is changed.
        n_worlds: How many are stepped together: one has no other to hear from.
    """
    for change in get_args(Change):
        name, how = (
            f"return lost with messages {change}",
            f"Students as they are less students where {_HOW[change]}",
        )
        if change == "shuffled" and n_worlds < 2:
            how = f"{how}: not estimated, for evaluation.n_envs is 1, and there is no other world."
            yield Row(name, None, None, None, "return", how)
            continue
        lost = as_it_is.team - changed(change).team
        yield mean_row(name, lost, "return", f"{how}; the same initial states, paired.")


def information_rows(visits: Visits, team: TeamSpaces, rng: np.random.Generator) -> Iterator[Row]:
    """What each speaker's symbol tells of the goal of each other agent, where layouts name a goal.

    Args:
        visits: Of the students.
        team: Whose layouts say what is a goal, and what is said.
        rng: Draws permutations.
    """
    says = message_columns(team)
    middle = visits.times == int(np.median(visits.times))  # once in each episode: they are independent
    for agent, columns in enumerate(team.action_columns):
        name, layout = team.agents[agent], team.layouts[team.agents[agent]].observation
        spoken = [c for c in range(*columns.indices(team.n_columns)) if says[c] and team.column_categories[c]]
        parts = [part for part in layout.parts if part.name == GOAL]
        if not spoken or not parts:
            continue
        symbols = np.unique(visits.actions[middle][:, spoken], axis=0, return_inverse=True)[1].reshape(-1)
        start = team.observation_slices[agent].start + layout.slice(GOAL).start
        codes = visits.observations[middle][:, start : start + parts[0].width]
        others = [f"{other}'s goal" for other in team.agents if other != name]
        whose = others if parts[0].kind == "agents" else ["the goal"]
        for goal, code in zip(whose, np.split(codes, parts[0].count, axis=1), strict=True):
            yield from _told(name, goal, code.argmax(axis=1), symbols, rng)


def _told(agent: str, goal: str, goals: Codes, symbols: Codes, rng: np.random.Generator) -> Iterator[Row]:
    """What one agent's symbols tell of one goal, and the most that they could."""
    chance, p = by_chance(goals, symbols, rng)
    how = (
        "What is said in the middle of an episode and the goal, a pair an episode: plug-in entropies with "
        "Miller and Madow's correction, the interval by the jackknife. Without any relation it is "
        f"{chance:.3f} on average (200 permutations; p = {p:.3f})."
    )
    low, high = interval(goals, symbols) or (None, None)
    value = mutual_information(goals, symbols)
    yield Row(f"information of the message about {goal}", value, low, high, "bits", how, agent)
    how = "The most that can be told of it: the goal's entropy in the same episodes."
    yield Row(f"entropy of {goal}", entropy(goals), None, None, "bits", how, agent)
