"""Pictures of a particle world, drawn with pygame, which is imported when the first picture is asked for."""

from __future__ import annotations

import colorsys
import os
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from cesma_sb3.envs.particle.scenario import Scenario
    from cesma_sb3.envs.particle.world import World

Color = tuple[int, int, int]

FRAMES_PER_SECOND = 10
SIZE = 600
"""Width and height of a picture in pixels."""
# Drawn larger and scaled down: smooth edges in every version of pygame.
OVERSAMPLING = 3
# Half the width that the camera shows; the start positions lie within 1.
VIEW = 1.3
BACKGROUND: Color = (251, 251, 249)
FLOOR: Color = (241, 241, 238)
INK: Color = (58, 62, 70)
LANDMARK: Color = (150, 153, 158)
TOUCHING: Color = (214, 39, 40)
# Told apart also by most who do not see all colours; red is kept for collisions.
PALETTE: tuple[Color, ...] = (
    (43, 108, 176),
    (235, 140, 35),
    (56, 148, 104),
    (130, 88, 178),
    (30, 160, 180),
    (170, 120, 70),
)


class Renderer:
    """Draws one world at a time, sizes true to scale: agents in colours with their numbers, landmarks grey.

    Agents that touch have a red edge.

    Args:
        scenario: Whose bodies are drawn.
    """

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self._window: Any = None
        self._clock: Any = None

    def frame(self, world: World, index: int = 0, caption: str = "") -> npt.NDArray[np.uint8]:
        """A picture [SIZE, SIZE, 3].

        Args:
            world: The worlds.
            index: Which of them.
            caption: A line in the corner.
        """
        pygame = _pygame()
        pixels = pygame.surfarray.array3d(self._draw(world, index, caption))
        return np.ascontiguousarray(np.swapaxes(pixels, 0, 1), dtype=np.uint8)

    def show(self, world: World, index: int = 0, caption: str = "") -> None:
        """Draws into a window, at most `FRAMES_PER_SECOND` times a second."""
        pygame = _pygame()
        if self._window is None:
            pygame.display.init()
            self._window = pygame.display.set_mode((SIZE, SIZE))
            pygame.display.set_caption(self.scenario.name)
            self._clock = pygame.time.Clock()
        self._window.blit(self._draw(world, index, caption), (0, 0))
        pygame.event.pump()  # without it the system thinks that the window hangs
        pygame.display.flip()
        self._clock.tick(FRAMES_PER_SECOND)

    def close(self) -> None:
        """Closes the window, if there is one."""
        if self._window is not None:
            _pygame().display.quit()
            self._window = self._clock = None

    def _draw(self, world: World, index: int, caption: str) -> Any:
        pygame = _pygame()
        canvas = pygame.Surface((SIZE * OVERSAMPLING, SIZE * OVERSAMPLING))
        canvas.fill(BACKGROUND)
        positions = world.positions[:, :, index]
        bodies = (*self.scenario.agents, *self.scenario.landmarks)
        # The camera stands still and only moves back when somebody leaves the picture.
        reach = max(float(np.abs(xy).max()) + body.size for body, xy in zip(bodies, positions, strict=True))
        scale = SIZE * OVERSAMPLING / (2 * max(VIEW, reach * 1.05))

        def pixel(xy: npt.NDArray[np.float64]) -> tuple[float, float]:
            middle = SIZE * OVERSAMPLING / 2
            return middle + scale * float(xy[0]), middle - scale * float(xy[1])

        corner = pixel(np.array([-1.0, 1.0]))
        pygame.draw.rect(canvas, FLOOR, (*corner, 2 * scale, 2 * scale), border_radius=int(0.03 * scale))
        n_agents = world.n_agents
        touching = world.collisions()[:, index] > 0
        for body, xy in zip(bodies[n_agents:], positions[n_agents:], strict=True):
            _disk(canvas, pixel(xy), body.size * scale, body.color or LANDMARK, opacity=255, edge=None)
        for number, (body, xy) in enumerate(zip(bodies[:n_agents], positions[:n_agents], strict=True)):
            color = body.color or agent_color(number)
            edge = TOUCHING if touching[number] else _mix(color, (0, 0, 0), 0.25)
            _disk(canvas, pixel(xy), body.size * scale, color, opacity=175, edge=edge)
            _text(
                canvas,
                str(number),
                pixel(xy),
                height=min(0.13, 1.1 * body.size) * scale,
                color=(255, 255, 255),
            )
        if caption:
            margin, height = 14 * OVERSAMPLING, 17 * OVERSAMPLING
            _text(
                canvas,
                caption,
                (margin, SIZE * OVERSAMPLING - margin),
                height=height,
                color=INK,
                centered=False,
            )
        return pygame.transform.smoothscale(canvas, (SIZE, SIZE))


def agent_color(number: int) -> Color:
    """A colour for each agent: the palette, then hues as far apart as they go."""
    if number < len(PALETTE):
        return PALETTE[number]
    hue = (number * 0.618034) % 1.0
    red, green, blue = colorsys.hls_to_rgb(hue, 0.45, 0.5)
    return int(red * 255), int(green * 255), int(blue * 255)


def _disk(
    canvas: Any, center: tuple[float, float], radius: float, color: Color, *, opacity: int, edge: Color | None
) -> None:
    pygame = _pygame()
    side = int(2 * radius) + 4
    layer = pygame.Surface((side, side), pygame.SRCALPHA)
    middle = (side / 2, side / 2)
    pygame.draw.circle(layer, (*color, opacity), middle, radius)
    if edge is not None:
        pygame.draw.circle(layer, (*edge, 255), middle, radius, 2 * OVERSAMPLING)
    canvas.blit(layer, (round(center[0] - side / 2), round(center[1] - side / 2)))


def _text(
    canvas: Any, text: str, at: tuple[float, float], *, height: float, color: Color, centered: bool = True
) -> None:
    pygame = _pygame()
    picture = pygame.font.Font(None, max(8, int(height * 1.4))).render(text, True, color)
    place = picture.get_rect(center=at) if centered else picture.get_rect(bottomleft=at)
    canvas.blit(picture, place)


def _mix(color: Color, other: Color, share: float) -> Color:
    red, green, blue = (round((1 - share) * a + share * b) for a, b in zip(color, other, strict=True))
    return red, green, blue


def _pygame() -> Any:
    """The module, without its greeting on standard output."""
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    import pygame  # a window library is no business of a training run

    if not pygame.font.get_init():
        pygame.font.init()
    return pygame
