"""Pictures are asked for when they are wanted, of whatever environment can give them, in whatever form."""

import json
import re

import numpy as np
import pytest
from PIL import Image

from cesma_sb3 import decentralize
from cesma_sb3.analysis.html_report import write_html_report
from cesma_sb3.analysis.recording import record_episodes
from cesma_sb3.analysis.video import write_video
from cesma_sb3.envs import make_vec_env
from cesma_sb3.envs.factory import make_renderable
from cesma_sb3.envs.joint_env import JointEnv
from cesma_sb3.envs.rendering import render_mode_of, to_rgb
from cesma_sb3.envs.smac import BattleEnv
from cesma_sb3.errors import EnvError, StorageError
from tests.envs_for_tests import MatchingGame
from tests.starcraft.skirmish import Skirmish

FRAME = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
TINY = {
    "total_timesteps": 16,
    "students.hidden_sizes": [4],
    "dagger.n_envs": 2,
    "dagger.batch_size": 4,
    "evaluation": {"n_final_episodes": 2, "n_eval_episodes": 2, "n_envs": 2},
}


class WithoutArgument(MatchingGame):
    """Takes no render mode, though it draws."""

    def __init__(self, n_agents: int = 2) -> None:
        super().__init__(n_agents)


class Refuses(MatchingGame):
    """Takes no other mode than one for people."""

    def __init__(self, render_mode: str | None = None) -> None:
        if render_mode not in {None, "human"}:
            raise ValueError("human alone")
        super().__init__(render_mode=render_mode)


class Drops(MatchingGame):
    """Takes any argument, and uses none."""

    def __init__(self, **_: object) -> None:
        super().__init__()


class DrawsWhenMade(MatchingGame):
    """Prepares its drawing when it is made, as MuJoCo does."""

    def __init__(self, render_mode: str | None = None) -> None:
        super().__init__(render_mode=render_mode)
        self.brush = render_mode

    def render(self):
        return super().render() if self.brush == "rgb_array" else None


class Blind(MatchingGame):
    metadata = {"name": "blind", "render_modes": ["human"]}  # noqa: RUF012 - as PettingZoo has it


class Breaks(MatchingGame):
    def render(self):
        raise RuntimeError("no screen")


class GivesNone(MatchingGame):
    def render(self):
        return None


class Grows(MatchingGame):
    def render(self):
        return np.zeros((20 + 3 * self.t, 30 + self.t, 3), np.uint8)


class Silent(Skirmish):
    render = None


def anything(observations):
    return np.zeros((len(observations), 2), dtype=np.int64)


def name_of(cls) -> str:
    return f"tests.page.test_pictures:{cls.__name__}"


@pytest.fixture
def run_of(tmp_path):
    def make(cls, **env):
        env = {"id": name_of(cls), "team_reward": "mean", **env}
        expert = "tests.page.test_pictures:anything"
        return decentralize(expert, env, out=tmp_path / "run", **TINY).run_dir

    return make


@pytest.mark.parametrize(
    ("rendered", "expected"),
    [
        (FRAME, FRAME),
        (FRAME.astype(np.int64), FRAME),
        (FRAME / 255.0, FRAME),
        (FRAME.astype(np.float32), FRAME),
        (FRAME.tolist(), FRAME),
        ([FRAME * 0, FRAME], FRAME),
        (FRAME[..., 0], np.repeat(FRAME[..., :1], 3, axis=2)),
        (FRAME[..., :1], np.repeat(FRAME[..., :1], 3, axis=2)),
        (np.ones((2, 2), bool), np.full((2, 2, 3), 255)),
        (np.full((1, 1, 3), 300), np.full((1, 1, 3), 255)),
        (np.full((1, 1, 3), np.nan), np.zeros((1, 1, 3))),
        (np.concatenate([FRAME, np.full((2, 4, 1), 255, np.uint8)], axis=2), FRAME),
        (np.zeros((1, 1, 4), np.uint8), np.full((1, 1, 3), 255)),  # transparent: the white below it
    ],
)
def test_what_is_rendered_becomes_pixels(rendered, expected):
    found = to_rgb(rendered, "mine")
    assert found.dtype == np.uint8
    assert np.array_equal(found, expected)


