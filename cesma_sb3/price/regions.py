"""Where expert and students do different things: a shallow tree over the parts of the joint observation."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
from sklearn.tree import DecisionTreeClassifier, _tree

from cesma_sb3.joint.spaces import TeamSpaces


@dataclasses.dataclass(frozen=True)
class Region:
    """A part of the states."""

    condition: str
    """In the words of the layouts."""
    inside: npt.NDArray[np.bool_]
    """Which steps lie in it, [S]."""


def regions(
    observations: npt.NDArray[np.float32],
    differs: npt.NDArray[np.bool_],
    team: TeamSpaces,
    *,
    learns: npt.NDArray[np.bool_],
    depth: int = 2,
) -> list[Region]:
    """Parts of the states, found on some of the steps, most disagreement first.

    Args:
        observations: Joint, [S, I].
        differs: Where somebody does something else than the expert, [S].
        team: Whose layouts name the entries.
        learns: Steps that the tree is grown on; what is said of regions should come from the others.
        depth: Conditions of a region, at most.
    """
    if differs[learns].all() or not differs[learns].any():
        return []
    tree = DecisionTreeClassifier(max_depth=depth, min_samples_leaf=0.05, random_state=0)
    tree.fit(observations[learns], differs[learns])
    leaves, names = tree.apply(observations), entry_names(team)
    found = [Region(text, leaves == leaf) for leaf, text in _conditions(tree.tree_, names).items()]
    return sorted(found, key=lambda region: -float(differs[learns & region.inside].mean()))


def entry_names(team: TeamSpaces) -> list[str]:
    """What each entry of the joint observation is called: `agent_0 landmarks[1].0`."""
    names = []
    for agent in team.agents:
        for part in team.layouts[agent].observation.parts:
            for index in range(part.count):
                which = f"[{index}]" if part.count > 1 else ""
                names += [
                    f"{agent} {part.name}{which}" + (f".{entry}" if part.size > 1 else "")
                    for entry in range(part.size)
                ]
    return names


def _conditions(tree: _tree.Tree, names: list[str]) -> dict[int, str]:
    """The condition of each leaf."""
    found, waiting = dict[int, str](), [(0, list[str]())]
    while waiting:
        node, so_far = waiting.pop()
        if tree.children_left[node] == tree.children_right[node]:
            found[node] = " and ".join(so_far)
            continue
        name, threshold = names[tree.feature[node]], tree.threshold[node]
        waiting.append((tree.children_left[node], [*so_far, f"{name} <= {threshold:.3g}"]))
        waiting.append((tree.children_right[node], [*so_far, f"{name} > {threshold:.3g}"]))
    return found
