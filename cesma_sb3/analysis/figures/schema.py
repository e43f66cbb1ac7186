"""Schema of a figure's YAML file: which experiments, over which seeds, make which line of which panel."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, model_validator

from cesma_sb3.config.documents import data_folder, find_document, is_name
from cesma_sb3.config.registry import load_experiment
from cesma_sb3.config.schema import Arguments, Experiment, PositiveFloat, PositiveInt, Text
from cesma_sb3.config.validation import validate
from cesma_sb3.errors import ConfigError, short_repr, unknown_name

Budget = Literal["quick", "registered", "full"]
"""How long runs train: `quick` and `full` have overrides of their own in the figure's file; `registered` has
the registry's values and the figure's `overrides` alone."""
BUDGETS: tuple[Budget, ...] = get_args(Budget)
FIGURES = "figures"
"""The folder of the files, as errors name it."""


class _Schema(BaseModel):
    """Base of the schema: frozen; unknown keys and values of another type are errors."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True
    )


class Line(_Schema):
    """One experiment over all seeds, and how it is drawn."""

    experiment: Text
    """A registered experiment."""
    label: Text
    """Its name in the legend and the table; lines of one label look alike in all panels."""
    kind: Literal["expert", "expert-then-students", "students", "converged", "team"]
    """`expert`: the expert's curve. `expert-then-students`: the expert's curve, and from its end on the
    students'. `students`: the students' curve alone, from 0 on. `team`: the curve of a baseline. `converged`:
    the final return of a baseline, as a horizontal line."""
    overrides: Arguments = {}
    """Overrides of the experiment in every budget, by dotted key."""
    quick: Arguments = {}
    """Further overrides of budget `quick`."""
    full: Arguments = {}
    """Further overrides of budget `full`."""
    agents: dict[str, Text] = {}
    """Labels of agents, where each has a line of its own."""

    def values(self, budget: Budget) -> dict[str, Any]:
        """Return the overrides of this budget, by dotted key."""
        further = {"quick": self.quick, "full": self.full}.get(budget, {})
        return {**self.overrides, **further}


class Panel(_Schema):
    """One subplot."""

    name: Text
    """Its name for `--only`."""
    title: Text
    """Text above the panel."""
    x: Literal["episodes", "samples", "loss"] = "episodes"
    """`episodes`: environment samples divided by an episode's length."""
    y: Literal["return", "loss", "win_rate"] = "return"
    """`loss`: each agent's imitation loss, an agent a line."""
    center: Literal["mean", "median"] = "mean"
    """What the line over seeds is; its area reaches from the lowest run to the highest."""
    episode_timesteps: PositiveFloat = 25
    """Length of an episode in environment steps, the unit of `x: episodes`."""
    match: Text | None = None
    """Label of a line: the table tells how many samples the others took to reach its final return."""
    lines: Annotated[tuple[Line, ...], Field(strict=False, min_length=1)]

    @property
    def has_losses(self) -> bool:
        """Whether an axis is the imitation loss."""
        return "loss" in (self.x, self.y)

    @model_validator(mode="after")
    def _fits(self) -> Panel:
        if not is_name(self.name):  # files are called so
            raise ValueError(f"name: expected letters, digits and - _ . only, got {short_repr(self.name)}")
        if self.x == self.y:
            raise ValueError("y: expected return where x is loss, got loss")
        if self.has_losses and (other := [line.kind for line in self.lines if line.kind != "students"]):
            raise ValueError(f"lines: expected kind 'students' alone where a loss is drawn, got {other[0]!r}")
        labels = [line.label for line in self.lines]
        if repeated := [label for label in labels if labels.count(label) > 1]:
            raise ValueError(f"lines: label {repeated[0]!r} is given twice")
        if self.match is not None and self.match not in labels:
            raise ValueError(f"match: {unknown_name('label', self.match, labels)}")
        return self


class SeedCounts(_Schema):
    """How many runs each line has in each budget; their seeds are 0, 1, ..."""

    quick: PositiveInt
    registered: PositiveInt
    full: PositiveInt


class Figure(_Schema):
    """A figure of the paper."""

    title: Text
    """Text above the figure."""
    source: Text
    """Where the paper has it, and what it says there."""
    seeds: SeedCounts
    panels: Annotated[tuple[Panel, ...], Field(strict=False, min_length=1)]

    @model_validator(mode="after")
    def _fits(self) -> Figure:
        names = [panel.name for panel in self.panels]
        if repeated := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"panels: name {repeated[0]!r} is given twice")
        return self

    def only(self, names: tuple[str, ...]) -> Figure:
        """Return the figure with these panels alone; with all of them if no name is given.

        Raises:
            ConfigError: There is no panel of that name.
        """
        known = [panel.name for panel in self.panels]
        for name in names:
            if name not in known:
                raise ConfigError(f"--only: {unknown_name('panel', name, known)}")
        kept = tuple(panel for panel in self.panels if not names or panel.name in names)
        return self.model_copy(update={"panels": kept})


@dataclasses.dataclass(frozen=True)
class NamedFigure:
    """A figure and its name."""

    name: str
    """The stem of the files that `reproduce` writes."""
    label: str
    """The figure's file, as errors name it."""
    figure: Figure

    def experiments(
        self, budget: Budget, *, check_names: bool = True
    ) -> Iterator[tuple[Panel, Line, Experiment]]:
        """Yield every line of every panel, with its validated experiment in this budget.

        Raises:
            ConfigError: There is no such experiment, or an override does not fit it.
        """
        for panel in self.figure.panels:
            for line in panel.lines:
                place = f"{self.label}: {panel.name}: {line.label}"
                try:
                    values = line.values(budget)
                    experiment = load_experiment(line.experiment, values, check_names=check_names)
                except ConfigError as error:
                    raise ConfigError(f"{place}: {error}") from None
                is_baseline = line.kind in ("converged", "team")
                if is_baseline != (experiment.dagger is None):
                    wanted = "dagger: null" if is_baseline else "an expert and students"
                    raise ConfigError(
                        f"{place}: kind {line.kind!r}: expected an experiment with {wanted}, "
                        f"got {line.experiment}"
                    )
                yield panel, line, experiment


def load_figure(name_or_path: str | Path) -> NamedFigure:
    """Load and validate a figure of `figures/` (`figure-5`, or `5`), or a YAML file.

    Raises:
        UnknownNameError: There is none of that name.
        ConfigError: A key or value is wrong, or the file cannot be read.
    """
    if isinstance(name_or_path, str) and name_or_path.isdecimal():
        name_or_path = f"figure-{name_or_path}"
    document = find_document(name_or_path, [(data_folder(FIGURES), FIGURES)], "figure")
    figure = validate(Figure, document.read(), lambda _: document.label)
    return NamedFigure(document.name, document.label, figure)


def list_figures() -> list[NamedFigure]:
    """Load every figure of `figures/`, in the order of their names."""
    return [load_figure(file.stem) for file in sorted(data_folder(FIGURES).glob("*.yaml"))]
