"""Conversion of imitation's demonstrations into samples of a team."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from imitation.algorithms.base import AnyTransitions
from imitation.data import types

from cesma_sb3.errors import ConfigError, SpaceError
from cesma_sb3.imitation.dataset import Samples
from cesma_sb3.spaces.team_spaces import TeamSpaces


def demonstrated(
    demonstrations: AnyTransitions,
    team: TeamSpaces,
    *,
    has_masks: bool = False,
    has_probabilities: bool = False,
    communicates: bool = False,
    episodes: bool = False,
) -> Iterator[Samples]:
    """Convert demonstrations into samples, as if the students had seen these states.

    Args:
        demonstrations: imitation's trajectories, `Transitions`, or an iterable of batches (mappings with
            `obs` and `acts`); observations joint, actions packed.
        team: The team's spaces.
        has_masks: Give masks too. imitation's types have none: everything counts as available.
        has_probabilities: Give soft labels too: all weight on the action.
        communicates: Give the step before too, which only trajectories have; else messages stay as recorded.
        episodes: Give one whole episode at a time, which only trajectories are.

    Raises:
        SpaceError: Observations or actions are not of this team's shape.
        ConfigError: Whole episodes are wanted of transitions.
    """
    for observations, actions, in_order in _in_parts(_as_arrays(demonstrations)):
        if episodes and not in_order:
            raise ConfigError(
                "demonstrations: recurrent students learn from whole episodes; expected imitation's "
                "trajectories, got transitions"
            )
        obs = np.asarray(observations, dtype=np.float32).reshape(len(observations), -1)
        acts: Any = np.asarray(actions, dtype=team.action_dtype).reshape(len(actions), -1)
        if obs.shape[1] != team.observation_size or acts.shape[1] != team.n_columns:
            raise SpaceError(
                f"demonstrations: observations {obs.shape} and actions {acts.shape}, expected "
                f"[n, {team.observation_size}] and [n, {team.n_columns}]"
            )
        alive = np.ones((len(obs), team.n_agents), dtype=bool)
        masks = np.ones((len(obs), team.mask_size), dtype=bool) if has_masks else None
        probabilities = _one_hot(acts, team.column_categories) if has_probabilities else None
        samples = Samples(obs, acts, alive, masks, probabilities)
        if communicates:
            previous = np.concatenate([np.zeros_like(obs[:1]), obs[:-1]]) if in_order else np.zeros_like(obs)
            follows = np.full_like(alive, in_order)
            follows[:1] = False
            samples = samples._replace(previous=previous, follows=follows, previous_masks=masks)
        yield samples


def _as_arrays(demonstrations: AnyTransitions) -> Iterable[tuple[Any, Any, bool]]:
    """Observations, actions, and whether these are the steps of one episode in their order."""
    if isinstance(demonstrations, types.TransitionsMinimal):
        yield demonstrations.obs, demonstrations.acts, False
        return
    for item in demonstrations:
        if isinstance(item, types.Trajectory):
            yield item.obs[:-1], item.acts, True
        else:
            yield item["obs"], item["acts"], False


def _in_parts(batches: Iterable[tuple[Any, Any, bool]], size: int = 4096) -> Iterator[tuple[Any, Any, bool]]:
    """Independent steps in parts, so that a large recording is not all there as float32 at once."""
    for observations, actions, in_order in batches:
        step = max(1, len(observations)) if in_order else size
        for start in range(0, max(1, len(observations)), step):
            rows = slice(start, start + step)
            yield observations[rows], actions[rows], in_order


def _one_hot(actions: npt.NDArray[Any], categories: tuple[int, ...]) -> npt.NDArray[np.float32]:
    blocks = [
        np.eye(k, dtype=np.float32)[actions[:, c].astype(int)] for c, k in enumerate(categories) if k > 0
    ]
    return np.concatenate(blocks, axis=1)
