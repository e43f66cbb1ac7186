"""The scripted expert of an environment, which is the reference of the normalised score."""

from __future__ import annotations

import contextlib

from cesma_sb3.envs.factory import battle_feature_index, scripted_bodies
from cesma_sb3.envs.joint_vec_env import JointVecEnv
from cesma_sb3.errors import ExpertError
from cesma_sb3.experts.base import Expert
from cesma_sb3.experts.scripted.crowd import UNCERTAINTY
from cesma_sb3.experts.scripted.focus_fire import FocusFireExpert
from cesma_sb3.experts.scripted.navigation import Assignment, ScriptedGoalExpert, ScriptedNavigationExpert


def reference_expert(
    venv: JointVecEnv,
    collision_cost: float = 1.0,
    uncertainty: float = UNCERTAINTY,
    assignment: Assignment = "best",
) -> Expert | None:
    """The scripted expert that fits an environment and its team; None where there is none.

    In a battle all shoot at the weakest. Where agents have goals of their own they are followed; else
    landmarks are assigned. It labels what `venv` shows: the full observations, or those of a view of
    the team (`TeamViewVecEnv`).

    Args:
        venv: The environment.
        collision_cost: What a colliding pair of particles costs for a step when the expert plans, in units of
            distance, at least 0.
        uncertainty: Of the distance of two particles, for each step that the expert predicts it ahead, in
            units of distance, more than 0: the larger, the more distance they keep.
        assignment: How landmarks are assigned, where they are (`ScriptedNavigationExpert`).

    Raises:
        ExpertError: A number is out of its range.
    """
    if not collision_cost >= 0:
        raise ExpertError(f"scripted expert: collision_cost: expected at least 0, got {collision_cost}")
    if not uncertainty > 0:
        raise ExpertError(f"scripted expert: uncertainty: expected more than 0, got {uncertainty}")
    feature_index = battle_feature_index(venv)
    if feature_index is not None:
        return FocusFireExpert(venv.team, feature_index)
    bodies = scripted_bodies(venv)
    if bodies is None:
        return None
    with contextlib.suppress(ExpertError):
        return ScriptedGoalExpert(venv.team, bodies, collision_cost, uncertainty)
    with contextlib.suppress(ExpertError):
        return ScriptedNavigationExpert(venv.team, bodies, collision_cost, uncertainty, assignment)
    return None
