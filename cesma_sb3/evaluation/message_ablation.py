"""A team that hears something else than what was said: what does its communication carry?"""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from cesma_sb3.errors import LayoutError, check_choice
from cesma_sb3.evaluation.reorder import acting_for, made_for, with_memory_of
from cesma_sb3.experts.base import Actions, Actor, Masks, Observations
from cesma_sb3.spaces.communication import MessageChannel
from cesma_sb3.spaces.team_spaces import TeamSpaces

Change = Literal["shuffled", "zeroed", "random"]


def with_channel(act: Actor, team: TeamSpaces, change: Change, rng: np.random.Generator) -> Actor:
    """The same team, with the messages that it hears changed before it acts.

    Args:
        act: Who acts.
        team: The team's spaces; their layouts declare the messages.
        change: `shuffled`: each world hears what was said in another world, all agents in the same one, so
            that the symbols are as frequent as before and say nothing about the world. `zeroed`: nobody says
            anything. `random`: each message that was sent becomes one drawn uniformly, the same for all who
            hear it; at the first step of an episode there is none.
        rng: Draws worlds and symbols.

    Returns:
        An `Actor`. The given observations are left as they are. `shuffled` raises a ValueError when it is
        called with a single world.

    Raises:
        UnknownNameError: There is no such change.
        LayoutError: The team has no channel.
    """
    check_choice("change of the channel", change, get_args(Change))
    act, channel = acting_for(act, team), MessageChannel.of(team)
    if channel is None:
        raise LayoutError("nobody in this team hears what another says: there are no messages to change")

    def changed(observations: Observations, masks: Masks | None) -> Actions:
        heard = observations[:, channel.places]
        if change == "shuffled":
            heard = heard[_other_worlds(len(heard), rng)]
        elif change == "zeroed":
            heard = np.zeros_like(heard)
        else:
            heard = np.where(_was_sent(channel, heard), _random_messages(channel, len(heard), rng), heard)
        with_changed = observations.copy()
        with_changed[:, channel.places] = heard
        return act(with_changed, masks)

    return made_for(with_memory_of(act, changed), team)


def _other_worlds(n_worlds: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """For each world another one: a random cycle through all, so that none keeps its own."""
    if n_worlds < 2:
        raise ValueError("with_channel: 'shuffled' exchanges messages between worlds, and there is only one")
    cycle = rng.permutation(n_worlds)
    others = np.empty(n_worlds, dtype=np.int64)
    others[cycle] = np.roll(cycle, 1)
    return others


def _was_sent(channel: MessageChannel, heard: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    """Which entries belong to a message that is not all zeros, [B, L]."""
    pairs = channel.receivers * channel.team.n_agents + channel.senders
    same = (pairs[:, None] == pairs[None, :]).astype(np.float32)
    sent: npt.NDArray[np.bool_] = (np.abs(heard) @ same) > 0
    return sent


def _random_messages(
    channel: MessageChannel, n_worlds: int, rng: np.random.Generator
) -> npt.NDArray[np.float32]:
    """What is heard of uniform messages, [B, L]."""
    team = channel.team
    bounds: Any = team.action_space  # a Box wherever a column is a number
    actions = np.zeros((n_worlds, team.n_columns), dtype=np.float32)
    for column in np.unique(channel.columns):
        n_categories = team.column_categories[column]
        if n_categories:
            actions[:, column] = rng.integers(n_categories, size=n_worlds)
            continue
        actions[:, column] = rng.uniform(bounds.low[column], bounds.high[column], size=n_worlds)
    return channel.encode(actions)
