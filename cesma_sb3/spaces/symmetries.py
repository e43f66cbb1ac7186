"""Turns and mirror images of the plane that a team lives in, as changes of its observations and actions.

In a world without preferred directions, a transition that is turned by a multiple of 90 degrees, or mirrored,
is a transition of that world too, with the same rewards. Layouts say which entries of an observation are
vectors of the plane (`Part.is_planar`) and in which direction each category of a move goes
(`ActionPart.directions`): then one transition is worth eight.

Shape suffixes: G symmetries, I entries of the joint observation, C columns of a packed joint action, K
categories of the column that has the most.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from cesma_sb3.errors import LayoutError
from cesma_sb3.spaces.layout import ActionPart
from cesma_sb3.spaces.team_spaces import TeamSpaces
from cesma_sb3.spaces.types import Doubles, Floats, Index


class Symmetries(NamedTuple):
    """The symmetries of a team, the first of which changes nothing.

    By symmetry g, observation o becomes `o[entries[g]] * signs[g]`, and category k of column c becomes
    `categories[g, c, k]`.
    """

    entries: Index
    """[G, I]"""
    signs: Floats
    """[G, I]"""
    categories: Index
    """[G, C, K]; what a column does not have is 0."""


def plane_symmetries(team: TeamSpaces) -> Symmetries:
    """The eight symmetries of the square, for a team whose layouts declare what they change.

    Args:
        team: The team; its actions are categorical.

    Raises:
        LayoutError: An action is a number; or no move has directions, a move has none, or directions that are
            not symmetric.
    """
    moves = [part for layout in team.layouts.values() for part in layout.action if part.kind == "move"]
    if not moves or any(part.directions is None for part in moves):
        raise LayoutError(
            "symmetries: expected layouts that name the `directions` of every move, and the parts of "
            "observations that are `planar`"
        )
    if not team.is_discrete:  # a number that is sent or done would be taken for a category
        raise LayoutError("symmetries: expected a team whose actions are categories, all of them")
    squares = [_square(swap, x, y) for swap in (False, True) for x in (1, -1) for y in (1, -1)]
    changes = [_of_observations(team, square) for square in squares]
    return Symmetries(
        np.stack([entries for entries, _ in changes]),
        np.stack([signs for _, signs in changes]),
        np.stack([_of_actions(team, square) for square in squares]),
    )


def _square(swap: bool, x: int, y: int) -> Doubles:
    """A symmetry of the square as a matrix [2, 2] for vectors (x, y): signs, after an exchange of axes."""
    matrix: Doubles = np.diag([float(x), float(y)])
    return matrix[:, ::-1] if swap else matrix


def _of_observations(team: TeamSpaces, square: Doubles) -> tuple[Index, Floats]:
    """From which entry each entry comes, and its sign: [I] each."""
    entries, signs = np.arange(team.observation_size), np.ones(team.observation_size, dtype=np.float32)
    for where, agent in zip(team.observation_slices, team.agents, strict=True):
        start = where.start
        for part in team.layouts[agent].observation.parts:
            if part.is_planar:
                pairs = entries[start : start + part.width].reshape(-1, 2)
                pairs[:] = pairs[:, np.abs(square).argmax(axis=1)]
                signs[start : start + part.width].reshape(-1, 2)[:] = square.sum(axis=1)
            start += part.width
    return entries, signs


def _of_actions(team: TeamSpaces, square: Doubles) -> Index:
    """What each category of each column becomes: [C, K]."""
    categories = np.zeros((team.n_columns, max(team.column_categories)), dtype=np.int64)
    for column, count in enumerate(team.column_categories):
        categories[column, :count] = np.arange(count)
    for columns, agent in zip(team.action_columns, team.agents, strict=True):
        for part in team.layouts[agent].action:
            if part.directions is not None:
                moved = _moved(part, square)
                categories[columns.start + part.column, : len(moved)] = moved
    return categories


def _moved(part: ActionPart, square: Doubles) -> Index:
    """The category that goes where each category of a move goes after the symmetry."""
    directions = np.array(part.directions)
    distances = np.abs((directions @ square.T)[:, None] - directions).sum(axis=-1)
    if (distances.min(axis=1) > 1e-6).any():
        raise LayoutError(
            f"action part {part.name!r}: its directions are not those of a square: {part.directions}"
        )
    nearest: Index = distances.argmin(axis=1)
    return nearest
