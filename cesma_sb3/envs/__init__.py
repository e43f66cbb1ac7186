"""Environments that come with the package, and the way from a name to a batched joint environment."""

from cesma_sb3.envs.factory import (
    declared_partition,
    make_parallel,
    make_vec_env,
    reward_definition,
    scripted_bodies,
)

__all__ = ["declared_partition", "make_parallel", "make_vec_env", "reward_definition", "scripted_bodies"]
