"""Runs as pages, in a real browser; and as pictures that move."""

import csv
import json
import math
import re
import shutil
import sys

import numpy as np
import pytest
import yaml
from PIL import Image

from cesma_sb3 import cli
from cesma_sb3.analysis.html_report import write_html_report, write_watch_page
from cesma_sb3.analysis.html_report.charts import to_json
from cesma_sb3.analysis.recording import record_episodes
from cesma_sb3.analysis.video import write_video
from cesma_sb3.errors import ConfigError, MissingExtraError, StorageError
from tests.page.browser import BROWSER, ask

pytest.importorskip("plotly", reason="Plotly is not installed: pip install 'cesma-sb3[report]'")
in_a_browser = pytest.mark.skipif(BROWSER is None, reason="no Chromium here: apt-get install chromium")

HOSTILE = "</script><script>document.title='taken'</script><img src=x onerror=\"document.title='taken'\">"


def with_values(run, out, **values):
    """A copy of a run folder, of an experiment with other values."""
    shutil.copytree(run, out)
    content = yaml.safe_load((out / "config.yaml").read_text())
    (out / "config.yaml").write_text(yaml.safe_dump({**content, **values}))
    return out


@pytest.fixture(scope="module")
def runs(shared_run, tmp_path_factory):
    """Two runs with different values."""
    folder = tmp_path_factory.mktemp("runs")
    made = [
        with_values(shared_run("scripted"), folder / str(seed), seed=seed, description=HOSTILE)
        for seed in (0, 1)
    ]
    rows = [
        {
            "name": "return lost",
            "value": 1.5,
            "low": 1.0,
            "high": 2.0,
            "unit": "return",
            "how": HOSTILE,
            "agent": None,
        },
        {
            "name": "loss",
            "value": None,
            "low": None,
            "high": None,
            "unit": "nats",
            "how": "Why.",
            "agent": "a",
        },
    ]
    told = {"rows": [{"unit": "return", **row} for row in rows]}
    (made[0] / "price.json").write_text(json.dumps(told))
    return made


@pytest.fixture(scope="module")
def page(runs):
    return write_html_report([runs[0]], episodes=2)


def test_the_page_holds_all_that_it_needs(page, runs):
    assert page == runs[0] / "report.html"
    text = page.read_text(encoding="utf-8")
    head, _, rest = text.partition("</style>")
    ours = head + re.sub(r"<script>.*?</script>", "", rest, flags=re.S)
    assert not re.findall(r"(?:src|href)\s*=\s*[\"'](?!data:)[^\"']+", ours)
    assert "default-src 'none'" in text
    assert HOSTILE not in text
    for told in ("spread-3-scripted, seed 0", "dagger.total_timesteps", "torch", "4,000"):
        assert told in text


@pytest.mark.integration
@in_a_browser
def test_only_its_own_scripts_run(page, tmp_path):
    changed = tmp_path / "changed.html"
    text = page.read_text(encoding="utf-8")
    assert text.count("</body>") == 1
    foreign = "<script>window.foreign = 1</script><img src=x onerror='window.foreign = 2'></body>"
    changed.write_text(text.replace("</body>", foreign), encoding="utf-8")
    script = "await wait(300); return [typeof Plotly, window.foreign === undefined];"
    found, faults = ask(changed, script, tmp_path)
    assert found == ["object", True]
    # The script, the picture and what it would have run.
    assert len(faults) == 3
    assert all(fault.startswith("refused: ") for fault in faults)


def test_what_is_not_finite_is_no_number_in_the_page():
    data = {"<b>": [1.5, math.nan, {"x": -math.inf}], "none": None, "n": (1, True)}
    told = to_json(data)
    assert "<" not in told
    assert json.loads(told) == {"<b>": [1.5, None, {"x": None}], "none": None, "n": [1, True]}


