"""What a run needs lies in its folder before its first stage, and is read from there alone."""

from __future__ import annotations

import shutil
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from stable_baselines3 import PPO
from stable_baselines3.common.vec_env import VecNormalize

import cesma_sb3
from cesma_sb3.config.registry import load_experiment
from cesma_sb3.envs import make_vec_env
from cesma_sb3.errors import CesmaError, ConfigError, Interrupted, NotKeptWarning, StorageError
from cesma_sb3.multirun.plan import PlannedRun, is_finished, planned
from cesma_sb3.training import run as run_module
from cesma_sb3.training.evaluate_run import evaluate_run
from cesma_sb3.training.run_folder import RunFolder
from tests.bring.test_files import ENV, TINY, exact_onnx, exact_torchscript
from tests.bring.test_functions import SEEN


@pytest.fixture
def here(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


@pytest.fixture(scope="module")
def models():
    """Two that do not do the same, each with its statistics."""
    found = []
    for seed in (0, 1):
        venv = VecNormalize(make_vec_env(ENV, n_envs=4, seed=seed), norm_reward=False)
        found.append(PPO("MlpPolicy", venv, n_steps=32, seed=seed).learn(128))
    return found


def played(seen: Any, by: int) -> Any:
    return np.full((len(seen), 2), by)


def interrupted(monkeypatch, *args: Any, **kwargs: Any) -> Path:
    """A run that is interrupted when its second stage begins."""

    def stop(*args: Any, **kwargs: Any) -> Any:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(run_module, "decentralize", stop)
        with pytest.raises(Interrupted) as error:
            cesma_sb3.decentralize(*args, **kwargs)
    return error.value.run_dir


@pytest.mark.parametrize("how", ["memory", "file", "onnx", "torchscript"])
def test_a_run_resumes_with_its_own_expert(how, here, models, monkeypatch):
    """Whatever lies in the current folder under the same names, and though the user's files are gone."""
    model, other = models
    more: dict[str, Any] = {}
    expert: Any = model
    if how == "file":
        model.save("mine.zip")
        model.get_vec_normalize_env().save("statistics.pkl")
        expert, more = "mine.zip", {"algorithm": "PPO", "normalization": "statistics.pkl", "trust": True}
    elif how == "onnx":
        expert, more = exact_onnx(Path("mine.onnx")), {"expert.outputs": "logits"}
    elif how == "torchscript":
        expert, more = exact_torchscript(Path("mine.pt")), {"trust": True}
    folder = here / interrupted(monkeypatch, expert, ENV, out="run", **TINY, **more)
    for path in here.glob("*.*"):
        path.unlink()
    monkeypatch.chdir(here.parent / "elsewhere")
    Path("expert").mkdir()
    for name in ("model.zip", "mine.zip", "expert/model.zip"):
        other.save(name)
    for name in ("mine.onnx", "expert/network.onnx"):
        exact_onnx(Path(name), scale=-1.0)
    other.get_vec_normalize_env().save("expert/normalization.pkl")
    result = cesma_sb3.run(resume=folder)
    if how in {"memory", "file"}:
        wanted = model.predict(model.get_vec_normalize_env().normalize_obs(SEEN), deterministic=True)[0]
        np.testing.assert_array_equal(result.expert.labels(SEEN), wanted)
    else:
        assert result.report["return"]["expert"] == 8.0
    assert evaluate_run(folder)["return"] == result.report["return"]


def test_what_a_configuration_says_is_relative_to_it(here, models, monkeypatch):
    folder = interrupted(monkeypatch, models[0], ENV, out="run", **TINY)
    expert = yaml.safe_load((folder / "config.yaml").read_text())["expert"]
    assert (expert["path"], expert["normalization"]) == ("expert/model.zip", "expert/normalization.pkl")
    again = load_experiment(folder / "config.yaml").expert
    assert Path(again.path) == here / "run" / "expert" / "model.zip"
    assert Path(again.normalization) == here / "run" / "expert" / "normalization.pkl"


def test_bad_input_leaves_no_folder(here, models):
    """Though files were copied into it."""
    models[0].save("ppo.zip")
    with pytest.raises(CesmaError, match="expert PPO: its weights belong to the agents"):
        cesma_sb3.decentralize(models[0], {"id": ENV, "kwargs": {"n_agents": 3}}, out="run", **TINY)
    with pytest.raises(CesmaError, match=r"ppo\.zip: an SB3 file holds pickled"):
        cesma_sb3.decentralize("ppo.zip", ENV, algorithm="PPO", out="run", **TINY)
    with pytest.raises(StorageError, match=r"here/none\.pkl: no such file"):
        cesma_sb3.decentralize("ppo.zip", ENV, algorithm="PPO", normalization="none.pkl", out="run", **TINY)
    assert [path.name for path in here.iterdir()] == ["ppo.zip"]


def test_a_model_that_cannot_be_saved_is_refused_before_anything_is_trained(here, models, monkeypatch):
    def cannot(path: Any) -> None:
        raise TypeError("cannot pickle 'generator' object")

    monkeypatch.setattr(models[0], "save", cannot)
    with pytest.raises(
        StorageError, match="expert: it cannot be saved with the run: cannot pickle 'generator'"
    ):
        cesma_sb3.decentralize(models[0], ENV, out="run", **TINY)
    assert not (here / "run").exists()


def test_what_cannot_be_kept_is_said_at_the_start(here, models, monkeypatch):
    for expert in (partial(played, by=0), lambda seen: np.zeros((len(seen), 2)), models[0].policy):
        with pytest.warns(
            NotKeptWarning, match="run: this expert is in memory alone: .* neither resume nor be"
        ):
            folder = interrupted(monkeypatch, expert, ENV, out="run", **TINY)
        assert RunFolder.open(folder).info["not_kept"] == "the expert, which was in memory alone"
        with pytest.raises(ConfigError, match="its expert was in memory alone: this run cannot be resumed"):
            cesma_sb3.run(resume=folder)
        shutil.rmtree(folder)


def test_initial_weights_are_kept(here, monkeypatch):
    first = cesma_sb3.decentralize("tests.bring.controllers:joint", ENV, out="first", **TINY)
    more = {"students": {"hidden_sizes": [16], "init_from": "first"}}
    folder = interrupted(monkeypatch, "tests.bring.controllers:joint", ENV, out="second", **{**TINY, **more})
    weights = (first.run_dir / "students" / "team.safetensors").read_bytes()
    shutil.rmtree(first.run_dir)
    assert (folder / "initial" / "students" / "students" / "team.safetensors").read_bytes() == weights
    assert cesma_sb3.run(resume=folder).report["return"]["expert"] == 8.0
    with pytest.raises(StorageError, match=r"^first: no such folder, and no pretrained team"):
        cesma_sb3.decentralize("tests.bring.controllers:joint", ENV, out="third", **{**TINY, **more})
    assert not (here / "third").exists()


def test_paths_are_taken_where_they_are_said(here, monkeypatch):
    """Beside the file that holds them, of each file of a chain; else where one is; never later."""
    monkeypatch.setenv("HOME", str(here.parent))
    (here / "a" / "b").mkdir(parents=True)
    (here / "a" / "base.yaml").write_text(
        "extends: spread-3-scripted\nexpert: {algorithm: PPO, path: ppo.zip}\n"
        "students: {init_from: ../runs/1}"
    )
    (here / "a" / "b" / "mine.yaml").write_text("extends: ../base.yaml\nexpert: {normalization: n.pkl}")
    found = load_experiment("a/b/mine.yaml", {"students.init_from": "~/runs/2"}, check_names=False)
    assert (found.expert.path, found.expert.normalization) == (
        str(here / "a" / "ppo.zip"),
        str(here / "a" / "b" / "n.pkl"),
    )
    assert found.students.init_from == str(here.parent / "runs" / "2")
    assert load_experiment("a/b/mine.yaml", check_names=False).students.init_from == str(here / "runs" / "1")
    over = load_experiment("a/b/mine.yaml", {"expert": {"path": "other.zip"}}, check_names=False)
    assert over.expert.path == str(here / "other.zip")


def planned_run(here, file="ppo.zip") -> PlannedRun:
    values = {"expert.algorithm": "PPO", "expert.path": str(here / file)}
    experiment = load_experiment("spread-3-scripted", values, check_names=False)
    return planned("spread-3-scripted", values, experiment, 0, here)


def test_a_planned_run_is_one_of_the_same_file(here):
    """Where a file lies is nothing to a run's numbers, and what it holds is everything."""
    (here / "ppo.zip").write_bytes(b"a")
    run = planned_run(here)
    folder = RunFolder.create(run.experiment, run.path)
    folder.keep("expert/model.zip", here / "ppo.zip")
    folder.finish({"return": {}})
    assert is_finished(run)
    (here / "ppo.zip").write_bytes(b"b")
    assert not is_finished(run)
    assert folder.differences(run.experiment) == [f"expert/model.zip is another file than {here / 'ppo.zip'}"]
