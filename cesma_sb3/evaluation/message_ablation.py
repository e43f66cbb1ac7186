"""Message ablations: a team that receives other messages than those that were sent."""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from cesma_sb3.errors import LayoutError, check_choice
from cesma_sb3.evaluation.actors import TeamActor, actor_for
from cesma_sb3.spaces.communication import MessageChannel
from cesma_sb3.spaces.team_spaces import TeamSpaces
from cesma_sb3.spaces.types import Actor, Masks, Observations, Packed

MessageAblation = Literal["shuffled", "zeroed", "random"]


def ablate_messages(
    actor: Actor, team: TeamSpaces, ablation: MessageAblation, rng: np.random.Generator
) -> TeamActor:
    """Make an actor whose received messages are replaced before it acts.

    Args:
        actor: The actor of a team that communicates.
        team: The team's spaces; their layouts declare the messages.
        ablation: `shuffled`: each environment receives the messages of another environment, all agents of the
            same one, so that symbols are as frequent as before and say nothing about the environment.
            `zeroed`: nothing is received. `random`: each message that was sent becomes one drawn uniformly,
            the same for all receivers; at the first step of an episode there is none.
        rng: Draws environments and symbols.

    Returns:
        The actor. It leaves the observations as they are. `shuffled` raises a ValueError when it is called
        with a single environment.

    Raises:
        UnknownNameError: There is no such ablation.
        LayoutError: The team does not communicate.
    """
    check_choice("message ablation", ablation, get_args(MessageAblation))
    actor, channel = actor_for(actor, team), MessageChannel.of(team)
    if channel is None:
        raise LayoutError("nobody in this team receives messages of another: there are no messages to change")

    def ablated(observations: Observations, masks: Masks | None) -> Packed:
        received = observations[:, channel.places]
        if ablation == "shuffled":
            received = received[_other_environments(len(received), rng)]
        elif ablation == "zeroed":
            received = np.zeros_like(received)
        else:
            received = np.where(
                _was_sent(channel, received), _random_messages(channel, len(received), rng), received
            )
        changed = observations.copy()
        changed[:, channel.places] = received
        return actor(changed, masks)

    return TeamActor(actor, team, ablated)


def _other_environments(n_envs: int, rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """Another environment for each one, [B]: a random cycle through all, so that none keeps its own."""
    if n_envs < 2:
        raise ValueError(
            "ablate_messages: 'shuffled' exchanges messages between environments, and there is only one"
        )
    cycle = rng.permutation(n_envs)
    others = np.empty(n_envs, dtype=np.int64)
    others[cycle] = np.roll(cycle, 1)
    return others


def _was_sent(channel: MessageChannel, received: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    """Which entries belong to a message that is not all zeros, [B, L]."""
    pairs = channel.receivers * channel.team.n_agents + channel.senders
    same = (pairs[:, None] == pairs[None, :]).astype(np.float32)
    sent: npt.NDArray[np.bool_] = (np.abs(received) @ same) > 0
    return sent


def _random_messages(
    channel: MessageChannel, n_envs: int, rng: np.random.Generator
) -> npt.NDArray[np.float32]:
    """Received entries of uniformly drawn messages, [B, L]."""
    team = channel.team
    bounds: Any = team.action_space  # a Box wherever a column is continuous
    actions = np.zeros((n_envs, team.n_columns), dtype=np.float32)
    for column in np.unique(channel.columns):
        n_categories = team.column_categories[column]
        if n_categories:
            actions[:, column] = rng.integers(n_categories, size=n_envs)
            continue
        actions[:, column] = rng.uniform(bounds.low[column], bounds.high[column], size=n_envs)
    return channel.encode(actions)
