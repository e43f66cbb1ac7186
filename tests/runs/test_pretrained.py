"""Teams that come with the package: each is held to its report, and found by its name."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

import cesma_sb3
from benchmarks.pretrained import keep_team, median_run
from cesma_sb3 import cli
from cesma_sb3.errors import StorageError
from cesma_sb3.evaluation import make_actor
from cesma_sb3.training.evaluator import Evaluator
from cesma_sb3.training.load import load_expert, load_students
from cesma_sb3.training.run_folder import RunFolder

NAMES = cesma_sb3.list_pretrained()
PARTICLES = [name for name in NAMES if not name.startswith("smax")]
SMALLEST = "speaker-listener"


def cesma(*words):
    with pytest.raises(SystemExit) as ended:
        cli.main(words)
    return ended.value.code


def test_each_is_of_a_registered_experiment(capsys):
    assert len(NAMES) >= 8
    assert cesma("list", "--json") == 0
    listed = json.loads(capsys.readouterr().out)
    assert [each["name"] for each in listed if each["pretrained"]] == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_nothing_in_it_is_code(name):
    folder = RunFolder.open(name)
    assert folder.status == "finished"
    suffixes = {path.suffix for path in folder.path.rglob("*") if path.is_file()}
    assert suffixes == {".yaml", ".json", ".csv", ".safetensors"}
    assert sum(path.stat().st_size for path in folder.path.rglob("*") if path.is_file()) < 2.5e6
    cesma_sb3.load_pretrained(name)  # asks for no trust


@pytest.mark.parametrize("name", NAMES)
def test_the_report_is_of_its_episodes(name):
    folder = RunFolder.open(name)
    report, episodes = folder.report(), json.loads(folder.file("episodes.json").read_text())
    assert {"students", "expert"} <= set(report["return"])
    for policy, returns in episodes.items():
        assert len(returns) == report["episodes"]
        assert np.mean(returns) == pytest.approx(report["return"][policy])


@pytest.mark.parametrize("name", PARTICLES)
def test_the_policies_return_what_they_did(name):
    folder = RunFolder.open(name)
    n_envs = folder.experiment.evaluation.n_envs
    experiment = folder.load({"evaluation.n_final_episodes": n_envs})
    evaluator = Evaluator(experiment, agents=folder.agents)
    saved = json.loads(folder.file("episodes.json").read_text())
    actors = {
        "students": evaluator.act_of(load_students(folder, evaluator.venv.team)),
        "expert": make_actor(load_expert(folder, experiment, evaluator)),
    }
    for policy, actor in actors.items():
        # The first episode of each environment; an environment's episodes stand one after another.
        expected = np.array([own[0] for own in np.array_split(saved[policy], n_envs)])
        found = evaluator.final(actor).team
        # All of them, to the last bit, where the report was made. Elsewhere sums have another order, by which
        # an agent may choose the second of two actions that are as good, and its episode is another one.
        assert np.isclose(found, expected, rtol=1e-6).mean() >= 0.9
        assert abs(found.mean() - expected.mean()) < expected.std() / np.sqrt(n_envs)


def test_evaluate_gives_the_report_again(capsys):
    assert cesma("evaluate", SMALLEST, "--json") == 0
    found, report = json.loads(capsys.readouterr().out), RunFolder.open(SMALLEST).report()
    for key in ("return", "normalized", "std", "standard_error"):
        assert found[key] == {policy: pytest.approx(value, rel=0.02) for policy, value in report[key].items()}


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_evaluate_gives_each_report_again(name):
    if name.startswith("smax"):
        pytest.importorskip("jaxmarl", reason="JaxMARL is not installed: pip install 'cesma-sb3[smax]'")
    found, report = cesma_sb3.evaluate_run(name), RunFolder.open(name).report()
    for key in ("return", "normalized", "std"):
        assert found[key] == {policy: pytest.approx(value, rel=0.02) for policy, value in report[key].items()}


def test_a_loaded_team_acts():
    team = cesma_sb3.load_pretrained(SMALLEST)
    observations = np.zeros((3, team.students.team.observation_size), np.float32)
    assert team.students.predict(observations)[0].shape == (3, team.students.team.n_columns)
    assert team.expert.labels(observations).shape == (3, team.students.team.n_columns)
    assert team.expert is team.expert
    assert team.report["name"] == team.folder.experiment.name == SMALLEST


def test_a_run_folder_comes_first(shared_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path(SMALLEST).mkdir()  # no run
    assert RunFolder.open(SMALLEST).experiment.name == SMALLEST
    shutil.copytree(shared_run("small"), SMALLEST, dirs_exist_ok=True)
    assert RunFolder.open(SMALLEST).experiment.name == "spread-3"
    assert cesma_sb3.load_pretrained(tmp_path / SMALLEST).report["name"] == "spread-3"


@pytest.mark.parametrize(
    ("name", "told"),
    [
        (
            "spread-6-heter",
            "no such folder, and no pretrained team; did you mean 'spread-6-hetero'? allowed: ",
        ),
        ("spread-3-mlp", "no such folder, and no pretrained team of this experiment (navigation-comm, "),
        (
            "spread-3-mlp",
            "speaker-listener, spread-3, spread-3-hetero, spread-6, spread-6-hetero); `cesma run s",
        ),
        ("teams/spread-3-mlp", "teams/spread-3-mlp: no such folder"),
        ("..", "not a run folder: it has no run.json"),
    ],
)
def test_what_is_no_team(name, told, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StorageError, match=r"no such folder|not a run folder"):
        cesma_sb3.load_pretrained(name)
    assert cesma("watch", name) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert told in line
    assert list(tmp_path.iterdir()) == []


def test_watch_opens_a_page_without_plotly(tmp_path, monkeypatch, capsys):
    opened = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setitem(sys.modules, "plotly.offline", None)
    assert cesma("watch", SMALLEST, "--episodes", "1") == 0
    page = Path(capsys.readouterr().out.strip())
    assert opened == [page.as_uri()]
    assert page.is_relative_to(tmp_path)
    text = page.read_text(encoding="utf-8")
    assert text.count("data:image/png;base64,") == 2 * 26
    assert "data-watched" in text
    assert f"{RunFolder.open(SMALLEST).report()['return']['students']:.2f}" in text
    assert cesma("watch", SMALLEST, "--episodes", "1", "--no-open", "--out", str(tmp_path / "mine.html")) == 0
    assert (tmp_path / "mine.html").read_text(encoding="utf-8") == text
    assert len(opened) == 1


def test_nothing_is_written_to_a_team(tmp_path, monkeypatch):
    pytest.importorskip("plotly", reason="Plotly is not installed: pip install 'cesma-sb3[report]'")
    monkeypatch.chdir(tmp_path)
    before = sorted(RunFolder.open(SMALLEST).path.rglob("*"))
    assert cesma("report", SMALLEST, "--episodes", "0") == 0
    assert cesma("export", SMALLEST, "--format", "torchscript") == 0
    RunFolder.open(SMALLEST).write_output("price.json", {"rows": []})
    out = Path("runs", SMALLEST, "pretrained")
    assert {path.name for path in out.iterdir()} == {"report.html", "export", "price.json"}
    assert sorted(RunFolder.open(SMALLEST).path.rglob("*")) == before


def test_a_team_is_made_of_the_median_run(shared_run, tmp_path):
    for seed, score in enumerate((0.9, 0.1, 0.5, 0.4)):
        run = tmp_path / "runs" / "spread-3" / f"seed-{seed}"
        shutil.copytree(shared_run("trained"), run)
        report = json.loads((run / "report.json").read_text())
        report["normalized"]["students"] = score
        (run / "report.json").write_text(json.dumps(report))
    chosen = median_run(tmp_path, "spread-3")
    assert chosen.path.name == "seed-3"
    kept = keep_team(chosen, tmp_path / "teams")
    assert kept == tmp_path / "teams" / "spread-3"
    assert not list(kept.rglob("*.zip"))
    returns = cesma_sb3.evaluate_run(kept)["return"]
    assert returns == {policy: pytest.approx(value) for policy, value in chosen.report()["return"].items()}
    with pytest.raises(StorageError, match="no finished run"):
        median_run(tmp_path, "spread-6")
