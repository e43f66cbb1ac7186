"""What the entries of mpe2's `simple_tag` are, for networks over entities and for turned samples."""

from __future__ import annotations

from typing import Any

from gymnasium import spaces
from pettingzoo.utils.wrappers import BaseParallelWrapper

from cesma_sb3.envs.particle.actions import DIRECTIONS
from cesma_sb3.spaces.layout import ActionPart, AgentLayout, ObservationLayout, Part, PartKind


class SimpleTagParts(BaseParallelWrapper):  # type: ignore[misc, unused-ignore]  # of an untyped package
    """mpe2's `simple_tag` with the parts of observations and actions named.

    Args:
        env: `mpe2.simple_tag_v3`, in which everybody sees everything.
    """

    def layout(self, agent: Any) -> AgentLayout:
        """The parts of an agent's observation, all of them places and velocities in the plane."""
        world = self.env.unwrapped.world
        is_predator = {each.name: each.adversary for each in world.agents}
        mates = list(is_predator.values()).count(is_predator[agent]) - 1
        rivals = len(is_predator) - 1 - mates
        n_predators, n_prey = (mates, rivals) if is_predator[agent] else (rivals, mates)
        groups: tuple[tuple[str, PartKind, int], ...] = (
            ("obstacles", "entities", len(world.landmarks)),
            ("predators", "agents" if is_predator[agent] else "entities", n_predators),
            ("prey", "entities" if is_predator[agent] else "agents", n_prey),
            ("velocities of prey", "entities", n_prey),
        )
        own = [Part(name, "own", size=2, is_planar=True) for name in ("velocity", "position")]
        seen = [Part(name, kind, count, 2, is_planar=True) for name, kind, count in groups]
        is_choice = isinstance(self.action_space(agent), spaces.Discrete)
        moves = (
            (ActionPart("move", "move", 0, directions=tuple(map(tuple, DIRECTIONS.T.tolist()))),)
            if is_choice
            else ()
        )
        return AgentLayout(ObservationLayout((*own, *seen)), moves)
