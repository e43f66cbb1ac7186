"""Pictures of a particle world, drawn with pygame, which is imported when the first picture is asked for."""

from __future__ import annotations

import colorsys
import os
from collections.abc import Sequence
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

    Agents that touch have a red edge. Where agents have goals of their own, each landmark has a colour, and
    an agent is drawn in a light shade of its goal's (grey without one). What an agent said last is quoted
    above it: the symbol, or of a continuous message the largest.

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
        bodies = (*self.scenario.agents, *self.scenario.landmarks)
        drawn = list(zip(bodies, world.positions[:, :, index], strict=True))
        agents, landmarks = drawn[: world.n_agents], drawn[world.n_agents :]
        touching = world.collisions()[:, index] > 0
        # The camera stands still and only moves back when somebody leaves the picture.
        reach = max(float(np.abs(xy).max()) + body.size for body, xy in drawn)
        canvas = _Canvas(half_width=max(VIEW, 1.05 * reach))
        agent_colors, landmark_colors = self._colors(world, index)

        for (body, xy), color in zip(landmarks, landmark_colors, strict=True):
            canvas.disk(xy, body.size, fill=color)
        for number, ((body, xy), color) in enumerate(zip(agents, agent_colors, strict=True)):
            edge = TOUCHING if touching[number] else _darker(color, 0.25)
            canvas.disk(xy, body.size, fill=color, edge=edge, opacity=175)
        # Once more, as rings, so that a landmark is seen under the agent that covers it.
        for (body, xy), color in zip(landmarks, landmark_colors, strict=True):
            canvas.disk(xy, body.size, edge=_darker(color, 0.35))
        for number, (body, xy) in enumerate(agents):
            canvas.number(xy, number, height=min(0.13, 1.1 * body.size))
            message = world.messages[number, :, index]
            if not body.silent and message.any():  # at the start of an episode nothing was said yet
                canvas.saying((xy[0], xy[1] + body.size), str(message.argmax()))
        canvas.caption(caption)
        return canvas.picture()

    def _colors(self, world: World, index: int) -> tuple[list[Color], list[Color]]:
        """Of agents and of landmarks."""
        goals = self.scenario.goals(world)
        agents = [agent_color(number) for number in range(world.n_agents)]
        landmarks = [LANDMARK] * len(world.landmarks)
        if goals is not None:
            landmarks = [agent_color(number) for number in range(len(landmarks))]
            agents = [LANDMARK if goal < 0 else landmarks[goal] for goal in goals[:, index]]
        return (
            [body.color or color for body, color in zip(self.scenario.agents, agents, strict=True)],
            [body.color or color for body, color in zip(self.scenario.landmarks, landmarks, strict=True)],
        )


class _Canvas:
    """A picture in the world's own units; up is up.

    Args:
        half_width: What the camera sees on each side of the middle.
    """

    def __init__(self, half_width: float) -> None:
        self._pygame = _pygame()
        self._pixels = SIZE * OVERSAMPLING
        self._scale = self._pixels / (2 * half_width)
        self._surface = self._pygame.Surface((self._pixels, self._pixels))
        self._surface.fill(BACKGROUND)
        left, top = self._pixel((-1.0, 1.0))
        floor = (left, top, 2 * self._scale, 2 * self._scale)
        self._pygame.draw.rect(self._surface, FLOOR, floor, border_radius=int(0.03 * self._scale))

    def disk(
        self,
        xy: Sequence[float] | npt.NDArray[np.float64],
        radius: float,
        *,
        fill: Color | None = None,
        edge: Color | None = None,
        opacity: int = 255,
    ) -> None:
        """A disk, or its edge alone."""
        radius *= self._scale
        side = int(2 * radius) + 4
        # A layer of its own: pygame draws on a picture without mixing colours.
        layer = self._pygame.Surface((side, side), self._pygame.SRCALPHA)
        middle = (side / 2, side / 2)
        if fill is not None:
            self._pygame.draw.circle(layer, (*fill, opacity), middle, radius)
        if edge is not None:
            self._pygame.draw.circle(layer, (*edge, 255), middle, radius, 2 * OVERSAMPLING)
        x, y = self._pixel(xy)
        self._surface.blit(layer, (round(x - side / 2), round(y - side / 2)))

    def number(self, xy: npt.NDArray[np.float64], number: int, height: float) -> None:
        """Digits centred at a place."""
        text = self._text(str(number), height * self._scale, (255, 255, 255))
        self._surface.blit(text, text.get_rect(center=self._pixel(xy)))

    def saying(self, xy: Sequence[float], symbol: str) -> None:
        """A quoted symbol just above a place."""
        text = self._text(f"\u201c{symbol}\u201d", 15 * OVERSAMPLING, INK)
        self._surface.blit(text, text.get_rect(midbottom=self._pixel(xy)))

    def caption(self, text: str) -> None:
        """A line in the lower left corner."""
        margin = 14 * OVERSAMPLING
        line = self._text(text, 17 * OVERSAMPLING, INK)
        self._surface.blit(line, line.get_rect(bottomleft=(margin, self._pixels - margin)))

    def picture(self) -> Any:
        """The picture at its final size, a pygame Surface."""
        return self._pygame.transform.smoothscale(self._surface, (SIZE, SIZE))

    def _text(self, text: str, height: float, color: Color) -> Any:
        return self._pygame.font.Font(None, max(8, int(height * 1.4))).render(text, True, color)

    def _pixel(self, xy: Sequence[float] | npt.NDArray[np.float64]) -> tuple[float, float]:
        middle = self._pixels / 2
        return middle + self._scale * float(xy[0]), middle - self._scale * float(xy[1])


def agent_color(number: int) -> Color:
    """A colour for each agent: the palette, then hues as far apart as they go."""
    if number < len(PALETTE):
        return PALETTE[number]
    hue = (number * 0.618034) % 1.0
    red, green, blue = colorsys.hls_to_rgb(hue, 0.45, 0.5)
    return int(red * 255), int(green * 255), int(blue * 255)


def _darker(color: Color, share: float) -> Color:
    red, green, blue = (round((1 - share) * value) for value in color)
    return red, green, blue


def _pygame() -> Any:
    """The module, without its greeting on standard output."""
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    import pygame  # a window library is no business of a training run

    if not pygame.font.get_init():
        pygame.font.init()
    return pygame
