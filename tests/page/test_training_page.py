"""The page that shows a run while it trains."""

import json
import random
import re
import threading
import time
import urllib.error
import urllib.request
import webbrowser
from types import SimpleNamespace

import numpy as np
import pytest
import torch as th

import cesma_sb3
from cesma_sb3 import cli
from cesma_sb3.analysis.training_page import TrainingPage, read_stages
from cesma_sb3.analysis.training_page.recorder import Recorder
from cesma_sb3.config.registry import make_experiment
from cesma_sb3.evaluation import Score, random_actor
from cesma_sb3.training.callbacks import CurvePoint
from cesma_sb3.training.checkpoint import StageCheckpoints
from cesma_sb3.training.evaluator import Evaluator
from cesma_sb3.utils import modules
from cesma_sb3.utils.closing import closing
from tests.envs_for_tests import MatchingGame
from tests.faults.interrupted import Cut, results
from tests.page.browser import BROWSER, dumped
from tests.shared_runs import RUNS


def fetched(url, **headers):
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as answer:
        return answer.read().decode()


@pytest.mark.parametrize(
    ("words", "title"),
    [
        (("run", "spread-3"), "spread-3"),
        (("decentralize", "there/ppo.zip", "spread-3"), "ppo.zip, decentralized"),
    ],
)
def test_a_run_is_watched_until_it_ends(words, title, shared_run, monkeypatch, capsys):
    folder, seen, watchers, has_looked = shared_run("trained"), [], [], threading.Event()

    def watch(url):
        while not (seen and seen[-1]["ended"]):
            seen.append(json.loads(fetched(url + "state?shown=0")))
            has_looked.set()
            time.sleep(0.05)

    def opened(url):
        assert f"<title>{title}</title>" in fetched(url)
        watchers.append(threading.Thread(target=watch, args=(url,)))
        watchers[0].start()

    def run(*args, spectator, **kwargs):
        has_looked.wait()
        spectator.begin(folder)
        return SimpleNamespace(report=json.loads((folder / "report.json").read_text()), run_dir=folder)

    monkeypatch.setattr(webbrowser, "open", opened)
    monkeypatch.setattr(f"cesma_sb3.training.{words[0]}.{words[0]}", run)
    with pytest.raises(SystemExit) as ended:
        cli.main([*words, "--watch"])
    watchers[0].join()
    assert ended.value.code == 0
    assert "training shows at http://127.0.0.1:" in capsys.readouterr().err
    assert (seen[0]["run_dir"], seen[0]["ended"]) == ("", False)
    last = seen[-1]
    assert (last["run_dir"], last["status"], last["recorded"]) == (str(folder), "finished", 0)
    assert {name: stage["samples"] for name, stage in last["stages"].items()} == {
        "expert": 600,
        "students": 640,
    }
    assert all(stage["returns"] for stage in last["stages"].values())


def test_only_this_machine_is_answered_and_only_while_it_runs(monkeypatch):
    monkeypatch.setattr("cesma_sb3.analysis.training_page._LAST_LOOK", 0.0)
    with TrainingPage("a run") as page:
        state = json.loads(fetched(page.url + "state?shown=0"))
        assert (state["stages"], state["episodes"], state["ended"]) == ({}, None, False)
        refusals = (
            ("state?shown=0", {"Host": "example.com"}, 403),
            ("state?shown=x", {}, 404),
            ("other", {}, 404),
        )
        for path, headers, code in refusals:
            with pytest.raises(urllib.error.HTTPError) as refused:
                fetched(page.url + path, **headers)
            with refused.value as answer:
                assert answer.code == code
    with pytest.raises(urllib.error.URLError):
        fetched(page.url)


def test_logs_that_are_being_written_are_read(tmp_path):
    columns = "eval/return,time/total_timesteps,time/fps"
    for stage, rows in {
        "expert": ["-9.0,100,50", ",200,51", "-8.0,300,52"],
        "expert-2": ["-8.0,250,10", "-7.5,400,1", "-7"],
    }.items():
        (tmp_path / "logs" / stage).mkdir(parents=True)
        (tmp_path / "logs" / stage / "progress.csv").write_text("\n".join([columns, *rows]))
    assert read_stages(tmp_path) == {
        "expert": {
            "samples": 400.0,
            "updates": None,
            "rate": 1.0,
            "returns": [[100.0, None, -9.0], [300.0, None, -8.0], [400.0, None, -7.5], [400.0, None, -7.0]],
        }
    }


class DrawingPage(TrainingPage):
    """A page for which a browser always asks, and which draws from the generators that everybody shares."""

    def see(self, *args):
        self.state(shown=self._recorder.number)
        random.random(), np.random.random(), th.rand(1)  # noqa: NPY002 - the one that SB3 seeds
        super().see(*args)


