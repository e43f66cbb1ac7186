"""`MemoryActor`: acts step after step and keeps what a network remembers, on the device of the network."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial, update_wrapper
from typing import Any, ClassVar, Concatenate, ParamSpec, TypeVar

import numpy as np
import numpy.typing as npt
import torch as th
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.policies import BasePolicy

from cesma_sb3.utils.stateful import Stateful

State = tuple[npt.NDArray[Any], ...]
"""What is remembered, as SB3's `predict` takes and returns it."""
DeviceState = tuple[npt.NDArray[Any] | th.Tensor, ...]
"""The same between the steps of an actor or a collector: of a network, tensors on its device."""
Predict = Callable[
    [npt.NDArray[np.float32], DeviceState | None, npt.NDArray[np.bool_], npt.NDArray[np.bool_] | None],
    tuple[npt.NDArray[Any], DeviceState | None],
]
"""Observations [B, I], state, where episodes begin [B], masks [B, M] or None: actions, and the next state."""

_Self = TypeVar("_Self")
_Actions = TypeVar("_Actions")
_Arguments = ParamSpec("_Arguments")

_on_device: dict[Any, Callable[..., tuple[Any, DeviceState | None]]] = {}
"""Of each `predict` that `with_host_state` made, what it was made of."""


def with_host_state(
    step: Callable[Concatenate[_Self, _Arguments], tuple[_Actions, DeviceState | None]],
) -> Callable[Concatenate[_Self, _Arguments], tuple[_Actions, State | None]]:
    """Make SB3's `predict`, which returns arrays as state, of a method that returns tensors. A decorator."""

    def predict(
        self: _Self, /, *args: _Arguments.args, **kwargs: _Arguments.kwargs
    ) -> tuple[_Actions, State | None]:
        actions, state = step(self, *args, **kwargs)
        if state is None:
            return actions, None
        return actions, tuple(each.cpu().numpy() if isinstance(each, th.Tensor) else each for each in state)

    update_wrapper(predict, step)
    _on_device[predict] = step
    return predict


def predict_on_device(model: BaseAlgorithm | BasePolicy) -> Callable[..., tuple[Any, DeviceState | None]]:
    """The model's `predict`, but that the state which it returns stays on the device.

    Every step of a rollout on a GPU would wait for the copies otherwise. A `predict` that is not this
    package's, such as one that a user has overridden or wrapped, is returned as it is.

    Args:
        model: Any of SB3's.
    """
    predict = model.predict
    function = getattr(predict, "__func__", None)
    if isinstance(model, BaseAlgorithm) and function is BaseAlgorithm.predict:  # it asks the policy
        return predict_on_device(model.policy)
    return partial(_on_device[function], model) if function in _on_device else predict


class MemoryActor(Stateful):
    """An actor that keeps the state of `predict` between steps, and is reset where episodes begin.

    Args:
        predict: The `predict` of a policy, whose weights may change between calls.
    """

    state_attributes: ClassVar[tuple[str, ...]] = ("state", "_starts")

    def __init__(self, predict: Predict) -> None:
        self._predict = predict
        self._starts: npt.NDArray[np.bool_] | None = None
        self.state: DeviceState | None = None
        """The state that `predict` returned last; None before the first step."""

    def reset(self, episode_starts: npt.NDArray[np.bool_] | None) -> None:
        """Forget the episodes that have ended.

        Args:
            episode_starts: In which environments the next observation is an episode's first, [B] bool; None:
                in all of them.
        """
        if episode_starts is None:
            self.state = None
        self._starts = episode_starts

    def __call__(
        self, observations: npt.NDArray[np.float32], masks: npt.NDArray[np.bool_] | None = None
    ) -> npt.NDArray[Any]:
        """Joint observations [B, I] and masks [B, M] to packed joint actions [B, A]."""
        begins = self.state is None
        starts = np.full(len(observations), begins) if begins or self._starts is None else self._starts
        self._starts = None
        actions, self.state = self._predict(observations, self.state, starts, masks)
        return actions
