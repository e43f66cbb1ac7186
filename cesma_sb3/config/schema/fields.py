"""Types of the fields of an experiment, and the base of its models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue
from pydantic.fields import FieldInfo


def whole(value: Any) -> Any:
    """Return a float that is a whole number, such as 1e6, as an int; anything else as it is."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Whole = BeforeValidator(whole)
PositiveInt = Annotated[int, Field(gt=0, le=2**53), Whole]
NonNegativeInt = Annotated[int, Field(ge=0, le=2**53), Whole]
# Numbers of things in memory have bounds that no machine reaches, so that a typing error does not fill it.
Count = Annotated[int, Field(gt=0, le=1_000_000), Whole]
Threads = Annotated[int, Field(gt=0, le=1_024), Whole]
Capacity = Annotated[int, Field(gt=0, le=1_000_000_000), Whole]
PositiveFloat = Annotated[float, Field(gt=0)]
NonNegativeFloat = Annotated[float, Field(ge=0)]
Fraction = Annotated[float, Field(ge=0, le=1)]
PositiveFraction = Annotated[float, Field(gt=0, le=1)]
Text = Annotated[str, Field(min_length=1)]
# `action: 0` in YAML is a number and means the column 0.
Places = Annotated[
    str,
    BeforeValidator(lambda value: str(value) if type(value) is int else value),
    Field(min_length=1),
]
Width = Annotated[int, Field(gt=0, le=100_000), Whole]
Sizes = Annotated[tuple[Width, ...], Field(strict=False)]  # YAML has lists only

# Checked as what YAML can hold; typed as what a constructor takes.
if TYPE_CHECKING:
    Arguments = dict[str, Any]
else:
    Arguments = dict[str, JsonValue]


class Resets:
    """Metadata of a key: the keys beside it that start anew where the key gets another value.

    They belong to what the key names. The value changes by an override, or in a file that extends another.

    Args:
        *keys: Names of the keys beside it.
    """

    def __init__(self, *keys: str) -> None:
        self.keys = keys

    @staticmethod
    def of(field: FieldInfo) -> list[str]:
        """Return the keys that a field of a schema resets."""
        return [key for each in field.metadata if isinstance(each, Resets) for key in each.keys]


SCRIPTED = "scripted"
"""`expert.algorithm` of the environment's hand-written controller."""
TORCHSCRIPT, ONNX = "torchscript", "onnx"
"""`expert.algorithm` of exported networks, which are read from `expert.path`."""
TRAJECTORIES = "trajectories"
"""`expert.algorithm` of recorded trajectories, which are read from `expert.path`."""
IN_MEMORY = "in-memory"
"""`expert.algorithm` of a controller that was passed to `decentralize` and that no file holds."""
RANDOM = "random"
"""`env.others` that draw uniformly among what they can do."""
PATHS = (
    *(("expert", key) for key in ("path", "normalization", "experience", "init_from")),
    ("students", "init_from"),
)
"""Keys that name a file or a run folder. A relative path is relative to the YAML file that holds it, and to
the current folder where no file does; `~` is the home folder."""


class Model(BaseModel):
    """A frozen model that refuses unknown keys, values of other types and numbers that are not finite."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )
