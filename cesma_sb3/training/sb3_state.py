"""The state of Stable-Baselines3's objects. What it needs of their private parts is named here alone."""

from __future__ import annotations

from collections.abc import Mapping
from operator import attrgetter
from typing import Any

import gymnasium
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper

from cesma_sb3.utils.stateful import Stateful

_LIBRARIES = ("stable_baselines3", "sb3_contrib", "cesma_sb3")


class ModelState(Stateful):
    """The state of an SB3 model between two rollouts: what `save` stores, its environment, its replay buffer.

    The rollout buffer is empty then, and has no state. What a class from elsewhere leaves out of `save`
    beyond its base class is state all the same.

    Args:
        model: The model.
    """

    def __init__(self, model: BaseAlgorithm) -> None:
        self.model = model

    def state_dict(self) -> dict[str, Any]:
        """Attributes, networks and optimizers, environment and replay buffer."""
        model = self.model
        library = next(kind for kind in type(model).__mro__ if kind.__module__.startswith(_LIBRARIES))
        networks, _ = model._get_torch_save_params()
        left_out = {*library._excluded_save_params(model), *networks}  # type: ignore[attr-defined]
        return {
            "attributes": {name: value for name, value in vars(model).items() if name not in left_out},
            "networks": {name: attrgetter(name)(model) for name in networks},
            "env": model.env,
            "replay_buffer": getattr(model, "replay_buffer", None),
        }

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Takes the attributes over; everything else has its state already."""
        vars(self.model).update(state_dict["attributes"])


def is_left_env(value: object) -> bool:
    """Whether the state of an environment lies elsewhere: in processes, or in another library's objects."""
    if isinstance(value, gymnasium.Env):
        return True
    is_wrapper = isinstance(value, VecEnvWrapper) or isinstance(getattr(value, "venv", None), VecEnv)
    return isinstance(value, VecEnv) and not is_wrapper and not getattr(value, "keeps_state", False)


def attributes_of(value: object) -> dict[str, Any]:
    """The attributes of an object that does not say which of them are its state: all of them."""
    attributes = dict(vars(value))
    if isinstance(value, VecEnvWrapper):
        attributes.pop("class_attributes", None)  # SB3 looks up in it what a wrapper itself has
    return attributes


def rows_in_use(value: object) -> tuple[int, int] | None:
    """Of a replay buffer that is not full: the length of its arrays, and how many rows hold something."""
    if not isinstance(value, ReplayBuffer) or value.full:
        return None
    return value.buffer_size, value.pos
