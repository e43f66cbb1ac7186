"""Joint observations in the form that a model was trained on: a vector, a matrix, or a Dict by agent.

Shapes: B batch, I entries of the joint observation.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from gymnasium import spaces

from cesma_sb3.spaces.agent_spaces import ActionColumns, are_equal, flat_bounds, slices_of, without_mask
from cesma_sb3.spaces.team_spaces import TeamSpaces
from cesma_sb3.spaces.types import Array, Observations, Space

Form = Callable[[Observations], Any]
"""Makes of joint observations [B, I] what a model is given."""


def form_of(space: Space, team: TeamSpaces) -> Form | None:
    """How joint observations become a batch of elements of a model's observation space.

    | the model's space | of |
    |---|---|
    | Box [I] | the joint observation |
    | Box [agents, entries] | a row for each agent, all of as many entries |
    | Dict with the agents' names as keys | each agent's observation (`MultiInputPolicy`) |
    | the undivided environment's own: Box of any shape, Dict | what was divided among the agents |

    Bounds of a Box may differ.

    Args:
        space: Of the model.
        team: The team that it controls.

    Returns:
        The form; None: the space is of another team.
    """
    n, sizes = team.observation_size, team.observation_sizes
    if isinstance(space, spaces.Dict) and set(map(str, space.spaces)) == set(team.agents):
        members = {key: (member, team.agents.index(str(key))) for key, member in space.spaces.items()}
        if all(_size(member) == sizes[agent] for member, agent in members.values()):
            where = {
                key: (member, team.observation_slices[agent]) for key, (member, agent) in members.items()
            }
            return lambda joint: {
                key: unflatten(member, joint[:, own]) for key, (member, own) in where.items()
            }
    own = without_mask(team.observation_spaces[team.agents[0]])[0] if team.n_agents == 1 else None
    if isinstance(space, spaces.Box):
        shapes: list[tuple[int, ...]] = [(n,)]
        if len(set(sizes)) == 1:
            shapes.append((team.n_agents, sizes[0]))
        if isinstance(own, spaces.Box):
            shapes.append(own.shape)
        return (lambda joint: unflatten(space, joint)) if space.shape in shapes else None
    if own is not None and are_equal(space, own):
        return lambda joint: unflatten(space, joint)
    return None


def unflatten(space: Any, flat: Array) -> Any:
    """A batch of vectors as a batch of elements of the space: the way back from `spaces.flatten`.

    Args:
        space: Box, Discrete, MultiDiscrete, MultiBinary, or a Dict or Tuple of these.
        flat: [B, size].

    Returns:
        [B, ...] in the space's dtype; of a Dict or Tuple such an array for each member.
    """
    if isinstance(space, spaces.Dict | spaces.Tuple):
        members = list(space.spaces.values()) if isinstance(space, spaces.Dict) else list(space.spaces)
        parts = [
            unflatten(member, flat[:, where])
            for member, where in zip(members, slices_of([_size(member) for member in members]), strict=True)
        ]
        return dict(zip(space.spaces, parts, strict=True)) if isinstance(space, spaces.Dict) else tuple(parts)
    shape = (len(flat), *space.shape)
    if isinstance(space, spaces.Discrete | spaces.MultiDiscrete):
        columns = ActionColumns.of(space)
        choices = [flat[:, where].argmax(axis=1) for where in slices_of(columns.categories)]
        return (np.stack(choices, axis=1) + columns.start).reshape(shape).astype(space.dtype)
    return flat.reshape(shape).astype(space.dtype)


def _size(space: Space) -> int:
    return len(flat_bounds(space)[0])
