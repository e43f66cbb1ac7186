"""Estimates of the terms of Theorem 1, as far as a finished run tells them.

Source: section 5, Theorem 1; Ross et al. (2011), theorems 2.2 and 3.2.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from cesma_sb3.analysis.price.estimates import Estimate, mean_estimate, not_estimated
from cesma_sb3.analysis.price.losses import disagreements
from cesma_sb3.analysis.price.measurement import GapMeasurement
from cesma_sb3.analysis.price.one_step_deviations import Deviations
from cesma_sb3.analysis.run_data import LOSS, LOSSES, read_log

_U, _BOUND = "u: largest cost of one deviation", "bound: u T epsilon"


def theorem1(measurement: GapMeasurement, deviations: Deviations | None) -> Iterator[Estimate]:
    """Estimate the theorem's terms, and its bound.

    Args:
        measurement: The run's two teams.
        deviations: Costs of one-step deviations, where they can be measured.
    """
    rollouts = measurement.students_rollouts
    epsilon = mean_estimate(
        "epsilon: joint disagreement",
        rollouts.episode_means(np.nanmax(disagreements(rollouts, measurement.team), axis=1)),
        "share of steps",
        "Steps in which an agent acts differently from the expert: the 0-1 loss of the joint action in the "
        "states of the students that were kept. For the best of all rounds it is at most mu_N + gamma_N."
        + measurement.note,
    )
    yield epsilon
    yield _best_in_hindsight(measurement)
    yield not_estimated(
        "gamma_N: regret",
        "loss",
        "it needs each round's students in their own states, and the rounds' students are not kept. It is a "
        "part of Theorem 1's O(1)",
    )
    lengths = measurement.students_returns.lengths.astype(float)
    yield mean_estimate("T: episode", lengths, "steps", "Mean length of the students' episodes.")
    if deviations is not None:
        yield from _bound(epsilon, float(lengths.mean()), deviations)
        return
    why = (
        "it needs an environment whose state can be restored (the particle world) and policies that are "
        "deterministic and have no memory"
    )
    yield not_estimated(_U, "return", why)
    yield not_estimated(_BOUND, "return", why)


def _bound(epsilon: Estimate, mean_length: float, deviations: Deviations) -> Iterator[Estimate]:
    """Estimate u, and the bound that follows from it."""
    u = float(deviations.costs.max())
    how = "The most that one of the students' actions costs, the expert acting after it, over all states."
    yield Estimate("u of the students' actions", u, None, None, "return", how)
    u = float(max(u, deviations.random_costs.max()))
    how = (
        "The same over the students' actions and as many drawn uniformly: at most Theorem 1's u, which is "
        "over all actions and states."
    )
    yield Estimate(_U, u, None, None, "return", how)
    assert epsilon.value is not None
    scale = u * mean_length
    low, high = (None if end is None else scale * end for end in (epsilon.low, epsilon.high))
    how = (
        "What theorem 2.2 of Ross et al., which Theorem 1 follows from, allows these students to lose, with "
        "the estimates above; the interval is epsilon's."
    )
    yield Estimate(_BOUND, scale * epsilon.value, low, high, "return", how)


def _best_in_hindsight(measurement: GapMeasurement) -> Estimate:
    """Bound mu_N by the loss of the last students in the states of all rounds, from the run's own log."""
    name, unit = "mu_N: best in hindsight, at most", measurement.step_loss.unit
    config = measurement.dagger
    samples = measurement.folder.report()["env_samples"].get("decentralize", 0)
    if config.algorithm != "dagger":
        return not_estimated(name, unit, f"{config.algorithm} has no rounds of this kind")
    if measurement.began_with_states:
        why = "the students learned from states that others had visited too, which are of no round"
        return not_estimated(name, unit, why)
    if config.when_full == "drop-oldest" and samples > config.capacity:
        return not_estimated(name, unit, "the oldest samples were dropped")
    losses = _last_losses(read_log(measurement.folder.path / "logs"))
    if not losses:
        return not_estimated(name, unit, f"the run's log of losses (logs/{LOSSES}) is not there")
    total = sum(losses.values())
    how = (
        "Mean loss in training when it ended, from the run's log, added up over the agents: that of the last "
        "students in the states of all rounds, as they were trained. The best in hindsight has no more."
    )
    if unit == "nats" and not measurement.is_soft and config.class_weights == "none":
        # A student that acts differently from the label gives the label a probability of at most 1/2.
        how = f"{how} As a 0-1 loss of the joint action: at most {min(1.0, total / math.log(2)):.3g}."
    return Estimate(name, total, None, None, unit, how)


def _last_losses(log: Sequence[Mapping[str, str]]) -> dict[str, float]:
    """Return the loss of each agent in the last row of a run's log that has them all; empty if none has."""
    for row in reversed(log):
        losses = {
            column.removeprefix(LOSS): float(value or "nan")
            for column, value in row.items()
            if column.startswith(LOSS)
        }
        if losses and all(map(math.isfinite, losses.values())):
            return losses
    return {}
