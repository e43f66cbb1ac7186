"""What every refusal looks like: exit code 2, one line, and nothing that was not there before."""

import hashlib

import pytest
from stable_baselines3.common.base_class import BaseAlgorithm

from cesma_sb3 import cli
from cesma_sb3.imitation import MultiAgentDAggerTrainer

LONGEST = 4_000
"""Characters of a line: the names of all experiments fit into it, what a hostile file holds does not."""


class Refusals:
    """Types commands in a folder of its own, and looks at what comes of each."""

    def __init__(self, folder, captured):
        self.folder = folder
        self.captured = captured

    def write(self, files):
        """Files by name, of text or bytes; a folder where the name ends with /."""
        for name, content in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if name.endswith("/"):
                path.mkdir(exist_ok=True)
            else:
                path.write_bytes(content.encode() if isinstance(content, str) else content)

    def __call__(self, *arguments, told=()):
        """The line that a command is refused with, which has all of `told` in it."""
        before = contents(self.folder)
        self.captured.readouterr()
        with pytest.raises(SystemExit) as caught:
            cli.main(arguments)
        out, err = self.captured.readouterr()
        assert (caught.value.code, out) == (2, ""), err
        assert_refusal(err, told)
        assert contents(self.folder) == before
        return err


def assert_refusal(text, told=()):
    """One line for a person, with all of `told` in it."""
    assert text.startswith("error: ")
    assert text.endswith("\n")
    line = text.removesuffix("\n")
    assert line.isprintable(), line
    assert len(line) <= LONGEST
    for part in [told] if isinstance(told, str) else told:
        assert part in line, line


def contents(folder):
    """What is in a folder: every file and folder, and what each file holds."""
    return {
        path.relative_to(folder): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None
        for path in folder.rglob("*")
    }


def forbid_work(monkeypatch):
    """Nothing is trained, and no process is started, before bad input is refused."""

    def forbidden(*args, **kwargs):
        raise AssertionError("the input was not refused: work begins")

    monkeypatch.setattr(BaseAlgorithm, "_setup_learn", forbidden)
    monkeypatch.setattr(MultiAgentDAggerTrainer, "train", forbidden)
    monkeypatch.setattr("optuna.Study.optimize", forbidden)
    for where in ("cesma_sb3.multirun.plan.run_jobs", "cesma_sb3.multirun.tuning.work.Workers"):
        monkeypatch.setattr(where, forbidden)
