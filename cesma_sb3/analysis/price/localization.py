"""When and where expert and students act differently, and what that costs.

Parts of the states are found by a shallow decision tree over features that the layouts name.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from sklearn.tree import DecisionTreeClassifier, _tree

from cesma_sb3.analysis.price.estimates import Estimate, mean_estimate
from cesma_sb3.analysis.price.imitation_error import THIRDS
from cesma_sb3.analysis.price.losses import disagreements
from cesma_sb3.analysis.price.measurement import GapMeasurement
from cesma_sb3.analysis.price.one_step_deviations import Deviations
from cesma_sb3.analysis.price.rollouts import Rollouts
from cesma_sb3.spaces.team_spaces import TeamSpaces

Feature = npt.NDArray[np.float32]
_REGIONS = 3
"""Regions that are reported."""
_DEPTH = 2
"""Conditions of a region, at most."""


def costs_by_third(deviations: Deviations) -> Iterator[Estimate]:
    """Estimate how much of the return is lost in each third of the episodes."""
    for name, steps in zip(THIRDS, np.array_split(np.arange(len(deviations.costs)), 3), strict=True):
        yield mean_estimate(
            f"lost in the {name} third of the steps",
            deviations.costs[steps].sum(axis=0),
            "return",
            "Costs of single deviations added up; those of all steps add up to the return lost "
            "(performance difference lemma).",
        )


def disagreement_by_region(measurement: GapMeasurement, deviations: Deviations | None) -> Iterator[Estimate]:
    """Estimate disagreement, and its cost, in the regions where it is most frequent.

    Regions are found on half of the episodes, and measured on the others.

    Args:
        measurement: The run's two teams.
        deviations: Costs of one-step deviations, where they can be measured.
    """
    rollouts = measurement.students_rollouts
    disagrees = np.nanmax(disagreements(rollouts, measurement.team), axis=1)
    fits = rollouts.episodes % 2 == 0
    for region in find_regions(rollouts, disagrees > 0, measurement.team, fits=fits)[:_REGIONS]:
        measured = region.inside & ~fits
        if not measured.any():
            continue
        how = (
            f"A tree on half of the episodes, measured on the others; "
            f"{measured.sum() / (~fits).sum():.0%} of their steps lie here."
        )
        values = rollouts.episode_means(np.where(measured, disagrees, np.nan))
        yield mean_estimate(f"disagreement where {region.condition}", values, "share of steps", how)
        if deviations is not None:
            costs = deviations.costs.T[rollouts.episodes, rollouts.times]
            values = rollouts.episode_means(np.where(measured, costs, np.nan))
            how = f"{how} Mean cost of doing once what the students do."
            yield mean_estimate(f"cost of a step where {region.condition}", values, "return", how)


@dataclasses.dataclass(frozen=True)
class Region:
    """A part of the states."""

    condition: str
    """The condition that its states fulfil, in the words of the layouts."""
    inside: npt.NDArray[np.bool_]
    """Which steps lie in it, [S]."""


def find_regions(
    rollouts: Rollouts,
    disagrees: npt.NDArray[np.bool_],
    team: TeamSpaces,
    *,
    fits: npt.NDArray[np.bool_],
) -> list[Region]:
    """Return parts of the states, found on some of the steps, the one with most disagreement first.

    Args:
        rollouts: The steps.
        disagrees: Where an agent acts differently from the expert, [S].
        team: The team's spaces; their layouts name the features.
        fits: Steps that the tree is fitted to, [S]; regions should be measured on the others.
    """
    if disagrees[fits].all() or not disagrees[fits].any():
        return []
    features = named_features(rollouts, team)
    values = np.stack([*features.values()], axis=1)
    tree = DecisionTreeClassifier(max_depth=_DEPTH, min_samples_leaf=0.05, random_state=0)
    tree.fit(values[fits], disagrees[fits])
    leaves = tree.apply(values)
    regions = [
        Region(condition, leaves == leaf) for leaf, condition in _conditions(tree.tree_, [*features]).items()
    ]
    return sorted(regions, key=lambda region: -float(disagrees[fits & region.inside].mean()))


def named_features(rollouts: Rollouts, team: TeamSpaces) -> dict[str, Feature]:
    """Return what can tell regions apart, [S] each: the step, entries of the joint observation, and lengths.

    Parts of two numbers an entity are vectors: their lengths are features too. Of several such entities,
    these are the shortest length, and by how much the second shortest is longer.
    """
    features: dict[str, Feature] = {"step": rollouts.times.astype(np.float32)}
    for agent, own in zip(team.agents, team.observation_slices, strict=True):
        start = own.start
        for part in team.layouts[agent].observation.parts:
            values = rollouts.observations[:, start : start + part.width].reshape(-1, part.count, part.size)
            start += part.width
            for index in range(part.count):
                name = f"{agent} {part.name}" + (f"[{index}]" if part.count > 1 else "")
                for entry in range(part.size):
                    features[name + (f".{entry}" if part.size > 1 else "")] = values[:, index, entry]
            if part.size == 2 and part.kind != "message":
                features |= _lengths(f"{agent} {part.name}", values)
    return features


def _lengths(name: str, vectors: Feature) -> dict[str, Feature]:
    """Return features of the lengths of vectors [S, count, 2]."""
    lengths = np.sort(np.linalg.norm(vectors, axis=2), axis=1)
    if lengths.shape[1] == 0:
        return {}
    if lengths.shape[1] == 1:
        return {f"|{name}|": lengths[:, 0]}
    return {f"nearest |{name}|": lengths[:, 0], f"next but nearest |{name}|": lengths[:, 1] - lengths[:, 0]}


def _conditions(tree: _tree.Tree, names: list[str]) -> dict[int, str]:
    """Return the condition of each leaf: for each feature on the path to it, its range."""
    conditions, stack = dict[int, str](), [(0, dict[str, tuple[float, float]]())]
    while stack:
        node, ranges = stack.pop()
        if tree.children_left[node] == tree.children_right[node]:
            conditions[node] = " and ".join(_condition(name, *ends) for name, ends in ranges.items())
            continue
        name, threshold = names[tree.feature[node]], float(tree.threshold[node])
        low, high = ranges.get(name, (-math.inf, math.inf))
        stack.append((tree.children_left[node], {**ranges, name: (low, min(high, threshold))}))
        stack.append((tree.children_right[node], {**ranges, name: (max(low, threshold), high)}))
    return conditions


def _condition(name: str, low: float, high: float) -> str:
    if math.isinf(low):
        return f"{name} <= {high:.3g}"
    return f"{name} > {low:.3g}" if math.isinf(high) else f"{low:.3g} < {name} <= {high:.3g}"
