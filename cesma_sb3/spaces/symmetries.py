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
from cesma_sb3.spaces.action_views import ProductActions
from cesma_sb3.spaces.layout import ActionPart
from cesma_sb3.spaces.team_spaces import TeamSpaces
from cesma_sb3.spaces.types import Doubles, Flags, Floats, Index


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
        LayoutError: An action is a number; or no move has directions, a move has none, too many or too few,
            or directions that are not symmetric; or a layout leaves out what a column of actions does; or
            nothing that is seen is planar.
    """
    moves = [part for layout in team.layouts.values() for part in layout.action if part.kind == "move"]
    # What no layout speaks of may be a move too, which would stay as it is where all others are turned.
    named = {
        columns.start + part.column
        for columns, agent in zip(team.action_columns, team.agents, strict=True)
        for part in team.layouts[agent].action
    }
    is_whole = all(column in named or k == 1 for column, k in enumerate(team.column_categories))
    is_planar = any(part.is_planar for each in team.layouts.values() for part in each.observation.parts)
    if not (is_planar and moves and is_whole) or any(part.directions is None for part in moves):
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


def of_products(symmetries: Symmetries, view: ProductActions) -> Index:
    """What each joint action, by its number in the view `product`, becomes: [G, joint actions]."""
    packed = view.decode(np.arange(view.n_actions))
    changed = symmetries.categories[:, np.arange(packed.shape[1]), packed]
    return np.stack([view.encode(each) for each in changed])


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
                column = columns.start + part.column
                n = team.column_categories[column]
                categories[column, :n] = _moved(part, square, n)
    return categories


def _moved(part: ActionPart, square: Doubles, n: int) -> Index:
    """The category that goes where each of n categories of a move goes after the symmetry."""
    if part.directions is None or [len(each) for each in part.directions] != [2] * n:
        raise LayoutError(
            f"action part {part.name!r}: expected a direction (x, y) of each of its {n} categories, got "
            f"{part.directions}"
        )
    directions = np.array(part.directions)
    is_alike, is_there = _are_close(directions, directions), _are_close(directions @ square.T, directions)
    # Several categories of one direction, such as to stay and to pick up, keep their order.
    rank = np.tril(is_alike, -1).sum(axis=1)
    becomes = is_there & (is_there.cumsum(axis=1) == rank[:, None] + 1)
    if not becomes.any(axis=1).all():
        raise LayoutError(
            f"action part {part.name!r}: its directions are not those of a square: {part.directions}"
        )
    moved: Index = becomes.argmax(axis=1)
    return moved


def _are_close(one: Doubles, other: Doubles) -> Flags:
    """Which vectors [K, 2] equal which [L, 2], up to rounding: [K, L]."""
    close: Flags = np.abs(one[:, None] - other).sum(axis=-1) < 1e-6
    return close
