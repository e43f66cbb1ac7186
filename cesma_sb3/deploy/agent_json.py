"""The JSON beside an exported agent: enough to feed it, for somebody who has nothing else.

| key | what it holds |
|---|---|
| `observation` | `space`, as the environment has it; `flattening`, how an element of it becomes `size` scalars, one entry for each leaf of the space: `path` to it, `kind`, `start` and `stop`; `parts`, what the scalars mean |
| `action` | `space`, as the environment has it; `columns` of the output, each with `first`, the environment's value for category 0, or with bounds |
| `mask` | `size` flags, true for available; where they come `from`; `columns`, the flags of each action column |
| `state` | `size` of the memory, and what it `begins_with` |
| `deterministic` | true if the agent is evaluated with its likeliest actions; false if it samples its actions |
| `noise` | of an agent that samples: `size` of the noise to feed at each step, and its `distribution`; zeros give the likeliest action. In the format sb3 there is none: `predict(..., deterministic=False)` samples |
| `messages` | names of the parts that are `received` and of the columns that are `sent` |
| `joint` | of an agent that is declared to be a part of a joint environment: the places of its entries in the observation (row by row), in the action, and in the mask of that environment |
| `wrappers` | SuperSuit's, through which the environment's observations pass first, the innermost first |

A leaf of kind `Box` or `MultiBinary` is taken row by row. One of kind `Discrete` or `MultiDiscrete` is one-hot,
its numbers one after the other: number i has `categories[i]` entries, of which the one at value - `first[i]` is 1.

An action is made of the columns in the shape of its `space`: category + `first` of a choice, else the number, rounded
if the space's dtype is an integer.
"""  # noqa: E501  # a table

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cesma_sb3.spaces.agent_spaces import MASK, ActionColumns, without_mask
from cesma_sb3.spaces.serialization import flattening, space_to_json
from cesma_sb3.spaces.team_spaces import TeamSpaces


def describe(
    own: TeamSpaces,
    *,
    inputs: Sequence[str],
    state_size: int,
    noise_size: int,
    deterministic: bool,
    joint: Mapping[str, Any] | None,
    wrappers: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    """The description of an exported agent: plain values, by the keys of the module's table.

    Args:
        own: The team of this one agent.
        inputs: Names of the file's inputs, in order.
        state_size: Size of the agent's memory; 0 without one.
        noise_size: Size of the noise from which it samples; 0 if it takes none.
        deterministic: Whether it takes its likeliest actions.
        joint: The agent's entries of an environment that is joint already, or None.
        wrappers: The name and arguments of each of SuperSuit's wrappers.
    """
    name = own.agents[0]
    layout, space = own.layouts[name], own.observation_spaces[name]
    parts = []
    for part in layout.observation.parts:
        where = layout.observation.slice(part.name)
        parts.append(
            {"name": part.name, "kind": part.kind, "start": where.start, "stop": where.stop}
            | {"count": part.count, "size": part.size}
        )
    acts = _columns(own)
    return {
        "inputs": list(inputs),
        "observation": {
            "size": own.observation_size,
            "dtype": "float32",
            "space": space_to_json(space),
            "flattening": flattening(space),
            "parts": parts,
        },
        "action": {
            "size": own.n_columns,
            "dtype": "int64" if own.is_discrete else "float32",
            "space": space_to_json(own.action_spaces[name]),
            "columns": acts,
        },
        "mask": _mask(own) if own.has_masks else None,
        "state": {"size": state_size, "begins_with": 0.0} if state_size else None,
        "deterministic": deterministic,
        "noise": {"size": noise_size, "distribution": "standard normal"} if noise_size else None,
        "messages": {
            "received": [part["name"] for part in parts if part["kind"] == "message"],
            "sent": [part["name"] for part in acts if part["kind"] == "message"],
        },
        "joint": joint,
        "wrappers": list(wrappers),
    }


def _columns(own: TeamSpaces) -> list[dict[str, Any]]:
    name = own.agents[0]
    columns = ActionColumns.of(own.action_spaces[name])
    meanings = {part.column: part for part in own.layouts[name].action}
    acts = []
    for column, n in enumerate(columns.categories):
        meaning = meanings.get(column)
        kind = (
            {"name": meaning.name, "kind": meaning.kind} if meaning else {"name": f"{column}", "kind": "move"}
        )
        values = (
            {"categories": n, "first": int(columns.start[column])}
            if n
            else {"low": _number(columns.low[column]), "high": _number(columns.high[column])}
        )
        acts.append(kind | values)
    return acts


def _mask(own: TeamSpaces) -> dict[str, Any]:
    in_observation = without_mask(own.observation_spaces[own.agents[0]])[1]
    flags = zip(own.column_masks, own.column_categories, strict=True)
    return {
        "size": own.mask_size,
        "from": "observation" if in_observation else "info",
        "key": MASK,
        "columns": [{"start": where.start, "stop": where.stop} if n else None for where, n in flags],
    }


def _number(value: np.floating[Any]) -> float | None:
    return float(value) if np.isfinite(value) else None
