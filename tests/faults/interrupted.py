"""Runs that are cut off right after each of their checkpoints, and go on."""

import itertools
from pathlib import Path

import pytest

import cesma_sb3
from cesma_sb3.training.checkpoint import StageCheckpoints


class Cut(BaseException):
    """In the place of whatever may end a process."""


def run_in_pieces(name: str, out: Path, *, every: int | None = None, **values) -> list[str]:
    """Makes a run that is cut off after each checkpoint; the names of these, in their order.

    A checkpoint is written as `values` say, or wherever one could be for the `every`-th time.
    """
    write, cuts, places = StageCheckpoints.save, [], itertools.count(1)

    def save_if_due(self, timesteps):
        if next(places) % every == 0:
            self.save(timesteps)

    def write_and_cut(self, timesteps, *, ended=False):
        write(self, timesteps, ended=ended)
        cuts.append(f"{self.name} {'ended' if ended else 'is under way'}")
        raise Cut

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(StageCheckpoints, "save", write_and_cut)
        if every is not None:
            patch.setattr(StageCheckpoints, "save_if_due", save_if_due)
        with pytest.raises(Cut):
            cesma_sb3.run(name, out=out, **values)
        while True:
            try:
                cesma_sb3.run(resume=out)
            except Cut:
                continue
            return cuts


def results(run: Path) -> dict[str, bytes]:
    """What must be the same, bit by bit: weights, curves, the return of each episode."""
    return {
        path.relative_to(run).as_posix(): path.read_bytes()
        for path in sorted(run.rglob("*"))
        if path.suffix in (".safetensors", ".csv") or path.name == "episodes.json"
        if "logs" not in path.parts
    }
