"""Frames of a battle of SMAX."""

from __future__ import annotations

from typing import Any

import numpy as np

from cesma_sb3.envs.canvas import Canvas, Color, darker
from cesma_sb3.spaces.types import Pixels

ALLY: Color = (43, 108, 176)
ENEMY: Color = (214, 96, 40)
VIEW = 11.0
"""Half the width of a frame; the sides start 8 to the left and right of the middle."""
_FIRST_ATTACK = 5  # of SMAX's own actions


def battle_frame(env: Any, states: Any, title: str) -> Pixels:
    """A frame [SIZE, SIZE, 3]: our units blue with their numbers, the enemies red, sizes true to scale.

    Bars are health, lines are shots at those in reach. The dead are not drawn.

    Args:
        env: SMAX's environment.
        states: Its states of several battles, of which the first is drawn.
        title: The battles' name.
    """
    state, n_agents = states.state, env.num_allies
    read = {
        name: np.asarray(getattr(state, f"unit_{name}"))[0]
        for name in ("positions", "alive", "health", "types")
    }
    shots = np.asarray(state.prev_attack_actions)[0]
    radii = np.asarray(env.unit_type_radiuses)[read["types"]]
    share = read["health"] / np.asarray(env.unit_type_health)[read["types"]]
    reach = np.asarray(env.unit_type_attack_ranges)[read["types"]]
    middle = (env.map_width / 2, env.map_height / 2)
    # The camera stands still over the middle and only moves back when somebody leaves the picture.
    living = np.flatnonzero(read["alive"]).tolist()
    away = np.abs(read["positions"][living] - middle).max() if living else 0.0
    canvas = Canvas(max(VIEW, float(away) + 1.0), middle=middle, floor=env.map_width / 2)
    for unit in living:
        is_ally = unit < n_agents
        color = ALLY if is_ally else ENEMY
        xy = read["positions"][unit]
        if (target := _target(int(shots[unit]), is_ally, n_agents)) is not None and read["alive"][target]:
            aim = read["positions"][target]
            if np.linalg.norm(aim - xy) < reach[unit]:
                canvas.line(xy, aim, color)
        canvas.bar((xy[0], xy[1] + float(radii[unit]) + 0.3), 1.2, float(share[unit]), color)
    for unit in living:
        color = ALLY if unit < n_agents else ENEMY
        xy, radius = read["positions"][unit], float(radii[unit])
        canvas.disk(xy, radius, fill=color, edge=darker(color, 0.3), opacity=220)
        number = unit if unit < n_agents else unit - n_agents
        canvas.number(xy, number, height=radius)
    # SMAX ends a battle in the step after its `max_steps`, counted from 0.
    canvas.caption(f"{title}, step {int(np.asarray(state.step)[0])} of {int(env.max_steps) + 1}")
    return canvas.pixels()


def _target(action: int, is_ally: bool, n_agents: int) -> int | None:
    """The unit that an action of SMAX's shoots at: the enemies count theirs backwards."""
    if action < _FIRST_ATTACK:
        return None
    number = action - _FIRST_ATTACK
    return n_agents + number if is_ally else n_agents - 1 - number
