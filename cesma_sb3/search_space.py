"""Search spaces as data: keys of an experiment, and the values that a study may give to each."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, TypeAdapter, ValidationError, model_validator
from pydantic.fields import FieldInfo
from pydantic_core import PydanticCustomError

from cesma_sb3.config import Arguments, Experiment
from cesma_sb3.errors import ConfigError
from cesma_sb3.registry import data_folder, find_document, flatten, load_experiment
from cesma_sb3.validation import schema_of, shown, unknown, validate

if TYPE_CHECKING:
    from optuna.trial import BaseTrial

_NOT_TUNED = ("name", "description", "seed")


def _number(value: Any) -> int | float:
    """An int stays one, unlike as a float of pydantic's."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise PydanticCustomError("float_type", "expected a number")
    return value


Number = Annotated[Any, AfterValidator(_number)]


class Interval(BaseModel):
    """Numbers from `low` to `high`, both included; integers when both are."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True)

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
        if abs(steps - round(steps)) > 1e-9:
            raise ValueError(f"step: expected one that leads from low to high, got {self.step}")
        return self

    @property
    def is_integer(self) -> bool:
        """Whether the values are integers."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    def examples(self) -> tuple[Any, ...]:
        """The values that stand for all in a check."""
        return self.low, self.high

    def suggest(self, key: str, trial: BaseTrial) -> Any:
        """A value, drawn by the study's sampler."""
        if self.is_integer:
            return trial.suggest_int(key, self.low, self.high, step=self.step or 1, log=self.log)
        return trial.suggest_float(key, self.low, self.high, step=self.step, log=self.log)


class Choices(BaseModel):
    """One of several values; lists too, such as hidden sizes."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    choices: list[Any]

    @model_validator(mode="after")
    def _fits(self) -> Choices:
        if not self.choices:
            raise ValueError("choices: expected at least one value, got none")
        for index, choice in enumerate(self.choices):
            if isinstance(choice, Mapping):
                raise ValueError(f"choices.{index}: expected a value or a list, got {shown(choice)}")
            if self.labels.index(self.labels[index]) != index:
                raise ValueError(f"choices.{index}: {shown(choice)} is given twice")
        return self

    @property
    def labels(self) -> list[str]:
        """The choices as text, which is all that every storage of Optuna keeps as it is."""
        return [choice if isinstance(choice, str) else json.dumps(choice) for choice in self.choices]

    def examples(self) -> tuple[Any, ...]:
        """The values that stand for all in a check."""
        return tuple(self.choices)

    def suggest(self, key: str, trial: BaseTrial) -> Any:
        """A value, drawn by the study's sampler."""
        return self.choices[self.labels.index(trial.suggest_categorical(key, self.labels))]


@dataclasses.dataclass(frozen=True)
class SearchSpace:
    """Dotted keys of an experiment, and the distribution of each."""

    name: str
    label: str
    """What errors call its file."""
    distributions: Mapping[str, Interval | Choices]

    def suggest(self, trial: BaseTrial) -> dict[str, Any]:
        """A point: overrides for an experiment."""
        return {key: found.suggest(key, trial) for key, found in self.distributions.items()}

    def check(self, experiment: str | Path, overrides: Mapping[str, Any]) -> None:
        """Whether the space fits this experiment.

        Raises:
            ConfigError: It tunes what is overridden, or an argument that the experiment's classes don't have.
        """
        for path, _ in flatten(overrides):
            if (key := ".".join(path)) in self.distributions:
                raise ConfigError(f"override: {key}: this value is tuned by {self.label}")
        # Other keys were checked against the schema; together, their first values may be a bad combination.
        arguments = {
            key: found.examples()[0] for key, found in self.distributions.items() if _field(key, "")[1]
        }
        load_experiment(experiment, {**overrides, **arguments}, overridden_by=self.label)

    def to_mapping(self) -> dict[str, Any]:
        """Plain values, as its file holds them."""
        return {key: found.model_dump(exclude_defaults=True) for key, found in self.distributions.items()}


def load_space(name_or_path: str | Path) -> SearchSpace:
    """The search space of that name in `tuning/`, or in that file, validated.

    Raises:
        UnknownNameError: There is none of that name.
        ConfigError: A key or value is wrong, or the file cannot be read.
    """
    document = find_document(name_or_path, [(data_folder("tuning"), "tuning")], "search space")
    distributions = {key: _distribution(document.label, key, v) for key, v in document.read().items()}
    if not distributions:
        raise ConfigError(f"{document.label}: expected at least one key of an experiment, got none")
    return SearchSpace(document.name, document.label, distributions)


def _distribution(label: str, key: str, value: Any) -> Interval | Choices:
    place = f"{label}: {key}"
    if not isinstance(value, Mapping):
        raise ConfigError(f"{place}: expected {{low, high}} or {{choices}}, got {shown(value)}")
    field, is_argument = _field(key, label)
    model: type[Interval | Choices] = Choices if "choices" in value else Interval
    found = validate(model, value, lambda _: place)
    if not is_argument:
        kind: Any = Annotated[field.annotation, field]  # with the bounds that the schema sets
        adapter: TypeAdapter[Any] = TypeAdapter(kind, config=ConfigDict(strict=True))
        for example in found.examples():
            try:
                adapter.validate_python(example)
            except ValidationError as error:
                told = error.errors(include_url=False)[0]["msg"]
                raise ConfigError(f"{place}: {shown(example)} is no value of this key: {told}") from None
    return found


def _field(key: str, label: str) -> tuple[FieldInfo, bool]:
    """The schema's field of a dotted key, and whether the key goes on into free arguments below it."""
    model: Any = Experiment
    parts = key.split(".")
    for index, part in enumerate(parts):
        allowed = _keys(model)
        if part not in allowed:
            raise ConfigError(f"{label}: {key}: {unknown('key', part, allowed)}")
        field: FieldInfo = model.model_fields[part]
        below = parts[index + 1 :]
        if field.annotation == Arguments and all(below) and below:
            return field, True
        model = schema_of(field.annotation)
        if not (isinstance(model, type) and issubclass(model, BaseModel)):
            if below or model == Arguments:
                told = "an argument below it" if model == Arguments else "no key below it"
                raise ConfigError(f"{label}: {key}: expected {told}")
            return field, False
    raise ConfigError(f"{label}: {key}: expected one of its keys: {', '.join(_keys(model))}")


def _keys(model: type[BaseModel]) -> Iterable[str]:
    return [key for key in model.model_fields if model is not Experiment or key not in _NOT_TUNED]
