"""How a controller that somebody brings is called: with masks if it takes them, and leaving it as it was."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch as th
from torch import nn

from cesma_sb3.errors import CesmaError, ExpertError, InvalidActionError, error_line
from cesma_sb3.experts.base import Masks, Observations
from cesma_sb3.policies.networks.eval_mode import eval_mode
from cesma_sb3.utils.signatures import mask_parameter


class Asked:
    """A controller as a function of observations and masks, whether it takes masks or not.

    What it is given are copies: it may change them and keep them. A network, the network that a bound method
    belongs to, and networks that are attributes of an object are in evaluation mode while it is called.

    Args:
        function: Called with observations, and with masks if its signature has a parameter for them
            (`mask_parameter`).
        name: What messages call it.
        has_masks: Whether the team has masks: if it has, and nobody can read the signature, a warning says
            that the controller gets none.

    Raises:
        ExpertError: It needs other arguments than these.
    """

    def __init__(self, function: Callable[..., Any], name: str, *, has_masks: bool) -> None:
        self._function = function
        self.name = name
        self._masks: str | None = None  # the parameter that takes them
        self._is_positional = False
        try:
            parameter = mask_parameter(function)
        except ValueError as error:
            if has_masks:
                warnings.warn(
                    f"{name}: whether it takes masks cannot be read from its signature ({error}): it is "
                    "given observations alone",
                    stacklevel=2,
                )
            return
        _check_call(function, parameter, name)
        if parameter is not None:
            self._masks, self._is_positional = parameter.name, parameter.kind is parameter.POSITIONAL_ONLY

    def __call__(self, observations: Observations, masks: Masks | None = None, **more: Any) -> Any:
        """What the controller returns.

        Args:
            observations: An array.
            masks: An array, or None.
            **more: Further arguments of the controller.

        Raises:
            InvalidActionError: The controller raised something.
        """
        own: Any = None if masks is None else np.array(masks)
        given: list[Any] = [np.array(observations)]
        if self._is_positional:
            given.append(own)
        elif self._masks is not None:
            more[self._masks] = own
        try:
            with eval_mode(*_networks(self._function)):
                return self._function(*given, **more)
        except CesmaError:
            raise
        except (Exception, SystemExit) as error:  # whatever somebody else's function raises
            raise InvalidActionError(f"{self.name}: raised {error_line(error)}") from error


def _networks(function: Any) -> list[nn.Module]:
    """The networks that a controller is, or has as attributes."""
    owner = getattr(function, "__self__", function)
    if isinstance(owner, nn.Module):
        return [owner]
    return [value for value in getattr(owner, "__dict__", {}).values() if isinstance(value, nn.Module)]


def as_array(found: Any, name: str) -> npt.NDArray[Any]:
    """What a controller returned as an array of its own; of a tuple the first.

    Raises:
        InvalidActionError: It is no array of numbers.
    """
    found = found[0] if isinstance(found, tuple) and found else found
    kind = type(found).__name__
    if isinstance(found, th.Tensor):
        found = found.detach().cpu()
        found = (found.float() if found.dtype is th.bfloat16 else found).numpy()  # NumPy has no bfloat16
    try:
        result: npt.NDArray[Any] = np.array(found)
    except (TypeError, ValueError):  # lists of several lengths
        result = np.array(None)
    if not (np.issubdtype(result.dtype, np.number) or result.dtype == bool):
        raise InvalidActionError(f"{name}: returned {kind}, expected an array of numbers")
    return result


def _check_call(function: Callable[..., Any], masks: inspect.Parameter | None, name: str) -> None:
    """Raises `ExpertError` if the function cannot be called with observations and these masks alone."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # of TorchScript, which says by itself what it lacks
        return
    required = [
        each.name
        for each in signature.parameters.values()
        if each.default is each.empty and each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
    ]
    first = next(iter(signature.parameters.values()), None)
    if first is None or first.kind is first.KEYWORD_ONLY:
        raise ExpertError(f"{name}: takes no observations, expected a function of observations (and masks)")
    other = [each for each in required if each != first.name and (masks is None or each != masks.name)]
    if other:
        raise ExpertError(
            f"{name}: needs {', '.join(other)} too, expected a function of observations (and masks) alone"
        )
