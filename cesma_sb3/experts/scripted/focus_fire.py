"""A scripted controller of battles: all shoot at the weakest enemy in reach, or walk to the nearest."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from cesma_sb3.envs.smac import FeatureIndex
from cesma_sb3.errors import ExpertError
from cesma_sb3.spaces.team_spaces import TeamSpaces
from cesma_sb3.spaces.types import Masks, Observations, Packed


class FocusFireExpert:
    """All agents attack one target: of the enemies within an agent's range, the weakest in health.

    An agent out of range of the target attacks the weakest enemy within its own. An agent with no enemy in
    range walks towards the nearest one that it sees, or forward.

    Args:
        team: Agents whose layouts have a part `enemies`, and whose actions are one column each.
        feature_index: Where features and actions stand in them.

    Raises:
        ExpertError: It is another kind of team.
    """

    def __init__(self, team: TeamSpaces, feature_index: FeatureIndex) -> None:
        self.team = team
        self.feature_index = feature_index
        if team.n_columns != team.n_agents or not team.is_discrete:
            raise ExpertError("FocusFireExpert: expected one discrete action of each agent")
        enemies = []
        for agent, where in zip(team.agents, team.observation_slices, strict=True):
            layout = team.layouts[agent].observation
            if not any(part.name == "enemies" for part in layout.parts):
                raise ExpertError(f"FocusFireExpert: the layout of {agent} has no part 'enemies'")
            part, at = layout.part("enemies"), layout.slice("enemies")
            enemies.append(
                np.arange(where.start + at.start, where.start + at.stop).reshape(part.count, part.size)
            )
        self._enemies: npt.NDArray[np.int64] = np.stack(enemies)  # [A, E, F]

    def labels(self, observations: Observations, masks: Masks | None = None) -> Packed:
        """The joint action of the scripted controller (`Expert.labels`), which needs masks.

        Raises:
            ExpertError: There are no masks.
        """
        if masks is None:
            raise ExpertError("FocusFireExpert: expected the masks of a battle, got none")
        index, n_enemies = self.feature_index, self._enemies.shape[1]
        seen = observations[:, self._enemies]  # [B, A, E, F]
        available = masks.reshape(len(masks), self.team.n_agents, -1)
        attack = slice(index.first_attack, index.first_attack + n_enemies)
        reachable = available[..., attack]  # [B, A, E]
        # The health of an enemy as an agent within range observes it.
        health = np.where(reachable, seen[..., index.health], np.inf)
        everybody = np.broadcast_to(health.min(axis=1, keepdims=True), health.shape)
        chosen = np.where(reachable, everybody, np.inf).argmin(axis=-1) + index.first_attack
        walking = self._walk(seen, available)
        idle = ~available[..., 1:].any(axis=-1)
        actions = np.where(reachable.any(axis=-1), chosen, walking)
        return np.where(idle, 0, actions).astype(np.int64)

    def _walk(self, seen: npt.NDArray[np.float32], available: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
        """Steps towards the nearest enemy that is seen, [B, A]."""
        index = self.feature_index
        places = seen[..., list(index.position)]
        visible = seen[..., index.health] > 0
        distance = np.where(visible, np.linalg.norm(places, axis=-1), np.inf)
        nearest = np.take_along_axis(places, distance.argmin(axis=-1)[..., None, None], axis=2)[:, :, 0]
        moves = np.array([action for action, _ in index.moves])
        directions = np.array([direction for _, direction in index.moves], dtype=np.float64)
        can_move = available[..., moves]
        gain = np.where(can_move, nearest @ directions.T, -np.inf)
        towards = moves[gain.argmax(axis=-1)]
        # Who sees nobody goes where the enemies come from; who cannot do that takes the first action left.
        forward = np.where(available[..., index.forward], index.forward, available.argmax(axis=-1))
        walking: npt.NDArray[np.int64] = np.where(
            visible.any(axis=-1) & can_move.any(axis=-1), towards, forward
        )
        return walking
