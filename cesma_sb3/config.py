"""What an experiment is: one typed schema. The values stand in YAML files; see `cesma_sb3.registry`."""

from __future__ import annotations

import types
import typing
from collections.abc import Callable, Iterable
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator

from cesma_sb3.errors import ConfigError, nearest

PositiveInt = Annotated[int, Field(gt=0)]
NonNegativeInt = Annotated[int, Field(ge=0)]
PositiveFloat = Annotated[float, Field(gt=0)]
NonNegativeFloat = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Text = Annotated[str, Field(min_length=1)]
Sizes = Annotated[tuple[PositiveInt, ...], Field(strict=False)]  # YAML has lists only

Arguments = dict[str, JsonValue]

SCRIPTED = "scripted"
"""The expert that is derived, not trained."""


class _Config(BaseModel):
    """Frozen; unknown keys, values of another type and numbers that are not finite are errors."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


class WrapperConfig(_Config):
    """A SuperSuit wrapper; further keys are its arguments."""

    model_config = ConfigDict(extra="allow")

    name: Text
    """Name in SuperSuit, such as `black_death_v3`."""

    @property
    def kwargs(self) -> dict[str, Any]:
        """The wrapper's arguments."""
        return dict(self.model_extra or {})


class EnvConfig(_Config):
    """The environment."""

    id: Text
    """A scenario of `cesma_sb3.envs.particle` such as `spread`, or `package.module:function` that makes a PettingZoo
    environment."""
    kwargs: Arguments = {}
    """Arguments of the scenario or function."""
    wrappers: Annotated[tuple[WrapperConfig, ...], Field(strict=False)] = ()
    """SuperSuit wrappers, the innermost first."""
    team_reward: Literal["shared", "sum", "mean"] | None = None
    """How the team's reward is made of the agents'; None: `shared`, all get the same one."""
    processes: NonNegativeInt = 0
    """Worker processes of environments that aren't batched; 0: in this process."""


class ExpertConfig(_Config):
    """The centralized controller."""

    algorithm: Text
    """`scripted`, an algorithm of `cesma_sb3.experts`, stable_baselines3 or sb3_contrib, or `module:Class`."""
    action_view: Literal["joint", "product", "one-at-a-time", "relaxed"] = "joint"
    """How the joint action is put to the algorithm."""
    n_envs: PositiveInt = 32
    """Environments stepped together."""
    total_timesteps: NonNegativeInt
    """Environment timesteps of training; 0 for the scripted expert."""
    policy: Text = "MlpPolicy"
    """One of the algorithm's policies, a policy of `cesma_sb3.networks`, or `module:Class`."""
    kwargs: Arguments = {}
    """Arguments of the algorithm's constructor."""
    policy_kwargs: Arguments = {}
    """Arguments of the policy's constructor."""

    @model_validator(mode="after")
    def _scripted_has_no_training(self) -> ExpertConfig:
        if self.algorithm == SCRIPTED:
            if self.total_timesteps:
                raise ValueError(f"total_timesteps: the scripted expert is not trained: expected 0, got {self.total_timesteps}")
            for key in ("kwargs", "policy_kwargs"):
                if given := getattr(self, key):
                    raise ValueError(f"{key}: the scripted expert takes none, got {', '.join(given)}")
        return self


class StudentsConfig(_Config):
    """The decentralized policies."""

    hidden_sizes: Sizes = (128, 128)
    """Hidden layers of each agent's network."""
    activation: Text = "ReLU"
    """An activation of `torch.nn`, after each hidden layer."""
    share_parameters: bool = False
    """One set of weights for all agents."""


class BetaConfig(_Config):
    """Who acts while the dataset grows: the probability of the expert's action, by round."""

    schedule: Literal["none", "linear", "exponential"] = "none"
    """`none` is the paper's: the students act from the start."""
    rounds: PositiveInt = 15
    """Rounds until a linear schedule reaches 0."""
    decay: Fraction = 0.7
    """Factor of each round in an exponential schedule."""
    per_agent: bool = False
    """Draw for each agent by itself in place of the whole team."""


class DaggerConfig(_Config):
    """Decentralization: how the students learn from the expert."""

    total_timesteps: PositiveInt
    """Environment timesteps, at most."""
    n_envs: PositiveInt = 64
    """Environments stepped together."""
    samples_per_update: PositiveInt = 32
    """Environment timesteps collected for each gradient step (k of Algorithm 1)."""
    batch_size: PositiveInt = 512
    """Samples of each gradient step."""
    learning_rate: PositiveFloat = 1e-3
    """At the start."""
    learning_rate_final: Fraction = 1.0
    """Fraction of it that is left at the end; linear between."""
    weight_decay: NonNegativeFloat = 0.0
    """Of Adam."""
    max_grad_norm: PositiveFloat | None = None
    """The gradient's norm is clipped to it; None clips nothing."""
    min_samples: PositiveInt | None = None
    """The dataset is large enough to learn from when it holds this many; None: `batch_size`."""
    capacity: PositiveInt = 200_000
    """Most samples kept."""
    when_full: Literal["drop-oldest", "reservoir"] = "drop-oldest"
    """Which samples go when more come."""
    loss: Literal["auto", "cross-entropy", "mse"] = "auto"
    """`auto` looks at each action's space."""
    labels: Literal["hard", "soft"] = "hard"
    """The expert's action, or its distribution."""
    temperature: PositiveFloat = 1.0
    """Of soft labels."""
    beta: BetaConfig = BetaConfig()
    """Who acts while the dataset grows."""
    round_timesteps: PositiveInt = 1_000
    """Environment timesteps in a round of the beta schedule."""
    stop_after_matches: PositiveInt | None = None
    """End when this many evaluations in a row match the expert; None never ends early."""
    match_tolerance: NonNegativeFloat = 0.0
    """An evaluation matches when it is below the expert's by no more than this, as a fraction of the distance between
    random and reference."""

    @model_validator(mode="after")
    def _fits(self) -> DaggerConfig:
        if self.min_samples is not None and self.min_samples > self.capacity:
            raise ValueError(f"min_samples: expected at most capacity, {self.capacity}, got {self.min_samples}")
        return self


