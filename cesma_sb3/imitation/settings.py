"""Groups of arguments that the trainers of this package share."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal, get_args

import torch as th

from cesma_sb3.errors import check_choice

WhenFull = Literal["drop-oldest", "reservoir"]
MessageRelaxation = Literal["straight-through", "gumbel-softmax", "softmax"]


@dataclasses.dataclass(frozen=True)
class BufferConfig:
    """The dataset that students learn from.

    Raises:
        ValueError: `capacity` is below 1.
        UnknownNameError: There is no such `when_full`.
    """

    capacity: int = 200_000
    """Most samples kept, at least 1."""
    when_full: WhenFull = "drop-oldest"
    """`drop-oldest`: a new sample replaces the oldest one. `reservoir`: every sample ever added is kept with
    the same probability."""
    min_samples: int | None = None
    """Learning starts once the dataset holds this many of what a batch is made of: samples; of recurrent
    students, whole episodes (fewer where `capacity` holds fewer). None: as many as a batch."""
    shared: bool = True
    """All agents learn from the same samples; False: each agent draws its own (`AggregatedDataset`)."""

    def __post_init__(self) -> None:
        _check_positive(capacity=self.capacity)
        check_choice("when_full", self.when_full, get_args(WhenFull))


@dataclasses.dataclass(frozen=True)
class LabelConfig:
    """What students imitate of their expert.

    Raises:
        ValueError: `temperature` is not above 0.
    """

    soft: bool = False
    """Imitate the expert's distribution over actions in place of its action."""
    temperature: float = 1.0
    """Temperature of that distribution, in (0, inf); above 1 it is flatter."""

    def __post_init__(self) -> None:
        _check_positive(temperature=self.temperature)


@dataclasses.dataclass(frozen=True)
class MessageConfig:
    """How a team learns its messages (`Communication`).

    Raises:
        ValueError: A number is out of its range.
        UnknownNameError: There is no such relaxation.
    """

    relaxation: MessageRelaxation = "straight-through"
    """What a discrete message is in training. `gumbel-softmax`: the softmax of logits with Gumbel noise, a
    relaxed sample of a symbol. `straight-through`: the sampled symbol, one-hot as when acting, with the
    gradient of `gumbel-softmax`. `softmax`: the probabilities themselves, without noise."""
    temperature: float = 1.0
    """Divides the logits of the softmax at the start, in (0, inf)."""
    entropy: float = 0.0
    """Weight of a bonus for using all symbols (`Communication.entropy_cost`), in [0, inf). The paper has no
    such term (0). Where there are as few symbols as meanings, 0.3 keeps several meanings from getting one
    symbol."""
    temperature_final: float = 1.0
    """Fraction of `temperature` at the end, in (0, 1]; it falls by the same factor in every update. A soft
    message can tell more than the one symbol that is sent: below 1, what is learned from is soft at first,
    so that a gradient passes, and a symbol in the end (Jang et al., 2017, anneal it likewise)."""

    def __post_init__(self) -> None:
        check_choice("message relaxation", self.relaxation, get_args(MessageRelaxation))
        _check_positive(message_temperature=self.temperature)
        if not 0 < self.temperature_final <= 1:
            raise ValueError(
                f"message_temperature_final={self.temperature_final}: expected more than 0, at most 1"
            )
        if self.entropy < 0:
            raise ValueError(f"message_entropy={self.entropy}: expected at least 0")


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """The optimizer of the students."""

    optimizer_class: type[th.optim.Optimizer] = th.optim.Adam
    """PyTorch's class."""
    optimizer_kwargs: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Its arguments, less the learning rate."""
    max_grad_norm: float | None = None
    """The gradient norm of the whole team is clipped to it; None clips nothing."""


def _check_positive(**values: float) -> None:
    for name, value in values.items():
        if value <= 0:
            raise ValueError(f"{name}={value}: expected more than 0")
