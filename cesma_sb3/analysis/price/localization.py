"""When and where expert and students differ, and what that costs."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from cesma_sb3.analysis.price.estimates import Row, mean_row
from cesma_sb3.analysis.price.imitation_error import THIRDS
from cesma_sb3.analysis.price.losses import disagreements
from cesma_sb3.analysis.price.measurement import Measured
from cesma_sb3.analysis.price.one_step_deviations import Deviations
from cesma_sb3.analysis.price.regions import regions

_REGIONS = 3


def third_rows(found: Deviations) -> Iterator[Row]:
    """What was lost early, and late."""
    for name, steps in zip(THIRDS, np.array_split(np.arange(len(found.costs)), 3), strict=True):
        yield mean_row(
            f"lost in the {name} third of the steps",
            found.costs[steps].sum(axis=0),
            "return",
            "Costs of single deviations added up; those of all steps add up to the return lost "
            "(performance difference lemma).",
        )


def region_rows(measured: Measured, found: Deviations | None) -> Iterator[Row]:
    """Where most of the disagreement is: found on half of the episodes, measured on the others.

    Args:
        measured: The run's two teams.
        found: What single deviations cost, where that can be told.
    """
    visits = measured.of_students
    differs = np.nanmax(disagreements(visits, measured.team), axis=1)
    learns = visits.episodes % 2 == 0
    costs = None if found is None else found.costs.T[visits.episodes, visits.times]
    for region in regions(visits, differs > 0, measured.team, learns=learns)[:_REGIONS]:
        there = region.inside & ~learns
        if not there.any():
            continue
        how = (
            f"A tree on half of the episodes, measured on the others; "
            f"{there.sum() / (~learns).sum():.0%} of their steps lie here."
        )
        values = visits.of_episode(np.where(there, differs, np.nan))
        yield mean_row(f"disagreement where {region.condition}", values, "share of steps", how)
        if costs is not None:
            of_region = visits.of_episode(np.where(there, costs, np.nan))
            how = f"{how} Mean cost of doing once what the students do."
            yield mean_row(f"cost of a step where {region.condition}", of_region, "return", how)
