"""The price of decentralization: what a team loses to its expert, and to what.

Each number is defined in docs/price.md. Source: section 5 (Theorem 1) and appendix F.1 of the paper.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from cesma_sb3.analysis.price.estimates import Row
from cesma_sb3.analysis.price.imitation_error import imitation_rows
from cesma_sb3.analysis.price.localization import region_rows, third_rows
from cesma_sb3.analysis.price.measurement import Measured
from cesma_sb3.analysis.price.messages import channel_rows, information_rows
from cesma_sb3.analysis.price.return_gap import gap_rows
from cesma_sb3.analysis.price.theorem1 import theorem_rows
from cesma_sb3.errors import ConfigError, integer
from cesma_sb3.spaces.communication import MessageChannel
from cesma_sb3.training.evaluator import Evaluator, threads
from cesma_sb3.training.run_folder import RunFolder
from cesma_sb3.utils.closing import closing

__all__ = ["PRICE", "Price", "Row", "price"]

PRICE = "price.json"


@dataclasses.dataclass(frozen=True)
class Price:
    """What `price` gives."""

    rows: list[Row]
    settings: dict[str, Any]
    """How many episodes, which seed, how long students were trained for it."""
    path: Path
    """`price.json` in the run folder, which holds the same."""


def price(
    run_dir: Path | str,
    *,
    episodes: int | None = None,
    seed: int | None = None,
    timesteps: int | None = None,
    trust: bool = False,
    progress: bool = False,
) -> Price:
    """Measures what decentralization costs in a finished run, and writes it into the run folder.

    Args:
        run_dir: A finished run, of an expert and its students.
        episodes: Of each measurement; None: as many as the experiment's final evaluation has.
        seed: Of the initial states; None: the run's.
        timesteps: Environment timesteps of the students that are trained to tell what partial observation
            costs, with their own view and with everybody's; None: as many as the run's had; 0: there are
            none.
        trust: That the folder may run the code that it names or holds, though it was made elsewhere.
        progress: Show a progress bar while these are trained.

    Raises:
        ConfigError: The run is a baseline, which has no expert; or a number is out of its range.
        StorageError: The run did not finish, or a file is missing or torn.
        UntrustedError: The folder would run code, and was not made here.
    """
    folder = RunFolder.open(run_dir, trust=trust)
    report = folder.report()
    if folder.experiment.dagger is None:
        raise ConfigError(f"{folder.path}: dagger is null: nobody was imitated, and nothing has a price")
    changes: dict[str, Any] = {} if seed is None else {"seed": seed}
    if episodes is not None:
        changes["evaluation.n_final_episodes"] = episodes
    if timesteps is None:
        timesteps = int(report["env_samples"].get("decentralize", folder.experiment.dagger.total_timesteps))
    timesteps = integer("timesteps", timesteps)
    experiment = folder.load(changes)
    with threads(experiment.threads), closing(Evaluator(experiment, agents=folder.agents)) as evaluator:
        rows = [*_rows(Measured(folder, experiment, evaluator), timesteps, progress)]
    settings = {
        "episodes": experiment.evaluation.n_final_episodes,
        "seed": experiment.seed,
        "timesteps": timesteps,
    }
    content = {"rows": [dataclasses.asdict(row) for row in rows], "settings": settings}
    return Price(rows, settings, folder.write_json(PRICE, content))


def _rows(measured: Measured, timesteps: int, progress: bool) -> Iterator[Row]:
    """All numbers.

    Args:
        measured: The run's two teams.
        timesteps: Of the students that are trained for it; 0: there are none.
        progress: Show how their training goes.
    """
    yield from gap_rows(measured)
    yield from imitation_rows(measured, measured.trained_out(timesteps, progress))
    found = measured.deviations()
    yield from theorem_rows(measured, found)
    if found is not None:
        yield from third_rows(found)
    yield from region_rows(measured, found)
    if MessageChannel.of(measured.team) is not None:
        yield from channel_rows(measured.returns, measured.with_channel, measured.venv.num_envs)
        rng = np.random.default_rng(measured.evaluator.seeds.random)
        yield from information_rows(measured.of_students, measured.team, rng)
