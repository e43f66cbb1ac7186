"""What a study is: everything that `tune` was given, checked, in a form that its workers read from a file."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from cesma_sb3.config.registry import load_experiment
from cesma_sb3.multirun.tuning.search_space import SearchSpace, load_space, merged
from cesma_sb3.multirun.tuning.storage import Direction
from cesma_sb3.training.experiment_files import EXPERIENCE
from cesma_sb3.training.run_folder import EXPERT, EXPERT_WEIGHTS

Objective = Literal["students", "expert", "students-and-samples"]


@dataclasses.dataclass(frozen=True)
class StudyConfig:
    """One study."""

    study: str
    """Its name in the storage."""
    experiment: str | Path
    """The name or file of the experiment that is tuned."""
    space: SearchSpace
    overrides: Mapping[str, Any]
    """Values in place of the experiment's in every trial, by key; with `expert`, that expert's values too."""
    objective: Objective
    """`students`: their mean score over the seeds. `expert`: the expert's, and no students are trained.
    `students-and-samples`: two objectives, the second one being few environment samples in all."""
    seeds: tuple[int, ...]
    """Of the runs of each trial; the first one also seeds the sampler."""
    n_trials: int | None
    """Trials that the study has in the end; None: as many as begin before the deadline."""
    deadline: float | None
    """No trial begins after it, in seconds of `time.time`; None: never."""
    folder: Path
    """Where trials have their run folders."""
    storage: str
    sampler: str
    pruner: str
    expert: Path | None = None
    """A run folder, or a folder with one for each seed, whose expert is used and not trained again."""

    @property
    def directions(self) -> tuple[Direction, ...]:
        """`maximize` or `minimize` for each objective."""
        both = self.objective == "students-and-samples"
        return ("maximize", "minimize") if both else ("maximize",)

    @property
    def is_over(self) -> bool:
        """Whether no more trials are to begin."""
        return self.deadline is not None and time.time() >= self.deadline

    @property
    def contents(self) -> dict[str, Any]:
        """What must be the same whenever the study is resumed, by name."""
        experiment = load_experiment(self.experiment, self.overrides).to_mapping()
        contents: dict[str, Any] = {"experiment": experiment, "space": self.space.to_mapping()}
        if self.objective != "students" or len(self.seeds) > 1:
            contents |= {"objective": self.objective, "seeds": list(self.seeds)}
        return contents

    def settings(self, values: Mapping[str, Any], seed: int) -> dict[str, Any]:
        """Everything that stands in place of the experiment's values in one run."""
        settings = {**self.overrides, **values, "seed": seed}
        if self.expert is not None:
            run = expert_run(self.expert, seed)
            expert = dict(settings["expert"])
            if expert["path"] is None and (run / EXPERT / EXPERT_WEIGHTS).is_file():  # it was trained there
                expert |= {"init_from": str(run), "total_timesteps": 0}
            if (visited := run / EXPERIENCE).is_file():
                expert["experience"] = str(visited)
            settings["expert"] = expert
        return settings

    def run_dir(self, number: int, seed: int) -> Path:
        """The run folder of a trial's run."""
        folder = self.folder / f"trial-{number}"
        return folder / f"seed-{seed}" if len(self.seeds) > 1 else folder

    def to_json(self) -> str:
        """All fields but the storage, whose URL may hold a password; `from_json` reads them back."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        del fields["storage"]
        return json.dumps({**fields, "space": self.space.parts}, default=str, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str, storage: str) -> StudyConfig:
        """The config that `to_json` wrote.

        Raises:
            ConfigError: A file of its search space has changed since.
        """
        fields = json.loads(text)
        expert = fields["expert"]
        return cls(
            **{
                **fields,
                "space": merged([load_space(part) for part in fields["space"]]),
                "seeds": tuple(fields["seeds"]),
                "folder": Path(fields["folder"]),
                "expert": None if expert is None else Path(expert),
                "storage": storage,
            }
        )


def expert_run(folder: Path, seed: int) -> Path:
    """The run whose expert is used with a seed: the folder itself, or the seed's run in it."""
    own = folder / f"seed-{seed}"
    return own if own.is_dir() else folder
