"""Gymnasium's MuJoCo robots as teams of their joints: `mujoco-ROBOT-PARTITION`, as MaMuJoCo divides them.

The environment is the plain robot, so that a model that SB3 trained on it still controls it. An agent has the
entries of its observation that MaMuJoCo gives it: of its own joints the positions and velocities (and the
contact forces of the bodies around them, in Ant-v5), of joints up to k joints away the positions, of the
torso everything.

Source: Peng et al. (2021), FACMAC; the partitions, joints at distance k and categories of MaMuJoCo v1 in
`gymnasium_robotics` (https://robotics.farama.org/envs/MaMuJoCo/).
"""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Mapping
from typing import Any

import gymnasium

from cesma_sb3.errors import ConfigError, UnknownNameError, integer
from cesma_sb3.spaces.agent_slices import AgentSlice
from cesma_sb3.utils.installation import missing_extra

PREFIX = "mujoco-"
Joints = tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Robot:
    """A robot's joints and their places in the observation and the action of Gymnasium's environment.

    The observation is the torso's positions, the joints', the torso's velocities, the joints', and in Ant-v5
    the contact forces of the bodies.
    """

    name: str
    """Gymnasium's, without the version."""
    joints: Joints
    """In the order of the observation."""
    actuated: Joints
    """In the order of the action."""
    neighbours: tuple[Joints, ...]
    """Joints that are adjacent to one another."""
    partitions: Mapping[str, tuple[Joints, ...]]
    """The joints of each agent, in the order of its action."""
    n_torso_positions: int = 2
    n_torso_velocities: int = 3
    bodies: Mapping[str, tuple[int, ...]] = dataclasses.field(default_factory=dict)
    """By joint, the numbers of the bodies around it, from 1; empty where no contact forces are observed."""

    def size(self, *, has_contacts: bool) -> int:
        """The number of entries of the observation."""
        forces = 6 * max((max(each) for each in self.bodies.values()), default=0)
        torso = self.n_torso_positions + self.n_torso_velocities
        return torso + 2 * len(self.joints) + forces * has_contacts

    def observed(self, own: Joints, distance: int, *, has_contacts: bool) -> list[int]:
        """The entries that the agent of these joints observes, in MaMuJoCo's order."""
        n, first = len(self.joints), self.n_torso_positions
        velocities = first + n
        forces = velocities + self.n_torso_velocities + n
        entries: list[int] = []
        felt: set[int] = set()
        for joint in sorted(own):
            place = self.joints.index(joint)
            entries += [first + place, velocities + self.n_torso_velocities + place]
            bodies = [body for body in self.bodies.get(joint, ()) if has_contacts and body not in felt]
            felt.update(bodies)
            entries += [forces + 6 * (body - 1) + i for body in bodies for i in range(6)]
        known, newest = set(own), set(own)
        for _ in range(distance):
            newest = {joint for edge in self.neighbours if newest & set(edge) for joint in edge} - known
            known |= newest
            entries += [first + self.joints.index(joint) for joint in sorted(newest)]
        return [*entries, *range(first), *range(velocities, velocities + self.n_torso_velocities)]


def _chain(*joints: str) -> tuple[Joints, ...]:
    return tuple(itertools.pairwise(joints))


_CHEETAH = ("bthigh", "bshin", "bfoot", "fthigh", "fshin", "ffoot")
_RIGHT, _LEFT = (
    ("thigh_joint", "leg_joint", "foot_joint"),
    ("thigh_left_joint", "leg_left_joint", "foot_left_joint"),
)
_LEGS = tuple((f"hip{i}", f"ankle{i}") for i in (1, 2, 3, 4))
ROBOTS = {
    robot.name.lower(): robot
    for robot in (
        Robot(
            "HalfCheetah",
            _CHEETAH,
            _CHEETAH,
            _chain("bfoot", "bshin", "bthigh", "fthigh", "fshin", "ffoot"),
            {"2x3": (_CHEETAH[:3], _CHEETAH[3:]), "6x1": tuple((joint,) for joint in _CHEETAH)},
        ),
        Robot("Hopper", _RIGHT, _RIGHT, _chain(*_RIGHT), {"3x1": tuple((joint,) for joint in _RIGHT)}),
        Robot(
            "Walker2d",
            _RIGHT + _LEFT,
            _RIGHT + _LEFT,
            _chain(*reversed(_RIGHT), *_LEFT),
            {"2x3": (_RIGHT[::-1], _LEFT[::-1])},
        ),
        Robot(
            "Ant",
            tuple(joint for leg in _LEGS for joint in leg),
            tuple(joint for leg in (_LEGS[3], *_LEGS[:3]) for joint in leg),
            (*_LEGS, tuple(hip for hip, _ in _LEGS)),
            {
                "2x4": (_LEGS[0] + _LEGS[1], _LEGS[2] + _LEGS[3]),
                "2x4d": (_LEGS[0] + _LEGS[3], _LEGS[1] + _LEGS[2]),
                "4x2": _LEGS,
            },
            n_torso_positions=5,
            n_torso_velocities=6,
            # The torso is body 1; each leg has three bodies, of which the hip moves the first.
            bodies={
                joint: bodies
                for i, (hip, ankle) in enumerate(_LEGS)
                for joint, bodies in ((hip, (1, 3 * i + 2)), (ankle, (3 * i + 2, 3 * i + 3, 3 * i + 4)))
            },
        ),
    )
}
NAMES = tuple(f"{PREFIX}{name}-{way}" for name, robot in ROBOTS.items() for way in robot.partitions)
"""Every robot with every way to divide it."""


