"""The page that shows a run while it trains."""

import json
import threading
import time
import urllib.error
import urllib.request
import webbrowser
from types import SimpleNamespace

import pytest

from cesma_sb3 import cli
from cesma_sb3.analysis.training_page import TrainingPage, read_stages
from tests.page.browser import BROWSER, dumped


def fetched(url, **headers):
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as answer:
        return answer.read().decode()


def test_a_run_is_watched_until_it_ends(shared_run, monkeypatch, capsys):
    folder, seen, watchers, has_looked = shared_run("trained"), [], [], threading.Event()

    def watch(url):
        while not (seen and seen[-1]["ended"]):
            seen.append(json.loads(fetched(url + "state")))
            has_looked.set()
            time.sleep(0.05)

    def opened(url):
        assert "<title>Training</title>" in fetched(url)
        watchers.append(threading.Thread(target=watch, args=(url,)))
        watchers[0].start()

    def run(name, *, on_begin, **kwargs):
        has_looked.wait()
        on_begin(folder)
        return SimpleNamespace(report=json.loads((folder / "report.json").read_text()), run_dir=folder)

    monkeypatch.setattr(webbrowser, "open", opened)
    monkeypatch.setattr("cesma_sb3.training.run.run", run)
    with pytest.raises(SystemExit) as ended:
        cli.main(["run", "spread-3", "--watch"])
    watchers[0].join()
    assert ended.value.code == 0
    assert "training shows at http://127.0.0.1:" in capsys.readouterr().err
    assert (seen[0]["run_dir"], seen[0]["ended"]) == ("", False)
    last = seen[-1]
    assert (last["title"], last["run_dir"], last["status"]) == ("spread-3", str(folder), "finished")
    assert {name: stage["samples"] for name, stage in last["stages"].items()} == {
        "expert": 600,
        "students": 640,
    }
    assert all(stage["returns"] for stage in last["stages"].values())


def test_only_this_machine_is_answered_and_only_while_it_runs(monkeypatch):
    monkeypatch.setattr("cesma_sb3.analysis.training_page._LAST_LOOK", 0.0)
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
def test_the_page_draws_expert_and_students(shared_run, tmp_path, monkeypatch):
    monkeypatch.setattr("cesma_sb3.analysis.training_page._LAST_LOOK", 0.0)
    with TrainingPage("a run") as page:
        page.show(shared_run("trained"))
        text = dumped(page.url, tmp_path)
    assert "Training." in text
    assert text.count("<polyline") == 2
    assert 'aria-label="Returns of expert: -' in text
    assert "640 samples" in text
