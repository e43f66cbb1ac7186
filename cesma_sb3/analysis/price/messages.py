"""Estimates of what messages carry: returns without them, and what they tell of goals."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import get_args

import numpy as np

from cesma_sb3.analysis.price.estimates import Estimate, mean_estimate
from cesma_sb3.analysis.price.mutual_information import (
    PERMUTATIONS,
    Codes,
    entropy,
    jackknife_interval,
    mutual_information,
    permutation_test,
)
from cesma_sb3.analysis.price.rollouts import Rollouts
from cesma_sb3.envs.particle.goals import GOAL
from cesma_sb3.evaluation import MessageAblation, Returns
from cesma_sb3.spaces.communication import message_columns
from cesma_sb3.spaces.team_spaces import TeamSpaces

_HOW = {
    "shuffled": "each environment receives the messages of another environment",
    "zeroed": "no message arrives",
    "random": "each message that is sent becomes one drawn uniformly",
}


def message_ablations(
    returns: Returns, ablated: Callable[[MessageAblation], Returns], n_envs: int
) -> Iterator[Estimate]:
    """Estimate how much of the return is lost when messages are changed.

    Args:
        returns: The students' returns.
        ablated: Their returns from the same initial states with messages changed.
        n_envs: Environments that are stepped together; messages are shuffled between them.
    """
    for change in get_args(MessageAblation):
        name = f"return lost with messages {change}"
        how = f"Students as they are less students where {_HOW[change]}"
        if change == "shuffled" and n_envs < 2:
            how = f"{how}: not estimated, for evaluation.n_envs is 1, and there is no other environment."
            yield Estimate(name, None, None, None, "return", how)
            continue
        lost = returns.team - ablated(change).team
        yield mean_estimate(name, lost, "return", f"{how}; the same initial states, paired.")


def message_information(rollouts: Rollouts, team: TeamSpaces, rng: np.random.Generator) -> Iterator[Estimate]:
    """Estimate what each agent's message tells of other agents' goals, where layouts name a goal.

    Args:
        rollouts: Rollouts of the students.
        team: The team's spaces; their layouts say what is a goal, and what is a message.
        rng: Draws permutations.
    """
    sends = message_columns(team)
    middle = rollouts.times == int(np.median(rollouts.times))  # one step an episode: they are independent
    for agent, columns in enumerate(team.action_columns):
        name = team.agents[agent]
        layout = team.layouts[name].observation
        sent = [c for c in range(*columns.indices(team.n_columns)) if sends[c] and team.column_categories[c]]
        parts = [part for part in layout.parts if part.name == GOAL]
        if not sent or not parts:
            continue
        symbols = np.unique(rollouts.actions[middle][:, sent], axis=0, return_inverse=True)[1].reshape(-1)
        start = team.observation_slices[agent].start + layout.slice(GOAL).start
        one_hot = rollouts.observations[middle][:, start : start + parts[0].width]
        others = [f"{other}'s goal" for other in team.agents if other != name]
        goals = others if parts[0].kind == "agents" else ["the goal"]
        for goal, code in zip(goals, np.split(one_hot, parts[0].count, axis=1), strict=True):
            yield from _information(name, goal, code.argmax(axis=1), symbols, rng)


def _information(
    agent: str, goal: str, goals: Codes, symbols: Codes, rng: np.random.Generator
) -> Iterator[Estimate]:
    """Estimate what one agent's messages tell of one goal, and the most that they could tell."""
    mean, p = permutation_test(goals, symbols, rng)
    how = (
        "The message in the middle of an episode and the goal, a pair an episode: plug-in entropies with "
        "Miller and Madow's correction, the interval by the jackknife. Without any relation it is "
        f"{mean:.3f} on average ({PERMUTATIONS} permutations; p = {p:.3f})."
    )
    low, high = jackknife_interval(goals, symbols) or (None, None)
    value = mutual_information(goals, symbols)
    yield Estimate(f"information of the message about {goal}", value, low, high, "bits", how, agent)
    how = "The most that a message can tell about it: the goal's entropy in the same episodes."
    yield Estimate(f"entropy of {goal}", entropy(goals), None, None, "bits", how, agent)
