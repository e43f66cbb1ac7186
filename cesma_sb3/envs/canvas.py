"""Drawing of frames with pygame, which is imported when the first frame is drawn."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from cesma_sb3.spaces.types import Doubles, Pixels

Color = tuple[int, int, int]

SIZE = 600
"""The width and height of a frame in pixels."""
# Drawn larger and scaled down: smooth edges in every version of pygame.
OVERSAMPLING = 3
BACKGROUND: Color = (251, 251, 249)
FLOOR: Color = (241, 241, 238)
INK: Color = (58, 62, 70)


class Canvas:
    """A frame that is drawn in the environment's own units, with y upwards.

    Args:
        half_width: The visible distance on each side of the middle.
        middle: The point in the middle of the frame.
        floor: Half the side of the square floor around the middle.
    """

    def __init__(
        self, half_width: float, *, middle: tuple[float, float] = (0.0, 0.0), floor: float = 1.0
    ) -> None:
        self._pygame = pygame_module()
        self._pixels = SIZE * OVERSAMPLING
        self._scale = self._pixels / (2 * half_width)
        self._surface = self._pygame.Surface((self._pixels, self._pixels))
        self._surface.fill(BACKGROUND)
        self._middle = middle
        left, top = self._pixel((middle[0] - floor, middle[1] + floor))
        square = (left, top, 2 * floor * self._scale, 2 * floor * self._scale)
        self._pygame.draw.rect(self._surface, FLOOR, square, border_radius=int(0.03 * floor * self._scale))

    def disk(
        self,
        xy: Sequence[float] | Doubles,
        radius: float,
        *,
        fill: Color | None = None,
        edge: Color | None = None,
        opacity: int = 255,
    ) -> None:
        """Draws a disk, or its edge alone."""
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

    def line(self, start: Doubles, end: Doubles, color: Color) -> None:
        """Draws a line between two points."""
        self._pygame.draw.line(self._surface, color, self._pixel(start), self._pixel(end), 2 * OVERSAMPLING)

    def polygon(self, corners: Sequence[Doubles], color: Color) -> None:
        """Draws a filled polygon."""
        self._pygame.draw.polygon(self._surface, color, [self._pixel(corner) for corner in corners])

    def bar(self, xy: Sequence[float], width: float, share: float, color: Color) -> None:
        """Draws a bar that is filled by a fraction, centred at a point."""
        height, full = 5 * OVERSAMPLING, width * self._scale
        x, y = self._pixel(xy)
        left, top = x - full / 2, y - height / 2
        self._pygame.draw.rect(self._surface, FLOOR, (left, top, full, height))
        self._pygame.draw.rect(self._surface, color, (left, top, full * share, height))

    def number(self, xy: Doubles, number: int, height: float) -> None:
        """Draws a number centred at a point."""
        text = self._text(str(number), height * self._scale, (255, 255, 255))
        self._surface.blit(text, text.get_rect(center=self._pixel(xy)))

    def saying(self, xy: Sequence[float], symbol: str) -> None:
        """Draws a quoted symbol just above a point."""
        text = self._text(f"\u201c{symbol}\u201d", 15 * OVERSAMPLING, INK)
        self._surface.blit(text, text.get_rect(midbottom=self._pixel(xy)))

    def caption(self, text: str) -> None:
        """Draws a line of text in the lower left corner."""
        margin = 14 * OVERSAMPLING
        line = self._text(text, 17 * OVERSAMPLING, INK)
        self._surface.blit(line, line.get_rect(bottomleft=(margin, self._pixels - margin)))

    def picture(self) -> Any:
        """The frame at its final size, a pygame Surface."""
        return self._pygame.transform.smoothscale(self._surface, (SIZE, SIZE))

    def pixels(self) -> Pixels:
        """The frame [SIZE, SIZE, 3] uint8."""
        pixels = self._pygame.image.tobytes(self.picture(), "RGB")
        return np.frombuffer(bytearray(pixels), dtype=np.uint8).reshape(SIZE, SIZE, 3)

    def _text(self, text: str, height: float, color: Color) -> Any:
        return _rendered_text(text, max(8, int(height * 1.4)), color)

    def _pixel(self, xy: Sequence[float] | Doubles) -> tuple[float, float]:
        half, (x, y) = self._pixels / 2, self._middle
        return half + self._scale * (float(xy[0]) - x), half - self._scale * (float(xy[1]) - y)


@lru_cache(maxsize=512)
def _rendered_text(text: str, size: int, color: Color) -> Any:
    """A text as a pygame Surface, which is not drawn on. The same few are in every frame."""
    return pygame_module().font.Font(None, size).render(text, True, color)


def darker(color: Color, share: float) -> Color:
    """A colour that is darker by a fraction."""
    red, green, blue = (round((1 - share) * value) for value in color)
    return red, green, blue


def pygame_module() -> Any:
    """The module pygame, imported without its notice on standard output."""
    os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
    import pygame  # a window library is no business of a training run

    if not pygame.font.get_init():
        pygame.font.init()
    return pygame
