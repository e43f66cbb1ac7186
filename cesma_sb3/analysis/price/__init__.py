"""The price of decentralization: what a team of students returns less than its expert, and why.

docs/price.md defines each number. Source: section 5 (Theorem 1) and appendix F.1 of the paper.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from cesma_sb3.analysis.price.estimates import Estimate
from cesma_sb3.analysis.price.imitation_error import imitation_error
from cesma_sb3.analysis.price.localization import costs_by_third, disagreement_by_region
from cesma_sb3.analysis.price.measurement import GapMeasurement
from cesma_sb3.analysis.price.messages import message_ablations, message_information
from cesma_sb3.analysis.price.return_gap import return_gap
from cesma_sb3.analysis.price.theorem1 import theorem1
from cesma_sb3.errors import ConfigError, integer
from cesma_sb3.spaces.communication import MessageChannel
from cesma_sb3.training.context import torch_settings
from cesma_sb3.training.evaluator import Evaluator
from cesma_sb3.training.run_folder import PRICE, RunFolder
from cesma_sb3.utils.closing import closing

__all__ = ["Estimate", "Price", "price"]


@dataclasses.dataclass(frozen=True)
class Price:
    """Result of `price`."""

    rows: list[Estimate]
    settings: dict[str, Any]
    """`episodes`, `seed`, and `timesteps` of the students that were trained for comparison."""
    path: Path
    """`price.json` in the run folder (`RunFolder.outputs`), with the same content."""


def price(
    run_dir: Path | str,
    *,
    episodes: int | None = None,
    seed: int | None = None,
    timesteps: int | None = None,
    trust: bool = False,
    progress: bool = False,
) -> Price:
    """Measure what decentralization costs in a finished run, and write it into the run folder.

    Args:
        run_dir: The run folder of an expert and its students, or the name of a pretrained team.
        episodes: Episodes of each measurement; None: as many as the experiment's final evaluation has.
        seed: Seed of the initial states; None: the run's.
        timesteps: Environment timesteps of the students that are trained to measure the cost of partial
            observation, once with their own view and once with the joint view; None: as many as the run's
            students learned from, those of their expert's experience too; 0: train none.
        trust: Let the folder run the code that it names or holds, though it was made elsewhere.
        progress: Show a progress bar while these students are trained.

    Raises:
        ConfigError: The run is a baseline, which has no expert; or a number is out of its range.
        StorageError: The run did not finish, or a file is missing or damaged.
        UntrustedError: The folder would run code, and was not made here.
    """
    folder = RunFolder.open(run_dir, trust=trust)
    report = folder.report()
    if folder.experiment.dagger is None:
        raise ConfigError(f"{folder.path}: dagger is null: a baseline has no expert to compare with")
    changes: dict[str, Any] = {} if seed is None else {"seed": seed}
    if episodes is not None:
        changes["evaluation.n_final_episodes"] = episodes
    if timesteps is None:
        timesteps = sum(
            int(report.get(what, {}).get("decentralize", 0)) for what in ("env_samples", "experience")
        )
    timesteps = integer("timesteps", timesteps)
    experiment = folder.load(changes)
    with (
        torch_settings(experiment.threads),
        closing(Evaluator(experiment, agents=folder.agents)) as evaluator,
    ):
        rows = [*_estimates(GapMeasurement(folder, experiment, evaluator), timesteps, progress)]
    settings = {
        "episodes": experiment.evaluation.n_final_episodes,
        "seed": experiment.seed,
        "timesteps": timesteps,
    }
    content = {"rows": [dataclasses.asdict(row) for row in rows], "settings": settings}
    return Price(rows, settings, folder.write_output(PRICE, content))


def _estimates(measurement: GapMeasurement, timesteps: int, progress: bool) -> Iterator[Estimate]:
    """Make all estimates, in the order of docs/price.md."""
    yield from return_gap(measurement)
    yield from imitation_error(measurement, measurement.train_comparison_students(timesteps, progress))
    deviations = measurement.deviations()
    yield from theorem1(measurement, deviations)
    if deviations is not None:
        yield from costs_by_third(deviations)
    yield from disagreement_by_region(measurement, deviations)
    if MessageChannel.of(measurement.team) is not None:
        n_envs = measurement.venv.num_envs
        yield from message_ablations(measurement.students_returns, measurement.returns_with_messages, n_envs)
        rng = np.random.default_rng(measurement.evaluator.seeds.random)
        yield from message_information(measurement.students_rollouts, measurement.team, rng)
