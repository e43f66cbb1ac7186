"""A scripted player of cooperative pong, which sees both halves of the screen."""

from __future__ import annotations

from typing import Any

import numpy as np

from cesma_sb3.errors import ExpertError
from cesma_sb3.spaces.team_spaces import TeamSpaces
from cesma_sb3.spaces.types import Doubles, Masks, Observations, Packed

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _BASE = 240, 280, 10, 60, 15
"""Pixels of a half, and how far the paddles reach into theirs; where the right one is widest."""
_STILL = 6.0
"""Pixels of height between ball and paddle for which a paddle does not move; it moves 12 in a step."""
_STAY, _UP, _DOWN = 0, 1, 2


class PongPlayer:
    """Both paddles stay at the height of the ball.

    Args:
        team: The two agents, each with one grey picture of its half, or several whose newest is the last:
            [height, width] or [height, width, frames], smaller than the screen or as large.

    Raises:
        ExpertError: They have other observations or actions.

    Source: `cesma_sb3.envs.pong.HalfScreen`, with SuperSuit's `color_reduction_v0` (`full`), `resize_v1` and
        `frame_stack_v1`.
    """

    def __init__(self, team: TeamSpaces) -> None:
        shapes = [getattr(team.observation_spaces[agent], "shape", None) or () for agent in team.agents]
        if len(shapes) != 2 or shapes[0] != shapes[1] or len(shapes[0]) not in (2, 3):
            raise ExpertError(f"PongPlayer: observations {shapes}, expected two grey pictures of one shape")
        if team.column_categories != (3, 3):
            raise ExpertError(f"PongPlayer: actions {team.column_categories}, expected 3 choices for each")
        self.team = team
        self.shape = (*shapes[0], 1)[:3]

    def labels(self, observations: Observations, masks: Masks | None = None) -> Packed:
        """The moves of both paddles (`Expert.labels`)."""
        batch = len(observations)
        pictures = np.asarray(observations, dtype=np.float64).reshape(batch, 2, *self.shape)[..., -1]
        width = pictures.shape[-1]
        left, right, base = (round(width * reach / _WIDTH) for reach in (_LEFT, _RIGHT, _BASE))
        paddles = (pictures[:, 0, :, :left], pictures[:, 1, :, width - base :])
        ball = np.concatenate([pictures[:, 0, :, left:], pictures[:, 1, :, : width - right]], axis=-1)
        below = self._height(ball) - np.stack([self._height(paddle) for paddle in paddles])
        # Where there is no ball, between two cakes of the right paddle, its height is not a number.
        moves: Any = np.where(below > _STILL, _DOWN, np.where(below < -_STILL, _UP, _STAY))
        packed: Packed = moves.T.astype(np.int64)
        return packed

    def _height(self, pictures: Doubles) -> Doubles:
        """The middle of what is white in pictures [B, height, width], in pixels of the screen: [B]."""
        rows = pictures.sum(axis=2)
        total = rows.sum(axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            middle: Doubles = rows @ (np.arange(self.shape[0]) + 0.5) / total * (_HEIGHT / self.shape[0])
        return middle
