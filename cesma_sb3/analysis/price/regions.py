"""Where expert and students do different things: a shallow tree over what the layouts name."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import numpy.typing as npt
from sklearn.tree import DecisionTreeClassifier, _tree

from cesma_sb3.analysis.price.rollouts import Visits
from cesma_sb3.spaces.team_spaces import TeamSpaces

Floats = npt.NDArray[np.float32]


@dataclasses.dataclass(frozen=True)
class Region:
    """A part of the states."""

    condition: str
    """In the words of the layouts."""
    inside: npt.NDArray[np.bool_]
    """Which steps lie in it, [S]."""


def regions(
    visits: Visits,
    differs: npt.NDArray[np.bool_],
    team: TeamSpaces,
    *,
    learns: npt.NDArray[np.bool_],
    depth: int = 2,
) -> list[Region]:
    """Parts of the states, found on some of the steps, most disagreement first.

    Args:
        visits: The steps.
        differs: Where somebody does something else than the expert, [S].
        team: Whose layouts name the entries.
        learns: Steps that the tree is grown on; what is said of regions should come from the others.
        depth: Conditions of a region, at most.
    """
    if differs[learns].all() or not differs[learns].any():
        return []
    features = named_features(visits, team)
    values = np.stack([*features.values()], axis=1)
    tree = DecisionTreeClassifier(max_depth=depth, min_samples_leaf=0.05, random_state=0)
    tree.fit(values[learns], differs[learns])
    leaves = tree.apply(values)
    found = [Region(text, leaves == leaf) for leaf, text in _conditions(tree.tree_, [*features]).items()]
    return sorted(found, key=lambda region: -float(differs[learns & region.inside].mean()))


def named_features(visits: Visits, team: TeamSpaces) -> dict[str, Floats]:
    """What regions are told by, each [S]: the step, entries of the joint observation, and lengths.

    Parts of two numbers an entity are vectors: their lengths are features too, and of several alike the
    least of these, with how far the next one is behind it.
    """
    features: dict[str, Floats] = {"step": visits.times.astype(np.float32)}
    for agent, own in zip(team.agents, team.observation_slices, strict=True):
        start = own.start
        for part in team.layouts[agent].observation.parts:
            values = visits.observations[:, start : start + part.width].reshape(-1, part.count, part.size)
            start += part.width
            for index in range(part.count):
                name = f"{agent} {part.name}" + (f"[{index}]" if part.count > 1 else "")
                for entry in range(part.size):
                    features[name + (f".{entry}" if part.size > 1 else "")] = values[:, index, entry]
            if part.size == 2 and part.kind != "message":
                features |= _lengths(f"{agent} {part.name}", values)
    return features


def _lengths(name: str, vectors: Floats) -> dict[str, Floats]:
    """Of vectors [S, count, 2]."""
    lengths = np.sort(np.linalg.norm(vectors, axis=2), axis=1)
    if lengths.shape[1] == 0:
        return {}
    if lengths.shape[1] == 1:
        return {f"|{name}|": lengths[:, 0]}
    return {f"nearest |{name}|": lengths[:, 0], f"next but nearest |{name}|": lengths[:, 1] - lengths[:, 0]}


def _conditions(tree: _tree.Tree, names: list[str]) -> dict[int, str]:
    """The condition of each leaf: of each feature on its path, between what."""
    found, waiting = dict[int, str](), [(0, dict[str, tuple[float, float]]())]
    while waiting:
        node, so_far = waiting.pop()
        if tree.children_left[node] == tree.children_right[node]:
            found[node] = " and ".join(_condition(name, *ends) for name, ends in so_far.items())
            continue
        name, threshold = names[tree.feature[node]], float(tree.threshold[node])
        low, high = so_far.get(name, (-math.inf, math.inf))
        waiting.append((tree.children_left[node], {**so_far, name: (low, min(high, threshold))}))
        waiting.append((tree.children_right[node], {**so_far, name: (max(low, threshold), high)}))
    return found


def _condition(name: str, low: float, high: float) -> str:
    if math.isinf(low):
        return f"{name} <= {high:.3g}"
    return f"{name} > {low:.3g}" if math.isinf(high) else f"{low:.3g} < {name} <= {high:.3g}"
