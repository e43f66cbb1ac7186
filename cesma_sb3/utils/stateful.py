"""The state of objects that a training changes: what a checkpoint stores, and how it is put back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar


class Stateful:
    """A class whose state is a few of its attributes; their names are declared.

    Everything else is the same in every object that is constructed with the same arguments. A checkpoint
    stores plain values, arrays, tensors and generators, in lists, tuples and mappings, and the state of any
    object among them that has one: another `Stateful`, a network, an optimizer. Objects keep their identity:
    `load_state_dict` is given the objects that were there, with their own state already put back.

    A class whose state needs another form overrides both methods, as `torch.nn.Module` does.
    """

    state_attributes: ClassVar[tuple[str, ...]] = ()
    """Names of the attributes that change; a subclass adds its own to those of its base class."""

    def state_dict(self) -> dict[str, Any]:
        """The state by name. It is not a copy."""
        return {name: getattr(self, name) for name in self.state_attributes}

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Takes the state of an object that was constructed with the same arguments.

        Args:
            state_dict: What `state_dict` returned.

        Raises:
            KeyError: A part of the state is missing.
        """
        for name in self.state_attributes:
            setattr(self, name, state_dict[name])


def declares_state(value: object) -> bool:
    """Whether the class of an object says which of its attributes are its state.

    A class of another package that inherits from a `Stateful` says so only by itself: what its base class
    declares leaves out the attributes that it has added.
    """
    for kind in type(value).__mro__:
        if {"state_attributes", "state_dict"} & vars(kind).keys():
            return issubclass(kind, Stateful)
        if issubclass(kind, Stateful) and kind.__module__.partition(".")[0] != __name__.partition(".")[0]:
            return False
    return False
