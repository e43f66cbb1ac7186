"""Every example runs, with a budget that teaches nothing."""

import runpy
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import cesma_sb3

EXAMPLES = Path(__file__).parents[2] / "examples"

pytestmark = [
    pytest.mark.no_cover,
    # Both come out of imitation 1.0.1 itself, beside libraries that are younger than it is.
    pytest.mark.filterwarnings("ignore:Converting a tensor with requires_grad=True:UserWarning"),
    pytest.mark.filterwarnings("ignore:keys will default to True in jsonpickle:DeprecationWarning"),
]


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch, quiet_imitation):
    monkeypatch.chdir(tmp_path)


def example(name):
    return runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="example")


def test_every_example_is_tested():
    tested = Path(__file__).read_text()
    assert all(f'example("{path.stem}")' in tested for path in EXAMPLES.glob("*.py"))


def test_bring_an_environment(capsys):
    returns = example("bring_an_environment")["main"](600, 1_200)
    assert np.isfinite(returns).all()
    assert "right does" in capsys.readouterr().out


def test_the_environment_of_the_example_is_a_parallel_env():
    from pettingzoo.test import parallel_api_test

    parallel_api_test(example("bring_an_environment")["Meet"](), num_cycles=30)


def test_decentralize_an_sb3_model(tmp_path, capsys, monkeypatch):
    short = {"n_final_episodes": 8, "n_eval_episodes": 8, "n_envs": 8}
    monkeypatch.setattr(cesma_sb3, "decentralize", partial(cesma_sb3.decentralize, evaluation=short))
    example("decentralize_an_sb3_model")["main"](tmp_path / "out", 1_000, 1_000)
    assert "expert" in capsys.readouterr().out
    assert cesma_sb3.load_team(tmp_path / "out" / "run" / "students").team.n_agents == 2


def test_train_a_team_with_imitation():
    by_expert, by_students = example("train_a_team_with_imitation")["main"](64, 1)
    assert by_expert > by_students


def test_information_cost(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLES))  # as where a script is run: the experiment names its module
    small = {"expert.total_timesteps": 1024, "dagger.total_timesteps": 512, "evaluation.n_final_episodes": 16}
    found = example("information_cost")["main"](tmp_path, **small)
    assert set(found) == {"plain", "information_cost"}


def test_watch(shared_run, tmp_path):
    frames = example("watch")["watch"](shared_run("scripted"), tmp_path / "team.gif", n_episodes=2)
    assert len(frames) == 2 * (1 + 25)
    assert all(frame.shape == (600, 600, 3) and frame.std() > 0 for frame in frames)
    with Image.open(tmp_path / "team.gif") as picture:
        assert picture.n_frames > 25  # like frames are merged
