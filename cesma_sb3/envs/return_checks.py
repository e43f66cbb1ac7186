"""Strict reading of what an environment returns: errors say what came and what was expected."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from cesma_sb3.errors import EnvError, short_repr
from cesma_sb3.spaces.types import Flags


def several(method: str, answer: Any, names: tuple[str, ...]) -> tuple[Any, ...]:
    """The values that a method returned, as many as it has names.

    Raises:
        ValueError: It is no tuple, or one of another length.
    """
    if not isinstance(answer, tuple | list):
        raise ValueError(f"{method} returned no ({', '.join(names)}), but {short_repr(answer)}")
    if len(answer) != len(names):
        raise ValueError(f"{method} returned no ({', '.join(names)}), but {len(answer)} values")
    return tuple(answer)


class ReturnReader:
    """Reads what one PettingZoo environment returns.

    Args:
        ids: By the name of each agent, in the team's order, the environment's own id of it.
        fault: Makes the error from a message; it adds the environment's name and the step.
    """

    def __init__(self, ids: Mapping[str, Any], fault: Callable[[str], EnvError]) -> None:
        self._ids = dict(ids)
        self._known = frozenset(self._ids.values())
        self._fault = fault

    def several(self, method: str, answer: Any, names: tuple[str, ...]) -> tuple[Any, ...]:
        """The values that a method of this environment returned, as many as it has names.

        Raises:
            EnvError: It is no tuple, or one of another length.
        """
        try:
            return several(method, answer, names)
        except ValueError as error:
            raise self._fault(str(error)) from None

    def by_agent(self, what: str, answer: Any) -> Mapping[Any, Any]:
        """A dict with a value for each agent.

        Raises:
            EnvError: It is no dict.
        """
        if not isinstance(answer, Mapping):
            raise self._fault(f"{what} are {short_repr(answer)}, expected a dict: a value for each agent")
        return answer

    def infos(self, answer: Any) -> Mapping[Any, Any]:
        """The agents' infos; an environment without infos may return None."""
        return {} if answer is None else self.by_agent("infos", answer)

    def present(self, agents: Any) -> Flags:
        """Which agents are in the environment's `agents`, [n_agents].

        Raises:
            EnvError: It is no list of agents, or one of them is not of the team.
        """
        if isinstance(agents, str) or not isinstance(agents, Iterable):
            raise self._fault(
                f"its agents are {short_repr(agents)}, expected the list of those that are alive"
            )
        there = list(agents)
        known = np.array([agent in there for agent in self._ids.values()], dtype=bool)
        if strangers := sorted(str(agent) for agent in there if agent not in self._known):
            raise self._fault(f"agents {strangers} are not among its possible_agents")
        return known

    def flags(self, what: str, answer: Any) -> Flags:
        """A flag of each agent, [n_agents]; agents that are left out have False.

        Raises:
            EnvError: It is no dict, a key is no agent, or a value is neither true nor false.
        """
        given = self._only_agents(what, answer)
        return np.array([self._flag(what, given.get(name, False), name) for name in self._ids.values()], bool)

    def _flag(self, what: str, value: Any, name: Any) -> bool:
        if isinstance(value, bool | np.bool_):
            return bool(value)
        number = _number(value)
        if number not in (0.0, 1.0):
            raise self._fault(f"{what} of {name} are {short_repr(value)}, expected True or False")
        return bool(number)

    def rewards(self, answer: Any) -> dict[str, float]:
        """The reward of each agent that has one.

        Raises:
            EnvError: It is no dict, a key is no agent, or a value is not a finite number.
        """
        given = self._only_agents("rewards", answer)
        rewards = {}
        for agent, name in self._ids.items():
            value = given.get(name)
            if value is None:
                continue
            number = _number(value)
            if number is None or not np.isfinite(number):
                hint = "; env.reward_weights makes a number of a vector"
                hint *= isinstance(value, list | tuple | np.ndarray)
                raise self._fault(f"reward of {agent} is {short_repr(value)}, expected a finite number{hint}")
            rewards[agent] = number
        return rewards

    def _only_agents(self, what: str, answer: Any) -> Mapping[Any, Any]:
        given = self.by_agent(what, answer)
        if strangers := [key for key in given if key not in self._known]:
            team = ", ".join(self._ids)
            raise self._fault(f"{what} have the key {strangers[0]!r}, which is no agent; expected {team}")
        return given


def _number(value: Any) -> float | None:
    """A single number, also one in an array of one entry; None for anything else."""
    try:
        array = np.asarray(value)
    except Exception:  # whatever somebody else's type raises that is no array
        return None
    return float(array.reshape(())) if array.size == 1 and array.dtype.kind in "biuf" else None
