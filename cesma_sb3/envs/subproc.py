"""Groups of joint environments, in this process or in one of their own.

Both have one interface: `send` a command, `receive` its result, `close`. A group that raises answers with the
error and stays usable; a process that died answers with an `EnvError`; nothing waits for it. SB3's
`SubprocVecEnv` has a process for each environment, waits for ever, and dies with an environment that raises.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any, NamedTuple

import cloudpickle
import numpy as np

from cesma_sb3.envs.joint_env import ONE_EACH, JointEnv
from cesma_sb3.errors import CesmaError, ConfigError, EnvError, SpaceError, error_line, short_repr
from cesma_sb3.spaces.action_views import ActionView
from cesma_sb3.spaces.team_spaces import TeamSpaces
from cesma_sb3.spaces.types import Doubles, Flags, Floats, Info
from cesma_sb3.utils.closing import error_of_closing


class Description(NamedTuple):
    """What all environments of a batch have in common, and the name of the first."""

    name: str
    team: TeamSpaces
    view: ActionView
    render_mode: str | None
    replaces_unavailable: bool

    @classmethod
    def of(cls, env: JointEnv) -> Description:
        """The description of an environment."""
        return cls(env.name, env.team, env.view, env.render_mode, env.replaces_unavailable)

    def check_alike(self, other: Description, own: int, others: int) -> None:
        """Checks that another environment can be stepped in one batch with this one.

        Args:
            other: The other environment's description.
            own: The number of this environment.
            others: The number of the other environment.

        Raises:
            SpaceError: It cannot; the message names both and the first difference.
        """
        theirs = other._parts()
        for what, mine in self._parts().items():
            if theirs[what] != mine:
                got, expected = short_repr(theirs[what], 200), short_repr(mine, 200)
                raise SpaceError(
                    f"environment {others} differs from environment {own}: {what}: {got}, expected {expected}"
                )

    def _parts(self) -> dict[str, Any]:
        """What must be equal, by its name in messages; the agents first, for the rest is by agent."""
        team = self.team
        parts: dict[str, Any] = {"the agents": list(team.agents)}
        for agent in team.agents:
            parts[f"the observation space of {agent}"] = team.observation_spaces[agent]
            parts[f"the action space of {agent}"] = team.action_spaces[agent]
            parts[f"the layout of {agent}"] = team.layouts[agent]
        return {
            **parts,
            "the agents with action masks": sorted(team.masked_agents),
            "the render mode": self.render_mode,
            "replacing unavailable actions": self.replaces_unavailable,
        }


class Transition(NamedTuple):
    """One step of K environments."""

    observations: Floats
    """[K, observation_size]; of the next episode where one ended."""
    rewards: Doubles
    """[K]."""
    dones: Flags
    """[K]."""
    infos: list[Info]
    """Of the step, so that at the end of an episode they tell about its last observation."""
    reset_infos: list[Info | None]
    """Of the reset after the end of an episode."""


class EnvGroup:
    """Some joint environments, stepped one after the other in this process.

    Args:
        make: Makes one of them.
        indices: Their numbers among all environments, for messages.

    Raises:
        EnvError: `make` raised something that is no `CesmaError`.
        ConfigError: It returned one object twice.
        SpaceError: An environment differs from the first.
    """

    def __init__(self, make: Callable[[], JointEnv], indices: Sequence[int]) -> None:
        self.indices = list(indices)
        self.envs: list[JointEnv] = []
        self._pending: list[tuple[str, tuple[Any, ...]]] = []
        try:
            for place in range(len(self.indices)):
                self.envs.append(self._guard(place, make))
                self._check_last()
        except BaseException:
            self.close()
            raise

    def _check_last(self) -> None:
        """Checks that the newest environment is a new object, and like the first."""
        *before, last = self.envs
        for env, index in zip(before, self.indices, strict=False):
            if env.innermost is last.innermost:
                here = self.indices[len(before)]
                raise ConfigError(f"environments {index} and {here} are one and the same object: {ONE_EACH}")
        if before:
            first, here = self.indices[0], self.indices[len(before)]
            Description.of(before[0]).check_alike(Description.of(last), first, here)

    def _guard(self, place: int, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Calls the function, and puts the environment's number before what it raises."""
        where = f"environment {self.indices[place]}"
        try:
            return function(*args, **kwargs)
        except CesmaError as error:
            raise type(error)(f"{where}: {error}") from error
        except Exception as error:  # whatever a foreign environment raises
            raise EnvError(f"{where}: {error_line(error)}") from error

    def send(self, command: str, *args: Any) -> None:
        """Asks for a method, which runs when its result is received."""
        self._pending.append((command, args))

    def receive(self) -> Any:
        """The result of the oldest command, or what it raised."""
        command, args = self._pending.pop(0)
        return getattr(self, command)(*args)

    def describe(self) -> Description:
        """The description that all environments share."""
        return Description.of(self.envs[0])

    def reset(
        self, seeds: Sequence[int | None], options: Sequence[dict[str, Any] | None]
    ) -> tuple[Floats, list[Info]]:
        """Resets all environments, each with its seed and options: observations and infos."""
        results = [
            self._guard(place, env.reset, seed=seeds[place], options=options[place] or None)
            for place, env in enumerate(self.envs)
        ]
        return np.stack([observation for observation, _ in results]), [info for _, info in results]

    def step(self, actions: Sequence[Any]) -> Transition:
        """Steps all environments, each with its action, and resets those whose episode ended."""
        rows = [self._step(place, action) for place, action in enumerate(actions)]
        observations, rewards, dones, infos, reset_infos = zip(*rows, strict=True)
        return Transition(
            np.stack(observations),
            np.array(rewards, dtype=np.float64),
            np.array(dones, dtype=bool),
            list(infos),
            list(reset_infos),
        )

    def _step(self, place: int, action: Any) -> tuple[Any, float, bool, Info, Info | None]:
        env = self.envs[place]
        observation, reward, terminated, truncated, info = self._guard(place, env.step, action)
        info["TimeLimit.truncated"] = truncated
        if not (terminated or truncated):
            return observation, reward, False, info, None
        info["terminal_observation"] = observation
        observation, reset_info = self._guard(place, env.reset)
        return observation, reward, True, info, reset_info

    def get(self, place: int, name: str) -> Any:
        """An attribute of one environment, or of the PettingZoo environment in it."""
        env = self.envs[place]
        return getattr(env, name) if hasattr(env, name) else getattr(env.parallel_env, name)

    def set(self, place: int, name: str, value: Any) -> None:
        """Sets an attribute of one environment."""
        setattr(self.envs[place], name, value)

    def call(self, place: int, name: str, args: Any, kwargs: Any) -> Any:
        """Calls a method of one environment, or of the PettingZoo environment in it."""
        method = self.get(place, name)  # an AttributeError is the answer to a question of SB3's
        return self._guard(place, method, *args, **kwargs)

    def images(self) -> list[Any]:
        """The rendered frame of each environment."""
        return [self._guard(place, env.render) for place, env in enumerate(self.envs)]

    def close(self) -> list[str]:
        """Closes all environments; each error as one line."""
        numbered = zip(self.indices, self.envs, strict=False)
        lines = [line for i, env in numbered for line in error_of_closing(f"environment {i}", env.close)]
        self.envs = []
        return lines


