"""What somebody did, recorded, in the place of an expert: it can be imitated, and not be asked."""

from __future__ import annotations

from typing import NoReturn

import numpy as np
import numpy.typing as npt

from cesma_sb3.envs.experience import Experience
from cesma_sb3.errors import ExpertError, SpaceError
from cesma_sb3.imitation.recordings import RecordedArrays
from cesma_sb3.imitation.visited_states import as_experience, as_visited, view_of
from cesma_sb3.spaces.action_views import make_view
from cesma_sb3.spaces.team_spaces import TeamSpaces
from cesma_sb3.spaces.team_views import TeamView
from cesma_sb3.spaces.types import Array, Masks, Observations, Packed


class RecordedExpert:
    """Stands in for an expert where there are recorded trajectories alone, whose states have labels.

    What it returns is known (`cesma_sb3.evaluation.evaluate`).

    Args:
        returns: The team return of each recorded episode, [E]; E is 0 where no rewards were recorded.
        lengths: Timesteps of each of them, [E].
    """

    def __init__(self, returns: npt.NDArray[np.float64], lengths: npt.NDArray[np.int64]) -> None:
        self.recorded_returns = returns
        self.recorded_lengths = lengths

    def labels(self, observations: Observations, masks: Masks | None = None) -> NoReturn:
        """Refuse to label any state (`Expert.labels`).

        Raises:
            ExpertError: Always.
        """
        raise ExpertError(
            "recorded trajectories: nobody is there to ask what to do in another state; expected an expert"
        )


def recorded_expert(
    arrays: RecordedArrays,
    team: TeamSpaces,
    capacity: int,
    *,
    view: str = "joint",
    undivided: TeamView | None = None,
    called: str = "trajectories",
) -> tuple[RecordedExpert, Experience]:
    """Recorded trajectories as a team's experience, which has labels, and who stands in for its expert.

    Observations and actions may be those of a view of the team, and who was alive may be unknown
    (`as_experience`). Without `masks`, everything was available.

    Args:
        arrays: As `recorded_arrays` gives them.
        team: The team.
        capacity: Most steps kept, the newest.
        view: The action view of the actions.
        undivided: Of a team that a joint environment was divided into, the view in which one agent has all.
        called: What messages call it.

    Raises:
        SpaceError: Observations or actions are not of this team.
        ActionViewError: The action view cannot hold this team's actions.
    """
    visited = as_visited(arrays)
    if team.has_masks and "masks" not in visited:
        visited["masks"] = np.ones((len(arrays["starts"]), 1, team.mask_size), dtype=bool)
    way = view_of(visited, team, undivided, called)
    visited["labels"] = _packed(arrays["actions"], team, way, view, called)[:, None]
    experience = as_experience(visited, team, capacity, undivided=undivided, called=called)
    experience.is_whole = True
    rewards = arrays.get("rewards", np.zeros(0)).astype(np.float64).ravel()
    begins = np.flatnonzero(arrays["starts"][: len(rewards)])
    returns = np.add.reduceat(rewards, begins) if len(begins) else rewards
    return RecordedExpert(returns, np.diff(begins, append=len(rewards))), experience


def _packed(actions: Array, team: TeamSpaces, way: TeamView | None, view: str, called: str) -> Packed:
    """Recorded actions of a view as packed joint actions [S, C] of the team."""
    acting = team if way is None else way.team
    action_view = make_view(view, acting)
    shape = action_view.space.shape or ()
    if actions.size != len(actions) * int(np.prod(shape, dtype=int)):
        raise SpaceError(
            f"{called}: actions of shape {actions.shape}, expected {(len(actions), *shape)} in the action "
            f"view {view}"
        )
    packed = action_view.decode(actions.reshape(len(actions), *shape))
    return packed if way is None else way.actions(packed)