@pytest.mark.parametrize(
    ("rendered", "what"),
    [
        (None, "None"),
        ("picture", r"str of shape \[\]"),
        ([], r"list of shape \[0\]"),
        (np.zeros((0, 4, 3)), r"ndarray of shape \[0, 4, 3\]"),
        (np.zeros((3, 4, 5)), r"ndarray of shape \[3, 4, 5\]"),
        (np.zeros(7), r"ndarray of shape \[7\]"),
    ],
)
def test_what_is_no_picture_is_told(rendered, what):
    expected = rf"^mine: gives no pictures: render returned {what}, expected \[height, width, 3\]$"
    with pytest.raises(EnvError, match=expected):
        to_rgb(rendered, "mine")


@pytest.mark.parametrize("cls", [MatchingGame, WithoutArgument, Refuses, Drops, DrawsWhenMade])
@pytest.mark.parametrize("names", [[], ["frame_stack_v1"], ["frame_stack_v1", "pad_observations_v0"]])
def test_an_environment_that_can_draw_does(cls, names):
    wrappers = [{"name": name} for name in names]
    env = JointEnv(make_renderable(name_of(cls), wrappers=wrappers))
    env.reset(seed=0)
    assert env.render_mode == "rgb_array"
    assert env.render().shape == (4, 6, 3)


def test_the_runs_own_render_mode_does_not_count():
    env = make_renderable(name_of(MatchingGame), kwargs={"render_mode": "human"})
    assert env.render_mode == "rgb_array"
    assert render_mode_of(make_renderable(name_of(Blind))) is None


@pytest.mark.parametrize("target", ["mpe2.simple_spread_v3", "spread"])
def test_environments_of_others_draw(target):
    wrappers = [{"name": "pad_observations_v0"}]
    env = make_renderable(target, wrappers=wrappers)
    env.reset(seed=0)
    assert to_rgb(env.render(), target).std() > 0
    env.close()


@pytest.mark.parametrize("drawn", [True, False])
def test_nothing_is_drawn_unless_it_is_wanted(drawn):
    venv = make_vec_env(name_of(DrawsWhenMade), team_reward="mean", renderable=drawn)
    venv.reset()
    assert (venv.get_images()[0] is not None) == drawn


def test_battles_say_that_they_draw():
    class WithMode(Skirmish):
        def render(self, mode="human"):
            return mode

    assert BattleEnv(WithMode()).render_mode == "rgb_array"
    assert BattleEnv(WithMode()).render() == "rgb_array"
    assert "rgb_array" in BattleEnv(WithMode()).metadata["render_modes"]
    assert BattleEnv(Silent()).render_mode is None
    assert BattleEnv(Silent()).metadata["render_modes"] == []


@pytest.mark.parametrize("cls", [DrawsWhenMade, Grows])
def test_a_run_of_others_is_shown(run_of, cls):
    run_dir = run_of(cls)
    with Image.open(write_video(run_dir, episodes=1)) as film:
        assert film.n_frames >= 2
    rollouts = record_episodes(run_dir, episodes=1)
    assert {name: len(one.frames) for name, (one,) in rollouts.items()} == {"expert": 5, "students": 5}


@pytest.mark.parametrize(
    ("cls", "told"),
    [
        (Blind, "gives no pictures: its metadata has no render mode rgb_array"),
        (GivesNone, "gives no pictures: render returned None, expected [height, width, 3]"),
        (Breaks, "cannot be drawn: environment 0: "),
    ],
)
def test_without_pictures_the_page_shows_the_episode_and_the_video_says_so(run_of, cls, told):
    run_dir = run_of(cls)
    with pytest.raises(StorageError) as caught:
        write_video(run_dir, episodes=1)
    assert str(caught.value).startswith(f"{name_of(cls)}: {told}")
    assert "\n" not in str(caught.value)
    text = write_html_report([run_dir], episodes=1).read_text(encoding="utf-8")
    found = re.search(r'<script type="application/json" id="episodes-data">(.*?)</script>', text, re.DOTALL)
    (episode,) = json.loads(found[1])["students"]
    assert episode["frames"] == []
    assert episode["steps"] == [0, 1, 2, 3, 4]
    assert len(episode["returns"]) == 5
    assert f"Without pictures: {name_of(cls)}: " in text