@pytest.mark.integration
@in_a_browser
def test_it_loads_plays_and_toggles(page, runs, tmp_path):
    script = """
        const image = document.querySelector('figure[data-policy="students"] img'), first = image.src;
        const told = document.querySelector('figure[data-policy="students"] .status');
        const began = told.textContent;
        document.getElementById("play").click();
        await wait(1000);
        const playing = document.getElementById("play").textContent, moved = image.src !== first;
        document.getElementById("play").click();
        const slider = document.getElementById("time");
        slider.value = slider.max;
        slider.dispatchEvent(new Event("input"));
        const ended = told.textContent, paper = getComputedStyle(document.body).backgroundColor;
        document.getElementById("theme").click();
        document.querySelector('.who[data-policy="expert"]').click();
        const chosen = document.getElementById("episode");
        chosen.value = "1";
        chosen.dispatchEvent(new Event("change"));
        await wait(200);
        return {
          title: document.title, began, playing, moved, ended, again: told.textContent,
          steps: Number(slider.max),
          papers: [paper, getComputedStyle(document.body).backgroundColor],
          expert: document.querySelector('figure[data-policy="expert"]').offsetHeight,
          natural: image.naturalWidth,
          curves: document.querySelectorAll("#curves .scatterlayer .trace").length,
          widths: [...document.querySelectorAll(".chart .main-svg")].map((svg) => svg.clientWidth),
          losses: document.querySelectorAll("#losses .scatterlayer .trace").length,
          price: document.querySelectorAll("#price tr").length,
        };
    """
    found, faults = ask(page, script, tmp_path)
    assert faults == []
    assert found["title"] == "spread-3-scripted, seed 0"
    assert (found["began"], found["again"]) == ("step 0, return 0.00", "step 0, return 0.00")
    assert (found["playing"], found["moved"]) == ("Pause", True)
    # What is played is what was measured: an episode of the final evaluation.
    returns = json.loads((runs[0] / "episodes.json").read_text())["students"]
    assert found["ended"] == f"step 25, return {returns[0]:.2f}"
    assert found["steps"] == 25
    assert found["papers"][0] != found["papers"][1]
    assert found["expert"] == 0
    assert found["natural"] == 400
    assert (found["curves"], found["losses"], found["price"]) == (4, 3, 3)
    assert max(found["widths"]) <= 1040


@pytest.mark.integration
@in_a_browser
@pytest.mark.parametrize("dark", [False, True])
def test_it_fits_a_phone_and_the_night(page, tmp_path, dark):
    script = """
        await wait(500);
        const contrast = (one, other) => {
          const light = (colour) => colour.match(/\\d+/g).slice(0, 3).map((c) => c / 255)
            .map((c) => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
            .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
          const [a, b] = [light(one), light(other)];
          return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        };
        const of = (e) => getComputedStyle(e), paper = of(document.body).backgroundColor;
        return {
          width: innerWidth, needs: document.documentElement.scrollWidth,
          theme: document.documentElement.dataset.theme,
          contrasts: [document.body, document.querySelector(".soft")]
            .map((e) => contrast(of(e).color, paper)),
        };
    """
    found, faults = ask(page, script, tmp_path, width=360, dark=dark)
    assert faults == []
    assert found["width"] == 360
    assert found["needs"] <= 360
    assert found["theme"] == ("dark" if dark else "light")
    assert min(found["contrasts"]) >= 4.5  # what WCAG asks of text


@pytest.mark.integration
@in_a_browser
@pytest.mark.parametrize("name", ["<!--<script>", '<a href="https://example.com">x</a>'])
def test_the_name_of_an_agent_is_text(runs, tmp_path, name):
    run = shutil.copytree(runs[0], tmp_path / "run")
    shutil.rmtree(run / "students")  # nothing to play is needed here
    log = run / "logs" / "students" / "progress.csv"
    with log.open(newline="") as file:
        rows = list(csv.reader(file))
    rows[0] = [cell.replace("agent_0", name) for cell in rows[0]]
    with log.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    script = """
        await wait(500);
        return {
          links: document.querySelectorAll("a").length,
          legend: [...document.querySelectorAll("#losses .legendtext")].map((e) => e.textContent),
        };
    """
    found, faults = ask(write_html_report([run]), script, tmp_path)
    assert faults == []
    assert found["links"] == 0
    assert name in found["legend"]


@pytest.mark.integration
@in_a_browser
def test_several_runs_are_compared(runs, tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["report", *map(str, runs), "--out", str(tmp_path / "both.html")])
    assert ended.value.code == 0
    script = """
        await wait(500);
        const traces = () => document.querySelectorAll("#curves .scatterlayer .trace").length;
        const before = traces();
        document.querySelector('#shown-runs button').click();
        await wait(500);
        return {
          before, after: traces(), buttons: document.querySelectorAll("#shown-runs button").length,
          differences: [...document.querySelectorAll("#differences td:first-child")]
            .map((e) => e.textContent),
        };
    """
    found, faults = ask(tmp_path / "both.html", script, tmp_path)
    assert faults == []
    assert found == {"before": 4, "after": 2, "buttons": 2, "differences": ["seed"]}


def test_without_policies_there_is_still_a_page(runs, tmp_path):
    kept = shutil.copytree(
        runs[0], tmp_path / "kept", ignore=shutil.ignore_patterns("students", "price.json")
    )
    text = write_html_report([kept]).read_text(encoding="utf-8")
    assert "No episodes here" in text
    assert "Not measured." in text


