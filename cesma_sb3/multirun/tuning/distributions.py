"""What a study may give to a key of a search space, and under which conditions it gives it anything."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, model_validator
from pydantic_core import PydanticCustomError

from cesma_sb3.errors import short_repr

if TYPE_CHECKING:
    from optuna.trial import BaseTrial

_GRID_SIZE = 10
"""Most integers without a step that are put on a grid."""
_MOST_STEPS = 1_000_000


def _number(value: Any) -> int | float:
    """An int stays one, unlike as a float of pydantic's."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise PydanticCustomError("float_type", "expected a number")
    return value


Number = Annotated[Any, AfterValidator(_number)]


def is_same(one: Any, other: Any) -> bool:
    """Whether two values are one in JSON, where 1 and 1.0 are the same number, but true is none."""
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(is_same, one, other))
    if any(isinstance(value, bool) or not isinstance(value, int | float) for value in (one, other)):
        return type(one) is type(other) and bool(one == other)
    if isinstance(one, int) and isinstance(other, int):
        return one == other
    return math.isclose(one, other, rel_tol=1e-9, abs_tol=1e-12)  # steps add up to 0.30000000000000004


class _Conditional(BaseModel):
    """What is drawn only in some points."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True)

    when: dict[str, Any] = {}
    """Other keys, each with a value or a list of values: the key is drawn where all of them have one of
    these, and else left out."""

    @model_validator(mode="after")
    def _names_values(self) -> _Conditional:
        for key, values in self.conditions.items():
            if not values:
                raise ValueError(f"when.{key}: expected at least one value, got none")
        return self

    @property
    def conditions(self) -> dict[str, list[Any]]:
        """By other key, the values that it may have."""
        return {key: value if isinstance(value, list) else [value] for key, value in self.when.items()}

    def is_drawn(self, point: Mapping[str, Any]) -> bool:
        """Whether the conditions hold.

        Args:
            point: By dotted key, the values that were drawn so far.
        """
        return all(
            key in point and any(is_same(point[key], value) for value in values)
            for key, values in self.conditions.items()
        )


class Interval(_Conditional):
    """Numbers from `low` to `high`, both included; integers when both are."""

    low: Number
    high: Number
    log: bool = False
    """Even in the logarithm."""
    step: Number | None = None
    """Distance of the values from `low` on; None: any number, or each integer."""

    @model_validator(mode="after")
    def _fits(self) -> Interval:
        if not self.low < self.high:
            raise ValueError(f"high: expected more than low {self.low}, got {self.high}")
        if self.log and self.low <= 0:
            raise ValueError(f"low: expected more than 0 with log, got {self.low}")
        if self.step is None:
            return self
        if self.log:
            raise ValueError(f"step: expected none with log, got {self.step}")
        if not self.step > 0 or (self.is_integer and not isinstance(self.step, int)):
            kind = "an integer" if self.is_integer else "a number"
            raise ValueError(f"step: expected {kind} above 0, got {self.step}")
        steps = (self.high - self.low) / self.step
        if steps > _MOST_STEPS:
            raise ValueError(
                f"step: expected one of at most {_MOST_STEPS:,} from low to high, got {self.step}"
            )
        if abs(steps - round(steps)) > 1e-9:
            raise ValueError(f"step: expected one that leads from low to high, got {self.step}")
        return self

    @property
    def is_integer(self) -> bool:
        """Whether the values are integers."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    def examples(self) -> tuple[Any, ...]:
        """The values that stand for all in a check; the first one is a fraction if any can be drawn."""
        if self.is_integer:
            return self.low, self.high
        middle = (self.low + self.high) / 2
        between = self.low + self.step if self.step else middle + 0.5 * middle.is_integer()
        return tuple(sorted((self.low, self.high, between), key=lambda number: float(number).is_integer()))

    def values(self) -> Sequence[Any] | None:
        """All of them, in order; None: any number in between."""
        if self.is_integer:
            return range(self.low, self.high + 1, self.step or 1)
        if self.step is None:
            return None
        count = round((self.high - self.low) / self.step) + 1
        return [float(f"{self.low + index * self.step:.12g}") for index in range(count)]

    def grid(self) -> list[Any] | None:
        """What Optuna's GridSampler may give; None: too many, for there is no step."""
        found = self.values()
        if found is None or (self.step is None and len(found) > _GRID_SIZE):
            return None
        return list(found)

    def parameter(self, value: Any) -> Any:
        """What Optuna calls a value; None if it is none of these."""
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not self.low <= value <= self.high:
            return None
        values = self.values()
        if values is None:
            return float(value)
        return next((one for one in values if is_same(one, value)), None)

    def suggest(self, name: str, trial: BaseTrial) -> Any:
        """A value, drawn by the study's sampler.

        Args:
            name: Of the parameter in the study.
            trial: Optuna's.
        """
        if self.is_integer:
            return trial.suggest_int(name, self.low, self.high, step=self.step or 1, log=self.log)
        return trial.suggest_float(name, self.low, self.high, step=self.step, log=self.log)


class Choices(_Conditional):
    """One of several values; lists too, such as hidden sizes."""

    choices: list[Any]

    @model_validator(mode="after")
    def _fits(self) -> Choices:
        if not self.choices:
            raise ValueError("choices: expected at least one value, got none")
        for index, choice in enumerate(self.choices):
            if isinstance(choice, Mapping):
                raise ValueError(f"choices.{index}: expected a value or a list, got {short_repr(choice)}")
            if self.labels.index(self.labels[index]) != index:
                raise ValueError(f"choices.{index}: {short_repr(choice)} is given twice")
        return self

    @property
    def labels(self) -> list[str]:
        """The choices as text, which is all that every storage of Optuna keeps as it is."""
        return [choice if isinstance(choice, str) else json.dumps(choice) for choice in self.choices]

    def examples(self) -> tuple[Any, ...]:
        """The values that stand for all in a check."""
        return tuple(self.choices)

    def values(self) -> Sequence[Any] | None:
        """All of them, in order."""
        return self.choices

    def grid(self) -> list[Any] | None:
        """What Optuna's GridSampler may give: labels."""
        return list(self.labels)

    def parameter(self, value: Any) -> Any:
        """What Optuna calls a value: its label; None if it is none of these."""
        found = (label for label, one in zip(self.labels, self.choices, strict=True) if is_same(one, value))
        return next(found, None)

    def suggest(self, name: str, trial: BaseTrial) -> Any:
        """A value, drawn by the study's sampler.

        Args:
            name: Of the parameter in the study.
            trial: Optuna's.
        """
        return self.choices[self.labels.index(trial.suggest_categorical(name, self.labels))]


Distribution = Interval | Choices
