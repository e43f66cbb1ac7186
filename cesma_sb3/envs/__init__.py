"""Environments that come with the package, and the way from a name to a batched joint environment."""

from cesma_sb3.envs.factory import (
    make_parallel_env,
    make_vec_env,
    reward_definition,
    scripted_bodies,
    undivided_view,
)
from cesma_sb3.envs.one_side import OneSide, Side

__all__ = [
    "OneSide",
    "Side",
    "make_parallel_env",
    "make_vec_env",
    "reward_definition",
    "scripted_bodies",
    "undivided_view",
]
