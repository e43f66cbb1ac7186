"""The distribution files, an environment that has only them, and how to run things there."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Distribution:
    """The two files that a release consists of."""

    wheel: Path
    sdist: Path


@dataclass(frozen=True)
class Installed:
    """An environment that holds this package only as the wheel installed it."""

    bin: Path
    site_packages: Path
    folder: Path  # empty, far from the checkout: the commands run here

    def run(self, command: str, *arguments: str) -> str:
        """Returns what the command prints; fails with its errors."""
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        done = subprocess.run(
            [self.bin / command, *arguments],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,  # below, with what it printed
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


def python(*arguments: str, cwd: Path | None = None) -> None:
    """Runs this interpreter; fails with everything it printed."""
    done = subprocess.run([sys.executable, *arguments], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
