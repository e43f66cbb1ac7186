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

from cesma_sb3 import cli
from tests.packaging.built import ROOT, python


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    """Where the package of the example is installed."""
    folder = tmp_path_factory.mktemp("plugin")
    shutil.copytree(ROOT / "examples" / "plugin", folder / "source")
    offline = ("--no-deps", "--no-index", "--no-build-isolation")
    target = ("--target", str(folder / "site"), str(folder / "source"))
    python("-m", "pip", "install", "--quiet", *offline, *target)
    return folder / "site"


@pytest.fixture
def command(site) -> Callable[..., subprocess.CompletedProcess[str]]:
    """The command `cesma` beside it."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), str(ROOT)])}

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        words = [sys.executable, "-m", "cesma_sb3", *arguments]
        return subprocess.run(
            words, cwd=site.parent, env=environment, capture_output=True, text=True, check=False
        )

    return run


@pytest.mark.integration
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


@pytest.mark.integration
@pytest.mark.parametrize(
    ("words", "told"),
    [
        (
            ["decentralize", "cesma_sb3_ferry.expert:Ferryman", "ferrry"],
            "unknown particle scenario 'ferrry'",
        ),
        (
            ["run", "ferry", "--set", "expert.algorithm=ferrymen"],
            "unknown algorithm 'ferrymen'; did you mean 'ferryman'?",
        ),
        (
            ["run", "ferry", "--set", "expert.kwargs.margn=1"],
            "argument of Ferryman 'margn'; did you mean 'margin'?",
        ),
    ],
)
def test_its_names_are_known_where_others_are(words, told, site, monkeypatch, capsys) -> None:
    monkeypatch.syspath_prepend(str(site))
    with pytest.raises(SystemExit) as caught:
        cli.main(words)
    assert caught.value.code == 2
    assert told in capsys.readouterr().err


def test_the_source_is_left_as_it_was() -> None:
    names = {path.name for path in Path(ROOT / "examples" / "plugin").iterdir()}
    assert names <= {"pyproject.toml", "cesma_sb3_ferry"}
