"""What is installed is what is in the checkout, and it works without the checkout."""

import json
import tarfile
import zipfile
from pathlib import Path

import pytest

from tests.packaging.built import ROOT, Distribution, Installed

pytestmark = pytest.mark.integration

DATA = ("registry", "tuning", "figures", "teams")


def files_under(folder: str, pattern: str = "*") -> set[str]:
    """Paths, relative to the checkout, of the files that belong to the project."""
    found = (path for path in (ROOT / folder).rglob(pattern) if path.is_file())
    return {path.relative_to(ROOT).as_posix() for path in found if "__pycache__" not in path.parts}


def test_wheel_holds_every_data_file(distribution: Distribution) -> None:
    expected = {f"cesma_sb3/_data/{name}" for folder in DATA for name in files_under(folder)}
    assert any(name.endswith(".yaml") for name in expected)
    with zipfile.ZipFile(distribution.wheel) as wheel:
        packed = {name for name in wheel.namelist() if name.startswith("cesma_sb3/_data/")}
    assert packed == expected


def test_wheel_holds_the_code_and_says_that_it_is_typed(distribution: Distribution) -> None:
    with zipfile.ZipFile(distribution.wheel) as wheel:
        packed = set(wheel.namelist())
    assert packed >= files_under("cesma_sb3", "*.py") | {"cesma_sb3/py.typed"}
    others = {name.split("/")[0] for name in packed} - {"cesma_sb3"}
    assert all(name.endswith(".dist-info") for name in others), others


def test_sdist_holds_the_project(distribution: Distribution) -> None:
    with tarfile.open(distribution.sdist) as sdist:
        packed = {name.split("/", 1)[1] for name in sdist.getnames()}
    assert packed >= {"pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "Makefile"}
    assert packed >= files_under("tests", "*.py").union(*map(files_under, DATA))
    assert not any(name.startswith((".venv", "runs/")) for name in packed)


def test_package_is_the_installed_one(installed: Installed) -> None:
    where = installed.run("python", "-c", "import cesma_sb3; print(cesma_sb3.__file__)")
    assert Path(where.strip()).is_relative_to(installed.site_packages)


def test_experiments_are_found_from_another_folder(installed: Installed) -> None:
    listed = {entry["name"] for entry in json.loads(installed.run("cesma", "list", "--json"))}
    assert listed >= {Path(name).stem for name in files_under("registry", "*.yaml")}


def test_a_pretrained_team_is_watched_from_another_folder(installed: Installed) -> None:
    words = ("speaker-listener", "--episodes", "1", "--no-open", "--out", "watched.html")
    assert installed.run("cesma", "watch", *words).strip() == "watched.html"
    assert "data-watched" in (installed.folder / "watched.html").read_text(encoding="utf-8")


def test_an_experiment_runs_by_name_from_another_folder(installed: Installed) -> None:
    overrides = ("--set", "dagger.total_timesteps=2000", "--set", "evaluation.n_final_episodes=20")
    printed = json.loads(installed.run("cesma", "run", "spread-3-scripted", *overrides, "--json"))
    (written,) = installed.folder.glob("runs/spread-3-scripted/*/report.json")
    report = json.loads(written.read_text())
    assert report["name"] == printed["name"] == "spread-3-scripted"
    assert report["episodes"] == 20
    assert report["return"].keys() == report["normalized"].keys() >= {"expert", "students", "random"}
    assert 0 < report["env_samples"]["decentralize"] < 10_000