def test_the_team_is_seen_while_it_trains_and_nothing_changes(shared_run, tmp_path, monkeypatch):
    monkeypatch.setattr("cesma_sb3.analysis.training_page.recorder.SHARE", 1.0)
    (name, values), run, save = RUNS["small"], tmp_path / "run", StageCheckpoints.save

    def save_and_cut(self, *args, **kwargs):
        save(self, *args, **kwargs)
        raise Cut

    pages = DrawingPage("a run"), DrawingPage("the rest of it")
    with monkeypatch.context() as patch, pages[0]:
        patch.setattr(StageCheckpoints, "save", save_and_cut)
        with pytest.raises(Cut):
            cesma_sb3.run(name, out=run, spectator=pages[0], **values)
    with pages[1]:
        cesma_sb3.run(resume=run, spectator=pages[1])
    seen = {"expert": "64 samples", "students": "128 samples"}
    for page, (policy, after) in zip(pages, seen.items(), strict=True):
        state = page.state()
        assert state["missing"] == ""
        assert state["recorded"] > 1
        assert list(state["episodes"]) == [policy]
        (episode,) = state["episodes"][policy]
        assert episode["after"] == after
        assert episode["steps"] == list(range(26))
        assert len({*episode["frames"]}) > 20
        assert all(frame.startswith("data:image/jpeg;base64,") for frame in episode["frames"])
    assert results(run) == results(shared_run("small"))


def evaluator_of(env):
    """What measures in an environment."""
    experiment = make_experiment(
        {
            "env": {"id": env}
            if isinstance(env, str)
            else {"id": modules.name_of(env), "team_reward": "mean"},
            "name": "seen",
            "expert": {"algorithm": "DQN", "total_timesteps": 1},
            "dagger": None,
            "evaluation": {"n_envs": 2},
        },
        {},
        called="a test",
    )
    return Evaluator(experiment)


def record(recorder, evaluator, policy="expert", timesteps=0, n_updates=None, *, wanted=True):
    actor = random_actor(evaluator.venv.team, np.random.default_rng(0))
    recorder.record_if_due(
        policy, CurvePoint(timesteps, Score(0.0), n_updates), actor, evaluator, wanted=wanted
    )


def test_it_is_recorded_as_often_as_somebody_looks_and_there_is_time(monkeypatch):
    recorder, at = Recorder(), 0.0
    monkeypatch.setattr("cesma_sb3.analysis.training_page.recorder.time.monotonic", lambda: at)

    def takes_a_second(act, evaluator):
        nonlocal at
        at += 1.0
        return {}

    monkeypatch.setattr(recorder, "_record", takes_a_second)
    with closing(evaluator_of("spread")) as evaluator:
        numbers = []
        for policy, waited, wanted in (
            ("expert", 0, False),  # the first is recorded whether or not anybody looks
            ("expert", 18, True),  # a second in 19
            ("expert", 1, False),  # a second in 20: there is time, but nobody has seen the one before
            ("expert", 0, True),
            ("students", 0, False),
        ):
            at += waited
            record(recorder, evaluator, policy, timesteps=1200, n_updates=8, wanted=wanted)
            numbers.append(recorder.number)
        record(recorder, evaluator, "students", n_updates=2500)
    assert numbers == [1, 1, 1, 2, 3]
    assert recorder.episodes == {
        "expert": [{"after": "1,200 samples"}],
        "students": [{"after": "1,200 samples"}],
    }


class Blind(MatchingGame):
    metadata = {"name": "blind", "render_modes": ["human"]}  # noqa: RUF012 - as PettingZoo has it


class NeedsAScreen(MatchingGame):
    def render(self):
        raise RuntimeError("no screen")


@pytest.mark.parametrize(
    ("env", "told"),
    [
        (Blind, ":Blind: gives no pictures: its metadata has no render mode rgb_array"),
        (NeedsAScreen, ":NeedsAScreen: cannot be drawn: environment 0: "),
    ],
)
def test_what_cannot_be_shown_is_tried_once(env, told, recwarn):
    recorder = Recorder()
    with closing(evaluator_of(env)) as evaluator:
        for _ in range(2):
            record(recorder, evaluator)
    recorder.close()
    assert told in recorder.missing
    assert (recorder.number, recorder.episodes) == (0, {})


@pytest.mark.integration
@pytest.mark.skipif(BROWSER is None, reason="no Chromium here: apt-get install chromium")
def test_the_page_draws_expert_and_students(shared_run, tmp_path, monkeypatch):
    monkeypatch.setattr("cesma_sb3.analysis.training_page._LAST_LOOK", 0.0)
    with TrainingPage("a run") as page, closing(evaluator_of("spread")) as evaluator:
        page.begin(shared_run("trained"))
        record(page._recorder, evaluator, timesteps=1200)
        text = dumped(page.url, tmp_path)
    assert "Training." in text
    assert text.count("<polyline") == 2
    assert 'aria-label="Returns of expert: -' in text
    assert "640 samples" in text
    assert re.search(r"after 1,200 samples: step \d+, return -?\d", text)
    figures = re.findall(r'<figure data-policy="(\w+)"( hidden="")?>', text)
    assert figures == [("expert", ""), ("students", ' hidden=""')]
    assert '<img alt="expert at work" src="data:image/jpeg;base64,' in text
