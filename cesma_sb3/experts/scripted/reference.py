"""The scripted expert of an environment, which is the reference of the normalised score."""

from __future__ import annotations

from cesma_sb3.envs.factory import battle_feature_index, scripted_bodies
from cesma_sb3.envs.joint_vec_env import JointVecEnv
from cesma_sb3.errors import ExpertError
from cesma_sb3.experts.base import Expert
from cesma_sb3.experts.scripted.focus_fire import FocusFireExpert
from cesma_sb3.experts.scripted.navigation import ScriptedGoalExpert, ScriptedNavigationExpert


def reference_expert(venv: JointVecEnv, collision_cost: float = 1.0) -> Expert | None:
    """The scripted expert that fits an environment and its team; None where there is none.

    In a battle all shoot at the weakest. Where agents have goals of their own they are followed; else
    landmarks are assigned. It labels what `venv` shows: the full observations, or those of its silent view
    (`MessageFreeVecEnv`).

    Args:
        venv: The environment.
        collision_cost: What a colliding pair of particles costs for a step when the expert plans, in units of
            distance.
    """
    feature_index = battle_feature_index(venv)
    if feature_index is not None:
        return FocusFireExpert(venv.team, feature_index)
    bodies = scripted_bodies(venv)
    if bodies is None:
        return None
    for kind in (ScriptedGoalExpert, ScriptedNavigationExpert):
        try:
            return kind(venv.team, bodies, collision_cost)
        except ExpertError:
            continue
    return None
