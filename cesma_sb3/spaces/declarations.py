"""What a PettingZoo `ParallelEnv` declares of its team: agents, spaces, layouts, and action masks."""

from __future__ import annotations

from collections.abc import Callable, Collection, KeysView, Mapping, Sequence, ValuesView
from typing import Any

import numpy as np
from gymnasium import spaces

from cesma_sb3.errors import CesmaError, LayoutError, SpaceError, error_line
from cesma_sb3.spaces.agent_spaces import MASK
from cesma_sb3.spaces.layout import AgentLayout
from cesma_sb3.spaces.types import Space


def possible_agents(env: Any, order: Sequence[str] | None = None) -> dict[str, Any]:
    """The environment's ids of its agents, by the agents' names, which are the ids as strings.

    Args:
        env: A `ParallelEnv`.
        order: The names in the wanted order; None: the order of `possible_agents`.

    Raises:
        SpaceError: There are no agents, or they have no order, as in a set, or other names than `order`.
    """
    found = getattr(env, "possible_agents", None)
    found = () if found is None else found
    if not isinstance(found, Sequence | KeysView | ValuesView | Mapping | np.ndarray):
        raise SpaceError(
            f"{env}: possible_agents is a {type(found).__name__}, which has no order that lasts; "
            "expected a list"
        )
    ids = list(found)
    if not ids:
        raise SpaceError(f"{env}: has no possible_agents, so that the team is not known before it plays")
    by_name = {str(agent): agent for agent in ids}
    if len(by_name) < len(ids):
        raise SpaceError(f"{env}: agents {ids}: expected each to have a name of its own")
    if order is None:
        return by_name
    check_names(by_name, order, str(env))
    return {name: by_name[name] for name in order}


def check_names(found: Collection[str], expected: Collection[str], who: str) -> None:
    """Checks that two teams have the same names, in any order.

    Args:
        found: Names of a team.
        expected: Names that it should have.
        who: What the message calls the team of `found`.

    Raises:
        SpaceError: They are not the same.
    """
    if len(found) != len(expected) or set(found) != set(expected):
        raise SpaceError(f"{who}: its agents are {_list(found)}; expected {_list(expected)}")


def _list(names: Collection[str]) -> str:
    shown = list(names)
    more = "" if len(shown) <= 8 else f", ... ({len(shown)} agents)"
    return ", ".join(shown[:8]) + more


def space_of(env: Any, kind: str, agent: Any) -> Space:
    """An agent's space, as a PettingZoo environment gives it.

    Args:
        env: The environment.
        kind: `observation` or `action`.
        agent: The environment's id of the agent.

    Raises:
        SpaceError: The environment has no such method, it raised, or what it returned is no space.
    """
    name, method = type(env).__name__, getattr(env, f"{kind}_space", None)
    if not callable(method):
        raise SpaceError(f"{name}: its {kind}_space is {method}, expected a method that takes an agent")
    try:
        space = method(agent)
    except Exception as error:  # whatever a foreign environment raises
        raise SpaceError(f"{name}: {kind}_space({agent!r}) raised {error_line(error)}") from error
    if not isinstance(space, spaces.Space):
        raise SpaceError(f"{agent}: its {kind} space is {space!r}, expected a space of gymnasium")
    return space


def declared_layouts(env: Any, agents: Sequence[Any], sizes: Sequence[int]) -> dict[str, AgentLayout]:
    """The layouts that the environment's own `layout(agent)` returns, if it has such a method.

    A wrapper may change observations (stack frames, append an indicator), and the layout beneath it then no
    longer describes them: one that is found beneath a wrapper counts only where it still adds up. A wrapper
    may have a method `layout` of its own.

    Args:
        env: A `ParallelEnv`, wrapped or not.
        agents: The environment's ids of its agents.
        sizes: The number of entries of each agent's flat observation.

    Raises:
        LayoutError: The method raised, or returned something else.
    """
    bare = getattr(env, "unwrapped", env)
    layout = getattr(env, "layout", None)  # a wrapper's own, or what its `__getattr__` finds in it
    layout = layout if callable(layout) else getattr(bare, "layout", None)
    if not callable(layout):
        return {}
    layouts = {str(agent): _declared(layout, agent) for agent in agents}
    if bare is env or hasattr(type(env), "layout"):
        return layouts
    per_agent = zip(agents, sizes, strict=True)
    return {
        str(agent): layouts[str(agent)]
        for agent, size in per_agent
        if layouts[str(agent)].observation.size == size
    }


def _declared(layout: Callable[[Any], Any], agent: Any) -> AgentLayout:
    try:
        found = layout(agent)
    except CesmaError:
        raise
    except Exception as error:  # whatever a foreign environment raises
        raise LayoutError(f"{agent}: its layout: {error_line(error)}") from error
    if not isinstance(found, AgentLayout):
        raise LayoutError(f"{agent}: its layout is of type {type(found).__name__}, expected AgentLayout")
    return found


def has_info_masks(env: Any, agents: Collection[Any]) -> bool:
    """Whether the environment has action masks in its infos.

    An attribute `masks_in_infos` of the environment decides. Without one it is reset once, and its first
    infos decide. The reset has no seed, so that an environment that is never seeded stays random, and one
    that is seeded later starts from its seed; the global generators are restored.

    Args:
        env: A `ParallelEnv`.
        agents: The environment's ids of the agents whose infos count.
    """
    declared = getattr(env, "masks_in_infos", None)
    if declared is None:
        declared = getattr(getattr(env, "unwrapped", None), "masks_in_infos", None)
    if isinstance(declared, bool):
        return declared
    from cesma_sb3.utils.torch_defaults import (
        own_generators,  # imports PyTorch, which spaces alone do without
    )

    try:
        with own_generators():
            _, infos = env.reset()
        return any(isinstance(infos.get(agent), Mapping) and MASK in infos[agent] for agent in agents)
    except (Exception, SystemExit):  # the first reset of an episode meets it again and reports it
        return False
