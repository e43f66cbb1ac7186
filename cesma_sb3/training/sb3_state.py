"""What a run uses of Stable-Baselines3's private parts: the state of its objects, and a hook in its loop."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from operator import attrgetter
from typing import Any

import gymnasium
import numpy as np
from sb3_contrib import ARS
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.noise import VectorizedActionNoise
from stable_baselines3.common.vec_env import VecEnv, VecEnvWrapper

from cesma_sb3.utils.stateful import Stateful

_LIBRARIES = ("stable_baselines3", "sb3_contrib", "cesma_sb3")


class ModelState(Stateful):
    """The state of an SB3 model between two rollouts: what `save` stores, its environment, its replay buffer.

    The rollout buffer is empty then, and has no state. Agents, and the actor of an expert whom a model still
    imitates, may remember their episodes. What a class from elsewhere leaves out of `save` beyond its base
    class is state all the same.

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
        saved_apart = {*library._excluded_save_params(model), *networks}  # type: ignore[attr-defined]
        left_out = saved_apart - {"env", "replay_buffer", "expert_actor", "_memory"}
        attributes = {name: value for name, value in vars(model).items() if name not in left_out}
        return {**attributes, "networks": {name: attrgetter(name)(model) for name in networks}}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Takes the attributes over; the networks and optimizers have their state already."""
        attributes = {name: value for name, value in state_dict.items() if name != "networks"}
        vars(self.model).update(attributes)


class ReplayBufferState(Stateful):
    """The state of a replay buffer: of one that is not full, the rows that hold something.

    Args:
        buffer: The buffer.
    """

    def __init__(self, buffer: ReplayBuffer) -> None:
        self.buffer = buffer

    def state_dict(self) -> dict[str, Any]:
        """All attributes; arrays of `buffer_size` rows without the empty ones."""
        return {name: self._used(value) for name, value in vars(self.buffer).items()}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Takes over what `state_dict` returned; arrays stay where they are in memory."""
        attributes = vars(self.buffer)
        for name, value in state_dict.items():
            attributes[name] = self._filled(attributes.get(name), value)

    def _used(self, value: Any) -> Any:
        if isinstance(value, dict):  # observations by name
            return {key: self._used(each) for key, each in value.items()}
        return value[: self.buffer.size()] if self._has_rows(value) else value

    def _filled(self, current: Any, value: Any) -> Any:
        if isinstance(value, dict) and isinstance(current, dict):
            return {key: self._filled(current.get(key), each) for key, each in value.items()}
        if not self._has_rows(current):
            return value
        current[: len(value)] = value
        return current

    def _has_rows(self, value: Any) -> bool:
        return isinstance(value, np.ndarray) and value.ndim > 0 and len(value) == self.buffer.buffer_size


@contextmanager
def before_each_rollout(
    model: BaseAlgorithm, total_timesteps: int, hook: Callable[[int], object]
) -> Iterator[None]:
    """Calls a hook in `model.learn`, where everything that was collected has been learned from.

    SB3's callbacks hear of a rollout only after something of it has been drawn: the noise of state-dependent
    exploration, the candidates of `ARS`. An algorithm without SB3's loop never calls the hook.

    Args:
        model: The model.
        total_timesteps: Budget of the training, with those before an interruption.
        hook: Called with the environment timesteps so far.
    """
    name = "_do_one_update" if isinstance(model, ARS) else "collect_rollouts"
    rollout = getattr(model, name, None)
    if rollout is None:
        yield
        return

    def hook_and_rollout(*args: Any, **kwargs: Any) -> Any:
        # `ARS` counts progress from the resumption; the others have this value already.
        model._update_current_progress_remaining(model.num_timesteps, total_timesteps)
        hook(model.num_timesteps)
        return rollout(*args, **kwargs)

    setattr(model, name, hook_and_rollout)  # on this object: its class has SB3's own method
    try:
        yield
    finally:
        delattr(model, name)


def make_noise_for_each_env(model: BaseAlgorithm) -> None:
    """Makes action noise as SB3 does when it collects: so that it is there when its state is put back."""
    noise = getattr(model, "action_noise", None)
    if noise is not None and model.n_envs > 1 and not isinstance(noise, VectorizedActionNoise):
        model.action_noise = VectorizedActionNoise(noise, model.n_envs)


def begin_new_episodes(model: BaseAlgorithm) -> None:
    """Has `model.learn` reset the environments, also where it continues a training."""
    model._last_obs = None


def is_left_env(value: object) -> bool:
    """Whether the state of an environment lies elsewhere: in processes, or in another library's objects."""
    if isinstance(value, gymnasium.Env):
        return True
    is_wrapper = isinstance(value, VecEnvWrapper) or isinstance(getattr(value, "venv", None), VecEnv)
    return isinstance(value, VecEnv) and not is_wrapper and not getattr(value, "keeps_state", False)