@pytest.mark.integration
@in_a_browser
def test_a_watched_team_plays_by_itself(runs, tmp_path):
    script = """
        const choice = document.getElementById("episode"), slider = document.getElementById("time");
        await wait(600);
        const moved = Number(slider.value), playing = document.getElementById("play").textContent;
        slider.value = slider.max;
        await wait(2500);
        const next = choice.value;
        document.getElementById("play").click();
        const stopped = slider.value;
        await wait(400);
        const charts = [typeof Plotly, document.querySelectorAll(".chart").length];
        return { moved, playing, next, stays: slider.value === stopped, charts };
    """
    watched = write_watch_page(runs[0], tmp_path / "watched.html", episodes=2)
    found, faults = ask(watched, script, tmp_path)
    assert faults == []
    assert found.pop("moved") >= 1
    assert found == {"playing": "Pause", "next": "1", "stays": True, "charts": ["undefined", 0]}


def test_what_gives_no_page(runs, tmp_path):
    with pytest.raises(ConfigError, match="each of them once"):
        write_html_report([runs[0], runs[0]])
    with pytest.raises(StorageError, match="no such folder"):
        write_html_report([tmp_path / "nothing"])
    with pytest.raises(ConfigError, match=r"expected a \.gif or \.mp4 file"):
        write_video(runs[0], tmp_path / "video.mpg")
    with pytest.raises(ConfigError, match="expected more than 0 up to 50"):
        write_video(runs[0], fps=0)
    with pytest.raises(ConfigError, match="width 99: expected at least 100 pixels"):
        write_video(runs[0], width=99)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture(scope="module")
def animated(runs):
    """Two episodes of both policies."""
    return write_video(runs[0], runs[0] / "both.gif", episodes=2, fps=10)


def test_a_video_shows_both_from_the_same_start(runs, animated):
    with Image.open(animated) as video:
        assert video.n_frames == 52
        animated_height = video.height
        frames = []
        for number in (0, 25):
            video.seek(number)
            frames.append(np.asarray(video.convert("RGB"), dtype=int))
    half = frames[0].shape[1] // 2
    start, end = (frame[28:] for frame in frames)
    assert np.abs(start[:, :half] - start[:, half:]).mean() < 1.0
    assert np.abs(end[:, :half] - end[:, half:]).mean() > np.abs(start[:, :half] - start[:, half:]).mean()
    with pytest.raises(SystemExit) as ended:
        cli.main(["video", str(runs[0]), "--policy", "students", "--episodes", "1", "--width", "120"])
    assert ended.value.code == 0
    with Image.open(runs[0] / "video.gif") as video:
        assert video.size == (120, round((animated_height - 28) * 120 / half) + 28)


def test_a_video_as_mp4_shows_the_same_for_as_long(runs, animated, tmp_path, capsys):
    av = pytest.importorskip("av", reason="PyAV is not installed: pip install 'cesma-sb3[video]'")
    with pytest.raises(SystemExit) as ended:
        cli.main(
            ["video", str(runs[0]), "--out", str(tmp_path / "both.mp4"), "--episodes", "2", "--fps", "10"]
        )
    assert ended.value.code == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "both.mp4")
    with av.open(tmp_path / "both.mp4") as video:
        assert video.streams.video[0].codec_context.name == "h264"
        decoded = list(video.decode(video=0))
    times = [frame.time for frame in decoded]
    # 26 pictures an episode, a tenth of a second each; the last of an episode stays, and ends the file.
    expected = [0.1 * step for step in range(26)]
    expected += [2.5 + 1.5 + time for time in expected] + [2 * (2.5 + 1.5)]
    assert times == pytest.approx(expected, abs=1e-3)
    with Image.open(animated) as pictures:
        for number in (0, 25, 51):
            pictures.seek(number)
            drawn = np.asarray(pictures.convert("RGB"), dtype=int)
            found = decoded[number].to_ndarray(format="rgb24").astype(int)
            assert np.abs(found - drawn[: found.shape[0], : found.shape[1]]).mean() < 4.0
    assert (tmp_path / "both.mp4").stat().st_size < animated.stat().st_size / 2


def test_mp4_without_pyav(runs, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingExtraError, match=r"needs the extra \[video\]: .*; try: pip install '"):
        write_video(runs[0], tmp_path / "both.mp4")
    assert list(tmp_path.iterdir()) == []


def test_rollouts_are_those_of_the_evaluation(runs):
    returns = json.loads((runs[0] / "episodes.json").read_text())
    for policy, rollouts in record_episodes(runs[0], episodes=2).items():
        # Its first environment ran the first two.
        assert [rollout.returns[-1] for rollout in rollouts] == pytest.approx(returns[policy][:2])
        assert all(rollout.won is None for rollout in rollouts)
        # Before each of the 25 steps and after the last, which is not where the next episode begins.
        assert [len(rollout.frames) for rollout in rollouts] == [26, 26]
        assert all(rollout.steps == list(range(26)) and len(rollout.returns) == 26 for rollout in rollouts)
        assert (rollouts[0].frames[-1] != rollouts[1].frames[0]).any()
