"""Each page of docs/tasks, and the pages beside it, run, block after block, with small budgets."""

from __future__ import annotations

import re
import subprocess
import sys
import types
from pathlib import Path

import pytest

import cesma_sb3
from cesma_sb3.config.overrides import merge
from cesma_sb3.config.schema import Experiment
from cesma_sb3.config.validation import validate
from cesma_sb3.config.yaml import read_mapping
from cesma_sb3.imitation.recordings import holds_recording
from cesma_sb3.training import decentralize as decentralize_module
from cesma_sb3.training import run as run_module

FOLDER = Path(__file__).parents[2] / "docs" / "tasks"
OTHERS = ["../which-expert", "../from/sb3", "../from/pettingzoo", "../from/epymarl-benchmarl"]
PAGES = [*sorted(path.stem for path in FOLDER.glob("*.md")), "../concepts", "../experiments", *OTHERS]
SMALL = {
    "dagger.n_envs": 8,
    "evaluation": {"n_final_episodes": 8, "n_eval_episodes": 8, "n_envs": 8, "eval_freq": 500},
}


def blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```", (FOLDER / f"{page}.md").read_text(), flags=re.M | re.S)


def small(expert):
    """What makes a decentralization small; from recorded trajectories nothing is collected."""
    return SMALL | (
        {"dagger.experience.n_updates": 64} if holds_recording(expert) else {"total_timesteps": 256}
    )


@pytest.mark.no_cover
@pytest.mark.parametrize("page", PAGES)
def test_every_python_block_runs(page, tmp_path, monkeypatch, quiet_imitation):
    if page == "robots":
        pytest.importorskip("mujoco", reason="the extra [mujoco] is not installed")
    monkeypatch.chdir(tmp_path)
    small_run = {**SMALL, "expert.total_timesteps": 640, "expert.kwargs.gradient_steps": 1}
    small_run["dagger.total_timesteps"] = 512
    decentralize, run = decentralize_module.decentralize, run_module.run
    monkeypatch.setattr(
        cesma_sb3,
        "decentralize",
        lambda *args, **kwargs: decentralize(*args, **{**kwargs, **small(args[0])}),
        raising=False,
    )
    monkeypatch.setattr(cesma_sb3, "run", lambda name: run(name, **small_run), raising=False)
    code = "\n".join(blocks(page, "python"))
    code = re.sub(r"\.(learn|train)\(\d+_000\)", r".\1(512)", code)
    module = types.ModuleType("typed")  # what it defines is found by its name, as what somebody types is
    monkeypatch.setitem(sys.modules, "typed", module)
    exec(compile(code, f"{page}.md", "exec"), vars(module))


def test_every_import_works_in_a_new_process():
    """In this one, what an earlier page or test has imported may hide that an import fails by itself."""
    pages = [page for page in PAGES if page != "robots"]
    imports = {
        line
        for page in pages
        for block in blocks(page, "python")
        for line in re.findall(r"^(?:import|from) .*$", block, flags=re.M)
    }
    assert len(imports) > 20
    failed = "\n".join(
        f"try:\n    {line}\nexcept ImportError as error:\n    print(error)" for line in sorted(imports)
    )
    printed = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", failed], capture_output=True, text=True, check=True
    ).stdout
    assert printed == ""


@pytest.mark.parametrize("page", PAGES)
def test_every_yaml_block_is_valid(page):
    spread = cesma_sb3.load_experiment("spread-3-scripted").to_mapping()
    for text in blocks(page, "yaml"):
        data = read_mapping(text, page)
        data.pop("extends", None)  # of a file
        validate(Experiment, merge(spread, data), lambda _: page)
