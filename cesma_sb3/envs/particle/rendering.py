"""Frames of particle environments."""

from __future__ import annotations

import colorsys
from typing import Any

import numpy as np

from cesma_sb3.envs.canvas import SIZE, Canvas, Color, darker, pygame_module
from cesma_sb3.envs.particle.scenario import Scenario
from cesma_sb3.envs.particle.world import World
from cesma_sb3.spaces.types import Pixels

FRAMES_PER_SECOND = 10
# Half the width that the camera shows; the start positions lie within 1.
VIEW = 1.3
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
    """Draws one environment, sizes true to scale: agents in colours with their numbers, landmarks grey.

    Agents that touch have a red edge. Where agents have goals of their own, each landmark has a colour, and
    an agent is drawn in a light shade of its goal's (grey without one). The last message of an agent
    is quoted above it: the symbol, or of a continuous message the largest.

    Args:
        scenario: Whose bodies are drawn.
    """

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self._window: Any = None
        self._clock: Any = None

    def frame(self, world: World, caption: str = "") -> Pixels:
        """A picture [SIZE, SIZE, 3].

        Args:
            world: The state of the environments, of which the first is drawn.
            caption: A line in the lower left corner.
        """
        return self._draw(world, caption).pixels()

    def show(self, world: World, caption: str = "") -> None:
        """Draws into a window, at most `FRAMES_PER_SECOND` times a second."""
        pygame = pygame_module()
        if self._window is None:
            pygame.display.init()
            self._window = pygame.display.set_mode((SIZE, SIZE))
            pygame.display.set_caption(self.scenario.name)
            self._clock = pygame.time.Clock()
        self._window.blit(self._draw(world, caption).picture(), (0, 0))
        pygame.event.pump()  # without it the system thinks that the window hangs
        pygame.display.flip()
        self._clock.tick(FRAMES_PER_SECOND)

    def close(self) -> None:
        """Closes the window, if there is one."""
        if self._window is not None:
            pygame_module().display.quit()
            self._window = self._clock = None

    def _draw(self, world: World, caption: str) -> Canvas:
        bodies = (*self.scenario.agents, *self.scenario.landmarks)
        drawn = list(zip(bodies, world.positions[:, :, 0], strict=True))
        agents, landmarks = drawn[: world.n_agents], drawn[world.n_agents :]
        touching = world.collisions()[:, 0] > 0
        # The camera stands still and only moves back when somebody leaves the picture.
        reach = max(float(np.abs(xy).max()) + body.size for body, xy in drawn)
        canvas = Canvas(half_width=max(VIEW, 1.05 * reach))
        agent_colors, landmark_colors = self._colors(world)

        for (body, xy), color in zip(landmarks, landmark_colors, strict=True):
            canvas.disk(xy, body.size, fill=color)
        for number, ((body, xy), color) in enumerate(zip(agents, agent_colors, strict=True)):
            edge = TOUCHING if touching[number] else darker(color, 0.25)
            canvas.disk(xy, body.size, fill=color, edge=edge, opacity=175)
        # Once more, as rings, so that a landmark is seen under the agent that covers it.
        for (body, xy), color in zip(landmarks, landmark_colors, strict=True):
            canvas.disk(xy, body.size, edge=darker(color, 0.35))
        for number, (body, xy) in enumerate(agents):
            canvas.number(xy, number, height=min(0.13, 1.1 * body.size))
            message = world.messages[number, :, 0]
            if not body.silent and message.any():  # at the start of an episode there is no message
                canvas.saying((xy[0], xy[1] + body.size), str(message.argmax()))
        canvas.caption(caption)
        return canvas

    def _colors(self, world: World) -> tuple[list[Color], list[Color]]:
        """The colours of agents and of landmarks."""
        goals = self.scenario.goals(world)
        agents = [agent_color(number) for number in range(world.n_agents)]
        landmarks = [LANDMARK] * len(world.landmarks)
        if goals is not None:
            landmarks = [agent_color(number) for number in range(len(landmarks))]
            agents = [LANDMARK if goal < 0 else landmarks[goal] for goal in goals[:, 0]]
        return (
            [body.color or color for body, color in zip(self.scenario.agents, agents, strict=True)],
            [body.color or color for body, color in zip(self.scenario.landmarks, landmarks, strict=True)],
        )


def agent_color(number: int) -> Color:
    """A colour for each agent: the palette, then hues as far apart as they go."""
    if number < len(PALETTE):
        return PALETTE[number]
    hue = (number * 0.618034) % 1.0
    red, green, blue = colorsys.hls_to_rgb(hue, 0.45, 0.5)
    return int(red * 255), int(green * 255), int(blue * 255)
