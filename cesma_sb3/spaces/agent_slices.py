"""Which entries and columns of a joint environment are an agent's, as an experiment writes them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from cesma_sb3.errors import ConfigError
from cesma_sb3.spaces.team_spaces import TeamSpaces
from cesma_sb3.spaces.types import Index


class AgentSlice(NamedTuple):
    """One agent's part of a joint environment: entries of the flat observation, and columns of the action.

    Both are written as in Python, ends excluded: `0:6`, `3`, or several: `0:3, 12, 15:18`.
    """

    observation: str
    action: str


def partition_indices(slices: Mapping[str, AgentSlice], team: TeamSpaces) -> dict[str, dict[str, Any]]:
    """The part of the undivided environment that each agent of a declared team has, as plain values.

    Args:
        slices: By agent.
        team: The declared team.

    Returns:
        By agent `observation` and `action`, each with the `share` as it was written, its `places`, and the
        `size` of the whole; and `mask`, with `places` and `size` alone, or None where the team has no masks.
    """
    places = {
        agent: {what: indices(text, None, f"{agent}.{what}") for what, text in own._asdict().items()}
        for agent, own in slices.items()
    }
    sizes = {
        what: len({place for own in places.values() for place in own[what].tolist()})
        for what in ("observation", "action")
    }
    sizes["observation"] += team.n_unseen
    found: dict[str, dict[str, Any]] = {}
    for agent, own in slices.items():
        found[agent] = {
            what: {"share": text, "places": places[agent][what].tolist(), "size": sizes[what]}
            for what, text in own._asdict().items()
        }
        found[agent]["mask"] = None
    if team.has_masks:
        categories = np.zeros(sizes["action"], dtype=int)
        for agent, columns in zip(team.agents, team.action_columns, strict=True):
            moves = places[agent]["action"]  # a message is behind them
            categories[moves] = team.column_categories[columns][: len(moves)]
        flags = np.split(np.arange(categories.sum()), np.cumsum(categories)[:-1])
        for agent, own_places in places.items():
            mask = np.concatenate([flags[column] for column in own_places["action"]])
            found[agent]["mask"] = {"places": mask.tolist(), "size": int(categories.sum())}
    return found


def indices(text: str, size: int | None, where: str) -> Index:
    """The indices that a text such as `0:3, 5` names, in its order: [0, 1, 2, 5].

    Args:
        text: As `AgentSlice` has it.
        size: What all are below; None: that is not known.
        where: What messages call the text.

    Raises:
        ConfigError: It is no such text, leads out of the size, or names a place twice.
    """
    found: list[int] = []
    for word in text.split(","):
        match = re.fullmatch(r"\s*(\d+)(?:\s*:\s*(\d+))?\s*", word)
        if match is None:
            raise ConfigError(f"a declared team: {where}: {text!r}, expected such as '0:3, 5'")
        first = int(match[1])
        last = first + 1 if match[2] is None else int(match[2])
        if not first < last or (size is not None and last > size):
            raise ConfigError(f"a declared team: {where}: {word.strip()!r}, expected places below {size}")
        found += range(first, last)
    if len(set(found)) < len(found):
        raise ConfigError(f"a declared team: {where}: {text!r} names a place twice")
    return np.array(found, dtype=np.int64)
