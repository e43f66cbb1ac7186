"""The page that shows a run while it trains."""

import json
import threading
import time
import urllib.error
import urllib.request
import webbrowser

import pytest

from cesma_sb3 import cli
from cesma_sb3.analysis.training_page import TrainingPage, read_stages
from tests.page.browser import BROWSER, dumped


def fetched(url, **headers):
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as answer:
        return answer.read().decode()


def test_a_run_is_watched_until_it_ends(tmp_path, monkeypatch, capsys):
    seen = []

    def watch(url):
        while not (seen and seen[-1]["ended"]):
            seen.append(json.loads(fetched(url + "state")))
            time.sleep(0.2)

    def opened(url):
        assert "<title>Training</title>" in fetched(url)
        watcher.append(threading.Thread(target=watch, args=(url,)))
        watcher[0].start()

    watcher = []
    monkeypatch.setattr(webbrowser, "open", opened)
    values = (
        *("expert.total_timesteps=400", "expert.n_envs=8", "dagger.total_timesteps=128", "dagger.n_envs=8"),
        *("students.network=feed-forward", "students.hidden_sizes=[8]", "evaluation.n_final_episodes=2"),
        *("evaluation.n_eval_episodes=2", "evaluation.eval_freq=64", "evaluation.n_envs=2"),
    )
    settings = [word for value in values for word in ("--set", value)]
    with pytest.raises(SystemExit) as ended:
        cli.main(["run", "spread-3", "--watch", "--out", str(tmp_path / "run"), *settings])
    watcher[0].join()
    assert ended.value.code == 0
    assert "training shows at http://127.0.0.1:" in capsys.readouterr().err
    assert not seen[0]["ended"]
    last = seen[-1]
    assert (last["title"], last["run_dir"]) == ("spread-3", str(tmp_path / "run"))
    assert last["status"] == "finished"
    assert list(last["stages"]) == ["expert", "students"]
    assert last["stages"]["expert"]["samples"] == 400


def test_only_this_machine_is_answered_and_only_while_it_runs():
    with TrainingPage("a run") as page:
        state = json.loads(fetched(page.url + "state"))
        assert (state["title"], state["stages"], state["ended"]) == ("a run", {}, False)
        for path, headers, code in (("state", {"Host": "example.com"}, 403), ("other", {}, 404)):
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


@pytest.mark.integration
@pytest.mark.skipif(BROWSER is None, reason="no Chromium here: apt-get install chromium")
def test_the_page_draws_expert_and_students(shared_run, tmp_path):
    with TrainingPage("a run") as page:
        page.show(shared_run("trained"))
        text = dumped(page.url, tmp_path)
    assert "Training." in text
    assert text.count("<polyline") == 2
    assert 'aria-label="Returns of expert: -' in text
    assert "640 samples" in text