def is_robot(target: str) -> bool:
    """Whether a name is one of a robot."""
    return target.startswith(PREFIX)


def robot_team(target: str, kwargs: Mapping[str, Any]) -> tuple[dict[str, AgentSlice], dict[str, Any]]:
    """A robot's agents, and what makes its environment.

    Args:
        target: `mujoco-halfcheetah-6x1` and the like (`NAMES`).
        kwargs: `obsk`: the distance up to which an agent observes other joints (1), or None: it observes what
            the whole robot does. `version`: of Gymnasium's environment; left out: 5, or 4 in older releases.
            Any other is an argument of Gymnasium's environment.

    Returns:
        The parts of `agent_0`, `agent_1` and so on, and the arguments of `plain_robot`.

    Raises:
        UnknownNameError: There is no such robot or partition; the message has the nearest.
        ConfigError: `obsk` or `version` is no such number.
    """
    if target not in NAMES:
        raise UnknownNameError.of("robot", target, NAMES)
    _, name, way = target.split("-")
    robot, given = ROBOTS[name], dict(kwargs)
    distance = given.pop("obsk", 1)
    newest = 5 if f"{robot.name}-v5" in gymnasium.registry else 4
    version = integer("env.kwargs.version", given.pop("version", newest), 1)
    has_contacts = bool(robot.bodies) and version >= 5 and given.get("include_cfrc_ext_in_observation", True)
    size = robot.size(has_contacts=has_contacts)
    if distance is not None:
        distance = integer("env.kwargs.obsk", distance)
    slices = {}
    for index, own in enumerate(robot.partitions[way]):
        entries = (
            list(range(size))
            if distance is None
            else robot.observed(own, distance, has_contacts=has_contacts)
        )
        columns = [robot.actuated.index(joint) for joint in own]
        slices[f"agent_{index}"] = AgentSlice(_text(entries), _text(columns))
    return slices, {**given, "robot": f"{robot.name}-v{version}", "size": size}


def plain_robot(robot: str, size: int, **kwargs: Any) -> Any:
    """Gymnasium's environment of a robot.

    Args:
        robot: Its name in Gymnasium, with the version.
        size: The number of entries that its observation has to have.
        **kwargs: Its arguments.

    Raises:
        MissingExtraError: MuJoCo is not installed.
        ConfigError: An argument changes what is observed.
    """
    try:
        import mujoco  # noqa: F401  # Gymnasium's own message names an extra of Gymnasium
    except ImportError as error:
        raise missing_extra(robot, "mujoco", error) from None
    try:
        env: Any = gymnasium.make(robot, disable_env_checker=True, **kwargs)
    except TypeError as error:
        raise ConfigError(f"env.kwargs: {robot}: {_reason(error)}") from error
    except gymnasium.error.Error as error:
        raise ConfigError(f"env.kwargs.version: {_reason(error)}") from error
    if env.observation_space.shape != (size,):
        shape = env.observation_space.shape
        env.close()
        raise ConfigError(
            f"env.kwargs: {robot}: its observation is of shape {shape}, expected {(size,)}; where arguments "
            "change what is observed, env.team says who observes it"
        )
    return env


def _text(places: list[int]) -> str:
    return ", ".join(map(str, places))


def _reason(error: Exception) -> str:
    """Gymnasium's message in one line, without the colours and the environment's own arguments."""
    return re.sub(r"\x1b\[\d+m", "", " ".join(str(error).split()))[:200]
