"""Treatment of actions that are not available to a unit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np

from cesma_sb3.errors import EnvError, UnknownNameError
from cesma_sb3.spaces.types import Array, Index

Unavailable = Literal["refuse", "replace"]
"""`refuse`: an error, as in SMAC. `replace`: the first available action, for learners without masks."""


def checked(unavailable: str) -> Unavailable:
    """One of the two treatments, by its name.

    Raises:
        UnknownNameError: It is neither.
    """
    for known in get_args(Unavailable):
        if unavailable == known:
            found: Unavailable = known
            return found
    raise UnknownNameError.of("way with unavailable actions", unavailable, get_args(Unavailable))


def available_actions(
    actions: Array,
    masks: Array,
    unavailable: Unavailable,
    *,
    battle: str,
    agents: Sequence[str],
) -> Index:
    """The actions, if all are available, else their replacements.

    Args:
        actions: Integers [B, A].
        masks: Available actions, [B, A, n_actions].
        unavailable: The treatment of the others.
        battle: The battle's name in messages.
        agents: The agents' names in messages.

    Raises:
        EnvError: An action is not available, and that is refused.
    """
    chosen = np.asarray(actions).astype(np.int64)
    possible = (chosen >= 0) & (chosen < masks.shape[2])
    can = np.take_along_axis(masks, np.where(possible, chosen, 0)[..., None], axis=2)[..., 0] > 0
    can &= possible
    if can.all():
        return chosen
    if unavailable == "replace":
        first: Index = np.where(can, chosen, masks.argmax(axis=2))
        return first
    where, agent = np.argwhere(~can)[0]
    left = ", ".join(map(str, np.flatnonzero(masks[where, agent])))
    raise EnvError(f"{battle}: {agents[agent]} cannot do {chosen[where, agent]}; available: {left}")
