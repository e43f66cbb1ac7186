"""Estimates of what the students return less than their expert."""

from __future__ import annotations

from collections.abc import Iterator

from cesma_sb3.analysis.price.estimates import Estimate, mean_estimate, ratio_estimate
from cesma_sb3.analysis.price.measurement import GapMeasurement


def return_gap(measurement: GapMeasurement) -> Iterator[Estimate]:
    """Estimate the gap in returns, in normalised scores and in battles won."""
    students, expert = measurement.students_returns, measurement.expert_returns
    lost, share = expert.team - students.team, measurement.share_of_equal_starts
    paired = "Expert less students, episode by episode; Student's t over the differences."
    if share == 1.0:
        paired = f"{paired} The episodes of a pair begin in the same state."
    else:
        paired = f"{paired} {share:.0%} of the pairs begin in the same state, the others in different ones."
    yield mean_estimate("return lost", lost, "return", paired)
    span = measurement.evaluator.span()
    if span > 0:
        how = f"{paired} In units of the distance from a random team to the reference ({span:.3g})."
        yield mean_estimate("score lost", lost / span, "normalised score", how)
    random = measurement.evaluator.anchors()["random"]
    if expert.mean > random.mean:
        how = (
            "Students less a random team, as a share of expert less a random team; the interval is that of "
            "the ratio's linearization, over episodes."
        )
        gained = students.team - random.team, expert.team - random.team
        yield ratio_estimate("share of the expert's gain", *gained, "share", how)
    if students.wins is not None and expert.wins is not None:
        won = expert.wins.astype(float) - students.wins.astype(float)
        yield mean_estimate("battles lost", won, "share of battles", paired)
