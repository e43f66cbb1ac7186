"""What the students' returns lack of the expert's."""

from __future__ import annotations

from collections.abc import Iterator

from cesma_sb3.analysis.price.estimates import Row, mean_row, ratio_row
from cesma_sb3.analysis.price.measurement import Measured


def gap_rows(measured: Measured) -> Iterator[Row]:
    """The gap, in returns, in scores and in battles."""
    mine, experts = measured.returns, measured.experts_returns
    lost, alike = experts.team - mine.team, measured.alike
    paired = "Expert less students, episode by episode; Student's t over the differences."
    if alike == 1.0:
        paired = f"{paired} The episodes of a pair begin in the same state."
    else:
        paired = f"{paired} {alike:.0%} of the pairs begin in the same state, the others in any two."
    yield mean_row("return lost", lost, "return", paired)
    span = measured.evaluator.span()
    if span > 0:
        how = f"{paired} In units of the distance from a random team to the reference ({span:.3g})."
        yield mean_row("score lost", lost / span, "normalised score", how)
    random = measured.evaluator.anchors()["random"]
    if experts.mean > random.mean:
        how = (
            "Students less a random team, as a share of expert less a random team; the interval is that of "
            "the ratio's linearization, over episodes."
        )
        gained = mine.team - random.team, experts.team - random.team
        yield ratio_row("share of the expert's gain", *gained, "share", how)
    if mine.wins is not None and experts.wins is not None:
        won = experts.wins.astype(float) - mine.wins.astype(float)
        yield mean_row("battles lost", won, "share of battles", paired)