class EvaluationConfig(_Config):
    """How policies are measured."""

    episodes: PositiveInt = 400
    """Of each final evaluation."""
    every: PositiveInt = 5_000
    """Environment timesteps between two evaluations during both stages."""
    curve_episodes: PositiveInt = 64
    """Of each evaluation on the way."""
    n_envs: PositiveInt = 64
    """Environments stepped together."""


class Experiment(_Config):
    """A registered combination of environment, expert and students."""

    name: Text
    """The name of its file."""
    description: str = ""
    """One line."""
    seed: NonNegativeInt = 0
    """All randomness comes from it."""
    env: EnvConfig
    expert: ExpertConfig
    students: StudentsConfig = StudentsConfig()
    dagger: DaggerConfig
    evaluation: EvaluationConfig = EvaluationConfig()

    def to_mapping(self) -> dict[str, Any]:
        """Plain values, as the YAML file of the resolved experiment holds them."""
        return self.model_dump(mode="json")


def validate(data: dict[str, Any], source: Callable[[tuple[str, ...]], str] | str) -> Experiment:
    """An experiment from plain values.

    Args:
        data: What a YAML file holds.
        source: The file to name in an error; a function of the wrong value's path where there are several.

    Raises:
        ConfigError: One line: file, key, what is wrong with it, what is allowed, the nearest right name.
    """
    try:
        return Experiment.model_validate(data)
    except ValidationError as error:
        problems = error.errors(include_url=False)
        path, problem = _describe(problems[0])
        where = source if isinstance(source, str) else source(path)
        more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
        raise ConfigError(f"{where}: {problem}{more}") from None


def unknown(kind: str, name: str, allowed: Iterable[str]) -> str:
    """What an error says of a name that isn't there: the nearest one, and all that are.

    Args:
        kind: Of thing that was looked for.
        name: The wrong name.
        allowed: The right ones.
    """
    allowed = sorted(allowed)
    return f"unknown {kind} {shown(name)}{_hint(name, allowed)} allowed: {', '.join(allowed) or 'none'}"


def _hint(name: str, allowed: Iterable[str]) -> str:
    found = nearest(name, allowed)
    return f"; did you mean {found[0]!r}?" if found else ";"


def shown(value: Any) -> str:
    """A value as an error shows it: on one line, and not long."""
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else text[:57] + "..."


_EXPECTED = {
    "int_type": "an integer",
    "int_from_float": "an integer",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "text",
    "string_too_short": "text",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "tuple_type": "a list",
    "finite_number": "a finite number",
}


def _describe(error: Any) -> tuple[tuple[str, ...], str]:
    """Path of the wrong value and what is wrong with it, from one of pydantic's errors."""
    path = tuple(str(part) for part in error["loc"])
    dotted, kind, given, context = ".".join(path), error["type"], error["input"], error.get("ctx", {})
    if kind == "extra_forbidden":
        allowed = sorted(_keys(path[:-1]))
        return path, f"{dotted}: unknown key{_hint(path[-1], allowed)} allowed: {', '.join(allowed)}"
    if kind == "missing":
        return path, f"{dotted}: this key is missing"
    if kind == "value_error":  # of a validator above, which begins with the key below this one
        key, _, message = str(context["error"]).partition(": ")
        return (*path, key), f"{dotted}.{key}: {message}"
    if kind == "literal_error":
        allowed = _literals(path)
        hint = _hint(str(given), allowed) if isinstance(given, str) else ";"
        return path, f"{dotted}: unknown value {shown(given)}{hint} allowed: {', '.join(allowed)}"
    if kind == "invalid-json-value":
        return path, f"{dotted}: expected a value that YAML can hold, got {shown(given)}"
    bounds = {"greater_than": "gt", "greater_than_equal": "ge", "less_than_equal": "le"}
    if kind in bounds:
        sign = {"gt": "more than", "ge": "at least", "le": "at most"}[bounds[kind]]
        return path, f"{dotted}: expected {sign} {context[bounds[kind]]:g}, got {shown(given)}"
    expected = _EXPECTED.get(kind)
    reason = f"expected {expected}, got {shown(given)}" if expected else f"{error['msg']}, got {shown(given)}"
    return path, f"{dotted}: {reason}"


def _annotation(path: tuple[str, ...]) -> Any:
    """What the schema says a path holds."""
    found: Any = Experiment
    for part in path:
        if isinstance(found, type) and issubclass(found, BaseModel):
            found = found.model_fields[part].annotation
        else:  # an item of a tuple
            found = typing.get_args(found)[0]
    return found


def _keys(path: tuple[str, ...]) -> list[str]:
    return list(_annotation(path).model_fields)


def _literals(path: tuple[str, ...]) -> list[str]:
    """The allowed values of a Literal, or of the Literals in a union."""
    annotation = _annotation(path)
    parts = typing.get_args(annotation)
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        return [text for part in parts for text in (typing.get_args(part) or ("null",))]
    return [str(part) for part in parts]
