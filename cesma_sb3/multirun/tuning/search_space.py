"""Search spaces as data: keys of an experiment, and the values that a study may give to each."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from cesma_sb3.config.documents import data_folder, find_document
from cesma_sb3.config.overrides import flatten
from cesma_sb3.config.registry import load_experiment
from cesma_sb3.config.schema import Arguments, DaggerConfig, Experiment, ExpertConfig, whole
from cesma_sb3.config.validation import schema_of, validate
from cesma_sb3.errors import ConfigError, short_repr, unknown_name
from cesma_sb3.multirun.tuning.distributions import Choices, Distribution, Interval, is_same

if TYPE_CHECKING:
    from optuna.trial import BaseTrial

_NOT_TUNED = ("name", "description", "seed")
_MESSAGES = (
    *("message_relaxation", "message_temperature"),
    *("message_temperature_final", "message_entropy"),
)
"""Keys of `dagger` that matter only for students with messages."""


def keys_of(name: str) -> list[str]:
    """The dotted keys that a parameter sets: its name, split at commas."""
    return [key.strip() for key in name.split(",")]


@dataclasses.dataclass(frozen=True)
class SearchSpace:
    """The parameters of a study: dotted keys of an experiment, and the distribution of each."""

    name: str
    label: str
    """How errors name its file."""
    distributions: Mapping[str, Distribution]
    """By parameter, in the order in which they are drawn. Its name is one key, or keys with commas."""
    parts: tuple[str, ...] = ()
    """The name or file of each space that was merged, for `load_space`."""

    @property
    def keys(self) -> dict[str, Distribution]:
        """The distribution of each dotted key; those that get one value share one."""
        return {key: found for name, found in self.distributions.items() for key in keys_of(name)}

    def suggest(self, trial: BaseTrial) -> dict[str, Any]:
        """A point: overrides for an experiment, without the keys whose conditions do not hold."""
        point: dict[str, Any] = {}
        for name, found in self.distributions.items():
            if found.is_drawn(point):
                point |= dict.fromkeys(keys_of(name), found.suggest(name, trial))
        return point

    def parameters_of(self, experiment: Experiment) -> dict[str, Any]:
        """The experiment's own values as parameters of Optuna, by name.

        Values outside of the space, and keys that the experiment leaves to a default, are left out.
        """
        own = flatten(experiment.to_mapping())
        found: dict[str, Any] = {}
        for name, distribution in self.distributions.items():
            values = [own.get(key) for key in keys_of(name)]
            parameter = distribution.parameter(values[0])
            if parameter is not None and all(is_same(values[0], value) for value in values):
                found[name] = parameter  # where it is not drawn, nobody asks for it
        return found

    def grid(self) -> dict[str, list[Any]]:
        """The grid for Optuna's GridSampler: by parameter, numbers, or choices as their labels.

        Raises:
            ConfigError: A key has a condition, or too many values: neither choices, nor a step, nor at most
                10 integers.
        """
        found: dict[str, list[Any]] = {}
        for name, distribution in self.distributions.items():
            if distribution.when:
                raise ConfigError(f"{self.label}: {name}: when: a grid has no conditions")
            values = distribution.grid()
            if values is None:
                raise ConfigError(f"{self.label}: {name}: a grid needs choices or a step")
            found[name] = values
        return found

    def check(self, experiment: str | Path, overrides: Mapping[str, Any]) -> None:
        """Check that the space fits an experiment.

        Raises:
            ConfigError: It tunes what is overridden, or an argument that the experiment's classes don't have.
        """
        tuned = self.keys
        for key in flatten(overrides):
            if key in tuned:
                raise ConfigError(f"override: {key}: this value is tuned by {self.label}")
        # Other keys were checked against the schema; together, their first values may be a bad combination.
        arguments = {key: found.examples()[0] for key, found in tuned.items() if _field(key, "")[1]}
        always = {key: value for key, value in arguments.items() if not tuned[key].when}
        # A condition may be on the class whose argument it is: each is checked where it is drawn.
        others = [self._point_with(key, value) for key, value in arguments.items() if tuned[key].when]
        for point in (always, *others):
            values = {**overrides, **always, **point}
            load_experiment(experiment, values, overridden_by=self.label)

    def _point_with(self, key: str, value: Any) -> dict[str, Any]:
        """Values with which a key is drawn: its own, and those that its conditions require, recursively."""
        point: dict[str, Any] = {}
        for other, values in self.keys[key].conditions.items():
            point |= self._point_with(other, values[0])
        return {**point, key: value}

    def to_mapping(self) -> dict[str, Any]:
        """Plain values, as its file holds them."""
        return {name: found.model_dump(exclude_defaults=True) for name, found in self.distributions.items()}


def load_space(name_or_path: str | Path) -> SearchSpace:
    """Load and validate a search space, by its name in `tuning/` or its file.

    Raises:
        UnknownNameError: There is none of that name.
        ConfigError: A key or value is wrong, or the file cannot be read.
    """
    document = find_document(name_or_path, [(data_folder("tuning"), "tuning")], "search space")
    content = document.read()
    all_keys = {key for name in content for key in keys_of(name)}
    distributions: dict[str, Distribution] = {}
    above: dict[str, Distribution] = {}
    for name, value in content.items():
        found = _distribution(document.label, name, value)
        _check_conditions(f"{document.label}: {name}", found, above, all_keys)
        for key in keys_of(name):
            if key in above:
                raise ConfigError(f"{document.label}: {name}: {key} is given twice")
            above[key] = found
        distributions[name] = found
    if not distributions:
        raise ConfigError(f"{document.label}: expected at least one key of an experiment, got none")
    return SearchSpace(document.name, document.label, distributions, (str(name_or_path),))


def merged(spaces: Sequence[SearchSpace]) -> SearchSpace:
    """One space with the keys of several, in their order; of one space, itself.

    Args:
        spaces: At least one, such as an expert's and its students'.

    Raises:
        ConfigError: Two of them have a key in common, or there is none.
    """
    if not spaces:
        raise ConfigError("expected at least one search space, got none")
    first, *others = spaces
    for other in others:
        if common := [key for key in other.keys if key in first.keys]:
            raise ConfigError(f"{other.label}: {common[0]}: this value is tuned by {first.label} too")
        first = SearchSpace(
            f"{first.name}-{other.name}",
            f"{first.label} and {other.label}",
            {**first.distributions, **other.distributions},
            first.parts + other.parts,
        )
    return first


def default_spaces(experiment: Experiment) -> tuple[str | None, str | None]:
    """Names of the shipped spaces that an experiment is tuned by if none are named.

    The expert's has the name of its algorithm: `gumbel-softmax-ddpg` for GumbelSoftmaxDDPG. The students' has
    the name of their network: `students-recurrent`. Feed-forward students have `students-messages` where the
    experiment sets how messages are learned, whatever its environment is. Custom networks that learn by
    DAgger have `dagger`, what all students have in common.

    Args:
        experiment: As resolved. `SearchSpace.check` tests whether its classes have the arguments.

    Returns:
        The expert's: None for one that is not trained, that is named `module:name`, or that no space is
            shipped for. The students': None if there are no students, or no space for them.
    """
    return _expert_space(experiment.expert), _students_space(experiment)


def _expert_space(expert: ExpertConfig) -> str | None:
    is_class = expert.algorithm[:1].isupper() and ":" not in expert.algorithm
    if expert.is_pretrained or expert.total_timesteps == 0 or not is_class:
        return None
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", expert.algorithm)
    name = words.lower()
    return name if (data_folder("tuning") / f"{name}.yaml").is_file() else None


def _students_space(experiment: Experiment) -> str | None:
    dagger, network = experiment.dagger, experiment.students.network
    if dagger is None:
        return None
    if network == "custom":
        return "dagger" if dagger.algorithm == "dagger" else None
    defaults = DaggerConfig.model_fields
    talk = any(getattr(dagger, key) != defaults[key].default for key in _MESSAGES)
    return "students-messages" if talk and network == "feed-forward" else f"students-{network}"


def _distribution(label: str, name: str, value: Any) -> Distribution:
    place = f"{label}: {name}"
    if not isinstance(value, Mapping):
        raise ConfigError(f"{place}: expected {{low, high}} or {{choices}}, got {short_repr(value)}")
    fields = {key: _field(key, label) for key in keys_of(name)}
    model: type[Distribution] = Choices if "choices" in value else Interval
    if any(_is_integer(field.annotation) for field, is_argument in fields.values() if not is_argument):
        value = {key: whole(number) for key, number in value.items()}  # 1e3 to 1e4 are integers too
    found = validate(model, value, lambda _: place)
    for key, (field, is_argument) in fields.items():
        if not is_argument:
            _check_values(f"{label}: {key}", field, found)
    return found


def _is_integer(annotation: Any) -> bool:
    """Whether a key takes integers, or null."""
    return annotation is int or any(map(_is_integer, get_args(annotation)))


def _check_values(place: str, field: FieldInfo, found: Distribution) -> None:
    """Check that the schema allows the values.

    Raises:
        ConfigError: It does not allow one.
    """
    kind: Any = Annotated[field.annotation, field]  # with the bounds that the schema sets
    adapter: TypeAdapter[Any] = TypeAdapter(kind, config=ConfigDict(strict=True))
    for example in found.examples():
        try:
            adapter.validate_python(example)
        except ValidationError as error:
            message = error.errors(include_url=False)[0]["msg"]
            raise ConfigError(f"{place}: {short_repr(example)} is no value of this key: {message}") from None


def _check_conditions(
    place: str, found: Distribution, above: Mapping[str, Distribution], all_keys: Collection[str]
) -> None:
    """Check that conditions are on keys that are drawn before, and can hold.

    Args:
        place: How errors name the key.
        found: The distribution that has the conditions.
        above: The distributions that are drawn before, by dotted key.
        all_keys: The keys of the whole space.

    Raises:
        ConfigError: One is on another key, or can never hold.
    """
    for other, values in found.conditions.items():
        if other not in above:
            message = unknown_name("key", other, above)
            if other in all_keys:
                message = f"{other}: expected a key that stands above this one"
            raise ConfigError(f"{place}: when: {message}")
        allowed = above[other].values()
        if allowed is None:
            raise ConfigError(f"{place}: when: {other}: expected a key with choices, integers or a step")
        for value in values:
            if not any(is_same(value, one) for one in allowed):
                given, some = short_repr(value), short_repr(list(allowed[:30]))  # more than an error shows
                raise ConfigError(f"{place}: when: {other}: {given} is none of its values {some}")


def _field(key: str, label: str) -> tuple[FieldInfo, bool]:
    """The schema's field of a dotted key, and whether the key names a free argument below that field."""
    model: Any = Experiment
    parts = key.split(".")
    for index, part in enumerate(parts):
        allowed = _keys(model)
        if part not in allowed:
            raise ConfigError(f"{label}: {key}: {unknown_name('key', part, allowed)}")
        field: FieldInfo = model.model_fields[part]
        below = parts[index + 1 :]
        if field.annotation == Arguments and all(below) and below:
            return field, True
        model = schema_of(field.annotation)
        if not (isinstance(model, type) and issubclass(model, BaseModel)):
            if below or model == Arguments:
                expected = "an argument below it" if model == Arguments else "no key below it"
                raise ConfigError(f"{label}: {key}: expected {expected}")
            return field, False
    raise ConfigError(f"{label}: {key}: expected one of its keys: {', '.join(_keys(model))}")


def _keys(model: type[BaseModel]) -> Iterable[str]:
    return [key for key in model.model_fields if model is not Experiment or key not in _NOT_TUNED]