class RemoteGroup:
    """A group in a process of its own.

    Args:
        context: A `multiprocessing` context; its start method should be `forkserver` or `spawn`, since a
            forked copy of a process with threads (PyTorch has them) may hang.
        make: Makes one environment; pickled by value with cloudpickle, so that lambdas and functions of
            `__main__` travel.
        indices: The environments' numbers among all.
        step_timeout: Seconds that an answer may take; None: no limit.
    """

    def __init__(
        self,
        context: Any,
        make: Callable[[], JointEnv],
        indices: Sequence[int],
        step_timeout: float | None = None,
    ) -> None:
        self.indices = list(indices)
        self._step_timeout = step_timeout
        self._connection, theirs = context.Pipe()
        payload = cloudpickle.dumps((make, self.indices))
        self._process = context.Process(target=serve, args=(theirs, payload), daemon=True)
        self._process.start()
        theirs.close()  # or its end would never be noticed

    def send(self, command: str, *args: Any) -> None:
        """Asks for a method of the `EnvGroup` in the process."""
        with contextlib.suppress(OSError):  # a process that is gone is reported when the result is asked for
            self._connection.send((command, args))

    def receive(self) -> Any:
        """The result of the oldest command, or what it raised.

        Raises:
            EnvError: The process died, or gave no answer in time.
        """
        try:
            if not wait([self._connection, self._process.sentinel], self._step_timeout):
                self._process.kill()  # what it would answer later is no answer to what is asked then
                raise EnvError(f"{self._names}: no answer within {self._step_timeout:g} seconds")
            if not self._connection.poll():
                raise EOFError
            outcome, *content = self._connection.recv()
        except (EOFError, OSError):
            self._process.join(timeout=1)
            code = self._process.exitcode
            raise EnvError(f"{self._names}: the process died (exit code {code})") from None
        if outcome == "raised":
            kind, message, details = content
            raise kind(message) from RuntimeError(f"in the environment's process:\n{details}")
        return content[0]

    @property
    def _names(self) -> str:
        first, last = self.indices[0], self.indices[-1]
        return f"environment {first}" if first == last else f"environments {first} to {last}"

    def close(self) -> list[str]:
        """Closes the environments, each error as one line; kills a process that does not end in 5 seconds."""
        self.send("close")
        lines: list[str] = []
        by = time.monotonic() + 5
        with contextlib.suppress(EOFError, OSError):  # of a process that is gone
            while self._connection.poll(max(0.0, by - time.monotonic())):
                outcome, *content = self._connection.recv()
                if outcome == "closed":  # the others are results that were never received
                    (lines,) = content
                    break
        self._process.join(timeout=max(0.0, by - time.monotonic()))
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._connection.close()
        return lines


def serve(connection: Connection, payload: bytes) -> None:
    """The loop of a worker process: one thread for PyTorch, and every command gets an answer."""
    os.environ["OMP_NUM_THREADS"] = "1"  # counts for what is not imported yet
    group: EnvGroup | None = None
    fault: tuple[Any, ...] | None = None
    try:
        group = EnvGroup(*cloudpickle.loads(payload))
    except Exception as error:  # raised by the first `receive`, in the other process
        fault = _raised(error)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
    with contextlib.suppress(EOFError, OSError, KeyboardInterrupt):
        while True:
            command, args = connection.recv()
            if command == "close":
                connection.send(("closed", [] if group is None else group.close()))
                break
            connection.send(fault or _answer(group, command, args))
    if group is not None:
        group.close()
    connection.close()


def _answer(group: EnvGroup | None, command: str, args: tuple[Any, ...]) -> tuple[Any, ...]:
    try:
        return ("returned", getattr(group, command)(*args))
    except Exception as error:  # raised again in the other process
        return _raised(error)


def _raised(error: Exception) -> tuple[Any, ...]:
    # Only our own kinds and AttributeError are sure to be made again from a message.
    if isinstance(error, CesmaError | AttributeError):
        return ("raised", type(error), str(error), traceback.format_exc())
    return ("raised", EnvError, error_line(error), traceback.format_exc())
