"""Environments without messages, as an expert is trained in them."""

from cesma_sb3.envs.joint_vec_env import JointVecEnv
from cesma_sb3.envs.vec_wrappers import TeamViewVecEnv
from cesma_sb3.spaces.action_views import ActionView
from cesma_sb3.spaces.team_views import message_free_view


def message_free(venv: JointVecEnv, view: str | ActionView = "joint") -> TeamViewVecEnv:
    return TeamViewVecEnv(venv, message_free_view(venv.team), view)
