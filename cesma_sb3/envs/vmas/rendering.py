"""Frames of a VMAS world, drawn without a display: VMAS's own need a window system."""

from __future__ import annotations

from typing import Any

import numpy as np

from cesma_sb3.envs.canvas import Canvas, Color, darker
from cesma_sb3.spaces.types import Doubles, Pixels

MARGIN = 1.15
"""What the frame shows, in half widths of the scenario's world or distances of the farthest agent."""


def world_frame(env: Any, *, caption: str) -> Pixels:
    """A frame [SIZE, SIZE, 3] uint8 of the first world: agents with their numbers over what they move.

    Args:
        env: VMAS's environment.
        caption: A line in the lower left corner.
    """
    world, agents = env.world, list(env.world.agents)
    limits = [float(limit) for limit in (world.x_semidim, world.y_semidim) if limit is not None]
    farthest = max(float(agent.state.pos[0].abs().max()) for agent in agents)
    floor = max(limits, default=1.0)
    canvas = Canvas(MARGIN * max(floor, farthest), floor=floor)
    for entity in [each for each in world.entities if each not in agents] + agents:
        _draw(canvas, entity)
    for number, agent in enumerate(agents):
        canvas.number(_place(agent), number, height=agent.shape.circumscribed_radius())
    canvas.caption(caption)
    return canvas.pixels()


def _draw(canvas: Canvas, entity: Any) -> None:
    """Draws a sphere, a box or a line of VMAS."""
    color, xy = _color(entity), _place(entity)
    if (radius := getattr(entity.shape, "radius", None)) is not None:
        canvas.disk(xy, radius, fill=color, edge=darker(color, 0.3), opacity=220)
        return
    angle, shape = float(entity.state.rot[0]), entity.shape
    along = np.array([np.cos(angle), np.sin(angle)]) * shape.length / 2
    if not hasattr(shape, "hollow"):  # a line; its width is in pixels
        canvas.line(xy - along, xy + along, color)
        return
    across = np.array([-np.sin(angle), np.cos(angle)]) * shape.width / 2
    canvas.polygon(
        [xy + along + across, xy - along + across, xy - along - across, xy + along - across], color
    )


def _place(entity: Any) -> Doubles:
    xy: Doubles = entity.state.pos[0].numpy().astype(np.float64)
    return xy


def _color(entity: Any) -> Color:
    color = np.asarray(entity.color, dtype=np.float64)
    red, green, blue = (color if color.ndim == 1 else color[0])[:3]
    return round(255 * red), round(255 * green), round(255 * blue)
