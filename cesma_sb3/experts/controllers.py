"""Calls of a user's functions and networks: with masks if they take them, on copies, in evaluation mode.

Shapes: B joint observations of I numbers, M flags of joint masks.
"""

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
from cesma_sb3.policies.networks.eval_mode import eval_mode
from cesma_sb3.spaces.team_spaces import TeamSpaces
from cesma_sb3.spaces.types import Array, Masks, Observations
from cesma_sb3.utils.signatures import mask_parameter


class ControllerCall:
    """A controller as a function of observations and masks, whether it takes masks or not.

    What it is given are copies: it may change them and keep them. A network, the network that a bound method
    belongs to, and networks that are attributes of an object are in evaluation mode while it is called.

    Args:
        function: Called with observations, and with masks if its signature has a parameter for them
            (`mask_parameter`).
        name: What messages call it.
        has_masks: Whether the team has masks: if it has and the signature cannot be read, a warning is
            raised that the controller gets none.

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
        except (Exception, SystemExit) as error:  # whatever a user's function raises
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


def required_arguments(signature: inspect.Signature) -> list[str]:
    """Names of the arguments without which a function cannot be called."""
    return [
        each.name
        for each in signature.parameters.values()
        if each.default is each.empty and each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
    ]


def _check_call(function: Callable[..., Any], masks: inspect.Parameter | None, name: str) -> None:
    """Raise `ExpertError` if the function cannot be called with observations and these masks alone."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # of TorchScript, which raises an error of its own
        return
    first = next(iter(signature.parameters.values()), None)
    if first is None or first.kind is first.KEYWORD_ONLY:
        raise ExpertError(f"{name}: takes no observations, expected a function of observations (and masks)")
    known = {first.name, masks.name if masks else first.name}
    other = [name for name in required_arguments(signature) if name not in known]
    if other:
        raise ExpertError(
            f"{name}: needs {', '.join(other)} too, expected a function of observations (and masks) alone"
        )


class Network:
    """A network as a function of joint observations [B, I] (and masks [B, M], if it takes them).

    A network may have been exported for one batch size, most often 1: it is then called as often as it takes.

    Args:
        run: Observations float32, and the masks that it takes or None, to an array.
        name: What messages call it.
        width: Size of an observation, if the file has it.
        takes_masks: Whether it does.
        batch: The only batch size that it takes; None: any, as far as is known. `fit` tries.
    """

    def __init__(
        self,
        run: Callable[[Array, Masks | None], Array],
        name: str,
        *,
        width: int | None = None,
        takes_masks: bool = False,
        batch: int | None = None,
    ) -> None:
        self._run = run
        self.__qualname__ = name
        self.width = width
        self.takes_masks = takes_masks
        self.batch = batch
        self.n_flags = 0
        """Flags of a mask, for calls without masks."""

    @classmethod
    def of_module(cls, module: nn.Module, name: str | None = None) -> Network:
        """A PyTorch module, TorchScript too: on its own device, in evaluation mode, without gradients."""
        weights = [*module.parameters(), *module.buffers()]
        floats = next((weight.dtype for weight in weights if weight.is_floating_point()), th.float32)
        device = weights[0].device if weights else th.device("cpu")
        try:
            masked = mask_parameter(module.forward)
        except ValueError:
            masked = None
        name = name or type(module).__name__

        def run(observations: Array, masks: Masks | None) -> Array:
            # Copies: a network may write into its input, and arrays may be read-only.
            given = [th.tensor(observations, dtype=floats, device=device)]
            if masks is not None:
                given.append(th.tensor(masks, device=device))
            with th.no_grad(), eval_mode(module):
                if masked is not None and masked.kind is masked.KEYWORD_ONLY:
                    return as_array(module(given[0], **{masked.name: given[1]}), name)
                return as_array(module(*given), name)

        return cls(run, name, takes_masks=masked is not None)

    def fit(self, team: TeamSpaces) -> None:
        """Try the network on observations of this team, to learn how many rows it takes at once.

        Raises:
            ExpertError: It takes none of this team's observations.
        """
        rng, space, size = np.random.default_rng(0), team.observation_space, team.observation_size
        if self.width not in (None, size):
            raise ExpertError(
                f"{self.__qualname__}: takes {self.width} numbers, the team's joint observations have {size}"
            )
        self.n_flags = team.mask_size
        rows = np.clip(rng.normal(size=(2, size)), space.low, space.high).astype(np.float32)
        with th.random.fork_rng(devices=[]):  # it may draw
            if self.batch is None and not self._takes_both(rows):
                self.batch = 1
            try:
                self(rows)
            except ExpertError:
                raise
            except Exception as error:  # whatever a foreign network raises
                raise ExpertError(
                    f"{self.__qualname__}: does not take the team's joint observations of {size} numbers: "
                    f"{_reason(error)}"
                ) from error

    def _takes_both(self, rows: Array) -> bool:
        """Whether two rows at once give what each gives alone, if that is the same every time.

        A network that was traced with one row may mix several, or forget all but one.
        """
        try:
            together = self(rows)
        except Exception:  # as above
            return False
        if together.shape[:1] != (2,):
            return False
        try:
            self.batch = 1
            alone, again = self(rows), self(rows)
        except Exception:  # it wants several rows
            return True
        finally:
            self.batch = None
        always = alone.shape == again.shape and np.allclose(alone, again, equal_nan=True)
        alike = alone.shape == together.shape and np.allclose(
            alone, together, rtol=1e-3, atol=1e-4, equal_nan=True
        )
        return alike or not always

    def __call__(self, observations: Observations, masks: Masks | None = None) -> Array:
        """The network's outputs, [B, ...]; without masks, of a network that takes them, all is available."""
        rows = np.asarray(observations, dtype=np.float32)
        everything = np.ones((len(rows), self.n_flags), dtype=bool)
        flags = (everything if masks is None else masks) if self.takes_masks else None
        if self.batch is None:
            return self._run(rows, flags)
        starts = range(0, len(rows), self.batch)
        return np.concatenate([self._part(rows, flags, start) for start in starts])

    def _part(self, rows: Array, masks: Masks | None, start: int) -> Array:
        """As many rows as it takes at once; where fewer are left, the last is repeated."""
        assert self.batch is not None
        places = np.minimum(np.arange(start, start + self.batch), len(rows) - 1)
        found = self._run(rows[places], None if masks is None else masks[places])
        if self.batch == 1 and found.shape[:1] != (1,):  # without an axis for the batch
            found = found[None]
        return found[: len(rows) - start]


def _reason(error: Exception) -> str:
    """The message in one line; of TorchScript, whose message begins with a traceback, the end."""
    lines = str(error).splitlines() or [type(error).__name__]
    return lines[-1] if "TorchScript" in str(error) else " ".join(" ".join(lines).split())[:300]
