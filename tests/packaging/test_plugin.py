"""A package that registers an environment, an expert and an experiment, installed as anybody would."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.packaging.built import ROOT, python


@pytest.fixture(scope="module")
def command(tmp_path_factory) -> Callable[..., subprocess.CompletedProcess[str]]:
    """The command `cesma`, where the package of the example is installed."""
    folder = tmp_path_factory.mktemp("plugin")
    source, site = folder / "source", folder / "site"
    shutil.copytree(ROOT / "examples" / "plugin", source)
    offline = ("--no-deps", "--no-index", "--no-build-isolation")
    python("-m", "pip", "install", "--quiet", *offline, "--target", str(site), str(source))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), str(ROOT)])}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        words = [sys.executable, "-m", "cesma_sb3", *arguments]
        return subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)

    return run


def test_its_experiment_is_listed_and_runs(command) -> None:
    listed = json.loads(command("list", "--json").stdout)
    assert "ferry" in [row["name"] for row in listed]
    done = command("run", "ferry", "--json", "--set", "dagger.total_timesteps=6000")
    assert done.returncode == 0, done.stderr
    returns = json.loads(done.stdout)["return"]
    # A ferry sees all that the ferryman uses of it: nothing is lost.
    assert returns["expert"] > returns["random"] / 2
    assert returns["students"] == pytest.approx(returns["expert"], rel=0.1)
    again = command("evaluate", json.loads(done.stdout)["run_dir"], "--json")
    assert json.loads(again.stdout)["return"] == returns


def test_its_names_are_known_where_others_are(command) -> None:
    run = command("decentralize", "cesma_sb3_ferry.expert:Ferryman", "ferrry")
    assert run.returncode == 2
    assert "unknown particle scenario 'ferrry'" in run.stderr or "did you mean 'ferry" in run.stderr
    run = command("run", "ferry", "--set", "expert.algorithm=ferrymen")
    assert run.returncode == 2
    assert "unknown algorithm 'ferrymen'; did you mean 'ferryman'?" in run.stderr
    run = command("run", "ferry", "--set", "expert.kwargs.margn=1")
    assert run.returncode == 2
    assert "argument of Ferryman 'margn'; did you mean 'margin'?" in run.stderr


def test_the_source_is_left_as_it_was() -> None:
    names = {path.name for path in Path(ROOT / "examples" / "plugin").iterdir()}
    assert names <= {"pyproject.toml", "cesma_sb3_ferry"}
