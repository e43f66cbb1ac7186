"""The terms of Theorem 1, as far as a finished run tells them.

Source: section 5, Theorem 1; Ross et al. (2011), theorems 2.2 and 3.2.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator

import numpy as np

from cesma_sb3.analysis.price.estimates import Row, mean_row
from cesma_sb3.analysis.price.losses import disagreements
from cesma_sb3.analysis.price.measurement import Measured
from cesma_sb3.analysis.price.one_step_deviations import Deviations
from cesma_sb3.training.checkpoint import LOG

_LOSS = "dagger/loss/"


def theorem_rows(measured: Measured, found: Deviations | None) -> Iterator[Row]:
    """The terms, and the bound.

    Args:
        measured: The run's two teams.
        found: What single deviations cost, where that can be told.
    """
    differs = np.nanmax(disagreements(measured.of_students, measured.team), axis=1)
    epsilon = mean_row(
        "epsilon: joint disagreement",
        measured.of_students.of_episode(differs),
        "share of steps",
        "Steps in which somebody does something else than the expert: the 0-1 loss of the joint action in "
        "the states of the students that were kept. For the best of all rounds it is at most mu_N + gamma_N."
        + measured.note,
    )
    yield epsilon
    yield _hindsight(measured)
    how = (
        "Not estimated: it needs each round's students in their own states, and the rounds' students are not "
        "kept. It is a part of Theorem 1's O(1)."
    )
    yield Row("gamma_N: regret", None, None, None, "loss", how)
    lengths = measured.returns.lengths.astype(float)
    yield mean_row("T: episode", lengths, "steps", "Mean length of the students' episodes.")
    if found is None:
        how = (
            "Not estimated: it needs an environment whose state can be put back (the particle world) and "
            "policies that are deterministic and have no memory."
        )
        yield Row("u: largest cost of one deviation", None, None, None, "return", how)
        yield Row("bound: u T epsilon", None, None, None, "return", how)
        return
    how = "The most that one of the students' actions costs, the expert following, over all states met."
    yield Row("u of the students' actions", float(found.costs.max()), None, None, "return", how)
    u = float(max(found.costs.max(), found.of_others.max()))
    how = (
        "The same over the students' actions and as many drawn uniformly: at most Theorem 1's u, which is "
        "over all actions and states."
    )
    yield Row("u: largest cost of one deviation", u, None, None, "return", how)
    assert epsilon.value is not None
    scale = u * float(lengths.mean())
    low, high = (None if end is None else scale * end for end in (epsilon.low, epsilon.high))
    how = (
        "What theorem 2.2 of Ross et al., which Theorem 1 follows from, allows these students to lose, with "
        "the estimates above; the interval is epsilon's."
    )
    yield Row("bound: u T epsilon", scale * epsilon.value, low, high, "return", how)


def _hindsight(measured: Measured) -> Row:
    """The loss of the last students in the states of all rounds, from the run's own log."""
    name, unit = "mu_N: best in hindsight, at most", measured.measure.unit
    config, losses = measured.dagger, _last_losses(measured)
    samples = measured.folder.report()["env_samples"].get("decentralize", 0)
    forgets = config.when_full == "drop-oldest" and samples > config.capacity
    why = None
    if config.algorithm != "dagger":
        why = f"{config.algorithm} has no rounds of this kind"
    elif forgets:
        why = "the oldest samples were dropped"
    elif not losses:
        why = f"the run's log of losses ({LOG}) is not there"
    if why is not None:
        return Row(name, None, None, None, unit, f"Not estimated: {why}.")
    total = sum(losses.values())
    how = (
        "Mean loss in training when it ended, from the run's log, added up over the agents: that of the last "
        "students in the states of all rounds, as they were trained. The best in hindsight has no more."
    )
    if unit == "nats" and not measured.is_soft and config.class_weights == "none":
        # Whoever takes another action than the label gives that at most 1/2.
        how = f"{how} As a 0-1 loss of the joint action: at most {min(1.0, total / math.log(2)):.3g}."
    return Row(name, total, None, None, unit, how)


def _last_losses(measured: Measured) -> dict[str, float]:
    """The loss of each agent at the end of the log; of a run that went on, of its last part."""
    logs = sorted(
        (measured.folder.path / "logs").glob(f"students*/{LOG}"),
        key=lambda path: (len(path.parent.name), path),
    )
    found: dict[str, float] = {}
    for path in logs:
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                losses = {k.removeprefix(_LOSS): v for k, v in row.items() if k.startswith(_LOSS)}
                if losses and all(v and math.isfinite(float(v)) for v in losses.values()):
                    found = {agent: float(loss) for agent, loss in losses.items()}
    return found
