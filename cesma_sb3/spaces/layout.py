"""Layouts: the named parts of an agent's observation and action.

An environment may declare a layout for each agent (a method `layout(agent) -> AgentLayout`). Without one, an
observation is one flat part and everything still works.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal, get_args

from cesma_sb3.errors import LayoutError, UnknownNameError, unknown_name

PartKind = Literal["own", "entities", "agents", "message"]
ActionKind = Literal["move", "message"]


@dataclasses.dataclass(frozen=True)
class Part:
    """Neighbouring entries of a flat observation that belong together.

    Raises:
        LayoutError: A count or size below 0, an unknown kind, or a planar part of an odd size.
    """

    name: str
    kind: PartKind
    """`own`: the agent's own features; `entities`: `count` things of one kind; `agents`: the other agents of
    the team, in its order; `message`: messages of `count` senders."""
    count: int = 1
    size: int = 1
    """The number of entries of one entity or message; for `own`, of the whole part with `count` 1."""
    is_planar: bool = False
    """Whether the entries are pairs (x, y), vectors of a plane without preferred directions, so that they can
    be turned and mirrored (`cesma_sb3.spaces.symmetries`)."""

    def __post_init__(self) -> None:
        if self.kind not in get_args(PartKind):
            raise LayoutError(f"part {self.name!r}: {unknown_name('kind', self.kind, get_args(PartKind))}")
        if self.count < 0 or self.size < 0:
            raise LayoutError(
                f"part {self.name!r}: count {self.count} x size {self.size}, expected at least 0"
            )
        if self.is_planar and self.size % 2:
            raise LayoutError(f"part {self.name!r}: size {self.size}, expected pairs of a planar part")

    @property
    def width(self) -> int:
        """The number of entries of the whole part: count x size."""
        return self.count * self.size


@dataclasses.dataclass(frozen=True)
class ObservationLayout:
    """The parts of one agent's flat observation, in their order.

    Raises:
        LayoutError: Two parts have one name.
    """

    parts: tuple[Part, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "parts", tuple(self.parts))
        _refuse_duplicates([part.name for part in self.parts])

    @property
    def size(self) -> int:
        """The number of entries of the whole observation."""
        return sum(part.width for part in self.parts)

    def part(self, name: str) -> Part:
        """The part called `name`.

        Raises:
            UnknownNameError: There is none.
        """
        for part in self.parts:
            if part.name == name:
                return part
        raise UnknownNameError.of("observation part", name, [part.name for part in self.parts])

    def slice(self, name: str) -> slice:
        """The slice of the part called `name` in the flat observation.

        Raises:
            UnknownNameError: There is none.
        """
        wanted = self.part(name)
        start = 0
        for part in self.parts:
            if part is wanted:
                break
            start += part.width
        return slice(start, start + wanted.width)


@dataclasses.dataclass(frozen=True)
class ActionPart:
    """The meaning of one column of an agent's action.

    Raises:
        LayoutError: A column below 0, or an unknown kind.
    """

    name: str
    kind: ActionKind
    """`move`: acts on the environment; `message`: is received by other agents."""
    column: int = 0
    """The index among the agent's own action columns."""
    directions: tuple[tuple[float, ...], ...] | None = None
    """Of a categorical move in the plane, the direction (x, y) of each category, (0, 0) for none."""

    def __post_init__(self) -> None:
        if self.directions is not None:
            object.__setattr__(self, "directions", tuple(tuple(each) for each in self.directions))
        if self.kind not in get_args(ActionKind):
            problem = unknown_name("kind", self.kind, get_args(ActionKind))
            raise LayoutError(f"action part {self.name!r}: {problem}")
        if self.column < 0:
            raise LayoutError(f"action part {self.name!r}: column {self.column}, expected at least 0")


@dataclasses.dataclass(frozen=True)
class AgentLayout:
    """The layout of one agent's observation and, where it is known, of its action.

    Raises:
        LayoutError: Two action parts have one name.
    """

    observation: ObservationLayout
    action: tuple[ActionPart, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "action", tuple(self.action))
        _refuse_duplicates([part.name for part in self.action])

    def check(self, agent: str, observation_size: int, n_columns: int) -> None:
        """Checks that the layout fits the agent's spaces.

        Args:
            agent: The agent's name in messages.
            observation_size: The number of entries of the agent's flat observation.
            n_columns: The number of columns of the agent's action.

        Raises:
            LayoutError: The parts do not add up to the observation, or an action part has no such column.
        """
        if self.observation.size != observation_size:
            widths = ", ".join(f"{part.name} {part.width}" for part in self.observation.parts)
            raise LayoutError(
                f"layout of {agent}: parts add up to {self.observation.size} ({widths}), "
                f"its observation has {observation_size}"
            )
        for part in self.action:
            if part.column >= n_columns:
                raise LayoutError(
                    f"layout of {agent}: action part {part.name!r} is column {part.column}, "
                    f"its action has {n_columns} (counted from 0)"
                )

    def to_json(self) -> dict[str, Any]:
        """The layout as plain lists, strings and numbers."""
        return {
            "observation": [dataclasses.asdict(part) for part in self.observation.parts],
            "action": [dataclasses.asdict(part) for part in self.action],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> AgentLayout:
        """The layout that `to_json` described.

        Raises:
            LayoutError: `data` is no layout.
        """
        try:
            return cls(
                ObservationLayout(tuple(Part(**part) for part in data["observation"])),
                tuple(ActionPart(**part) for part in data["action"]),
            )
        except (KeyError, TypeError) as error:
            raise LayoutError(f"not a layout: {error}") from None


def flat_layout(size: int) -> AgentLayout:
    """The layout of an undeclared observation: one part, the agent's own features."""
    return AgentLayout(ObservationLayout((Part("observation", "own", 1, size),)))


def _refuse_duplicates(names: list[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise LayoutError(f"two parts are called {name!r}: each needs a name of its own")
