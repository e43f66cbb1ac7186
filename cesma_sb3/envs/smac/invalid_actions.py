"""What becomes of an action that a unit cannot do now."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np

from cesma_sb3.errors import EnvError, UnknownNameError
from cesma_sb3.spaces.types import Array, Index

Unavailable = Literal["refuse", "replace"]
"""`refuse`: it is an error, as in SMAC. `replace`: the first action that is available is done in its place,
for learners that know no masks."""


def checked(unavailable: str) -> Unavailable:
    """One of the two.

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
    """Actions that can be done.

    Args:
        actions: [B, A] integers.
        masks: What is available, [B, A, n_actions].
        unavailable: What to do with the others.
        battle: For messages.
        agents: Likewise.

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
